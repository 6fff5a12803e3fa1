"""How well a simulated world's last clicks can be ranked at all: an oracle, and bounds for those who know less."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from searec.data.batch import Batch, Needs
from searec.data.candidates import sampled_requests
from searec.data.dataset import Dataset, load
from searec.data.schema import Task
from searec.data.split import Split
from searec.data.synthetic.oracle import KNOWLEDGE, Knowledge, Oracle
from searec.data.synthetic.world import World
from searec.evaluation.protocol import full_ranks, sampled_ranks
from searec.evaluation.result import Protocol
from searec.evaluation.slices import slices
from searec.metrics import NDCG
from searec.models.base import Model

LEAST_HEADROOM = 0.2
"""Below it a world gives no verdict on what it is to test."""
PROTOCOLS: tuple[tuple[Protocol, int], ...] = (("sampled", 5), ("full", 10))
"""With the depth of their NDCG."""
GROUPS = ("all", "sparse", "rich")
_QUESTIONS: tuple[tuple[str, Knowledge, Knowledge], ...] = (
    ("neighbours", "oracle", "no neighbours"),
    ("searches", "no neighbours", "no searches"),
)


@dataclass(frozen=True)
class Bounds:
    """NDCG on the test targets of the feed: figures[protocol][group][knowledge], and requests of each group."""

    figures: Mapping[Protocol, Mapping[str, Mapping[Knowledge, float]]]
    requests: Mapping[str, int]

    def headroom(self, protocol: Protocol, group: str, better: Knowledge, worse: Knowledge) -> float:
        """Return how much more is reached by knowing more: better / worse - 1.

        Args:
            protocol: "sampled" or "full".
            group: one of `GROUPS`.
            better: the knowledge of more.
            worse: the knowledge of less.
        """
        known = self.figures[protocol][group]
        return known[better] / known[worse] - 1

    def lines(self) -> Iterator[str]:
        """The table, and what the world can test."""
        for protocol, depth in PROTOCOLS:
            yield f"{f'ndcg@{depth}, {protocol}, test':<26}" + "".join(f"{name:>15}" for name in KNOWLEDGE)
            for group, known in self.figures[protocol].items():
                name = f"{group}: {self.requests[group]:,} requests"
                yield f"  {name:<24}" + "".join(f"{known[one]:>15.4f}" for one in KNOWLEDGE)
        for subject, better, worse in _QUESTIONS:
            for group in self.figures["full"]:
                rooms = {protocol: self.headroom(protocol, group, better, worse) for protocol, _ in PROTOCOLS}
                yield f"headroom of {subject}, {group}: " + ", ".join(
                    f"{room:+.0%} {protocol}{verdict(room)}" for protocol, room in rooms.items()
                )


def verdict(headroom: float) -> str:
    """The words beside a headroom that is too narrow; empty if it is wide enough."""
    return f" (no verdict: headroom below {LEAST_HEADROOM:.0%})" if headroom < LEAST_HEADROOM else ""


def bounds(folder: Path | str, world: World) -> Bounds:
    """Measure what an oracle reaches in a world, and what those who know less can reach at most.

    Args:
        folder: the world as `simulate` wrote it.
        world: its settings.
    """
    data = load(folder)
    split, oracle = Split(data), Oracle(world)
    figures: dict[Protocol, dict[str, dict[Knowledge, float]]] = {}
    requests: dict[str, int] = {}
    for protocol, depth in PROTOCOLS:
        sampled = sampled_requests(split, "recommend", "test")
        held = sampled.requests if protocol == "sampled" else split.held_out("recommend", "test")
        groups = {"all": np.ones(len(held), dtype=bool)} | slices(split, held)
        groups = {name: groups[name] for name in GROUPS if groups[name].any()}
        requests = {name: int(inside.sum()) for name, inside in groups.items()}
        figures[protocol] = {name: {} for name in groups}
        for knowledge in KNOWLEDGE:
            model = _Known(oracle, knowledge, data)
            if protocol == "sampled":
                rank = sampled_ranks(model, split, held, sampled.candidates)
            else:
                rank = full_ranks(model, split, held)[0]
            value = NDCG(depth).of_ranks(rank)
            for name, inside in groups.items():
                figures[protocol][name][knowledge] = float(value[inside].mean())
    return Bounds(figures, requests)


class _Known(Model):
    """Ranks by the probabilities of an oracle, as far as they are known."""

    name = "oracle"
    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    learns = "fit"

    def __init__(self, oracle: Oracle, knowledge: Knowledge, data: Dataset) -> None:
        super().__init__(None, data.sizes)
        self.oracle, self.knowledge = oracle, knowledge
        users = data.users.to_external(np.arange(1, data.sizes.users + 1))
        items = data.items.to_external(np.arange(1, data.sizes.items + 1))
        self._user = np.array([0, *(int(name[1:]) - 1 for name in users)])
        self._item = np.array([int(name[1:]) - 1 for name in items])

    @property
    @override
    def needs(self) -> Needs:
        return Needs()

    @override
    def score(self, batch: Batch) -> Tensor:
        known = self.oracle.scores(self._user[batch.user.numpy()], self.knowledge)[:, self._item]
        scores = torch.from_numpy(np.pad(known, ((0, 0), (1, 0))))
        return scores if batch.candidates is None else scores.gather(1, batch.candidates.long())
