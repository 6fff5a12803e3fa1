"""A/B in replay: what two runs or deployments would have shown at the same held-out clicks."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from searec.config import configure
from searec.data.batch import Batch
from searec.data.feedback import excluded_items
from searec.data.ragged import Ints
from searec.data.schema import Part
from searec.data.split import Requests, Split
from searec.data.taxonomy import Level
from searec.errors import RunError, SettingsError
from searec.evaluation.exposure import Touched
from searec.evaluation.protocol import chosen, score_batches
from searec.evaluation.replay import Difference, Shown, replay
from searec.models.capabilities import RetrievesByInterest, supports
from searec.pipeline.run import Run
from searec.pipeline.served_lists import ServedLists

SERVED = ("quota", "order", "reach", "index", "known")
"""Settings of serendipity that may change after training."""
SHOWN = 10
_COST = 1 << 15
"""Memory of a request, in scores."""


@dataclass(frozen=True)
class Source:
    """What shows lists of items: a run by itself, or a deployment as it would be served.

    Attributes:
        label: its name in tables.
        where: run folder or deployment file.
        model: the run's model, or `ServedLists`.
        split: of its dataset.
    """

    label: str
    where: str
    model: Any
    split: Split

    @classmethod
    def of(cls, run: "Run | Source") -> "Source":
        """Return a run as a source; a source as it is."""
        if isinstance(run, Source):
            return run
        return cls(run.label, str(run.folder), run.model, run.split)

    @classmethod
    def served(cls, lists_: ServedLists, where: str) -> "Source":
        """Return a deployment as a source.

        Args:
            lists_: of the deployment.
            where: its file.
        """
        return cls(lists_.name, where, lists_, lists_.split)


def compared(
    a: Run | Source,
    b: Run | Source,
    *,
    part: Part = "test",
    requests: int | None = None,
    level: Level = "narrow",
    days: float | None = None,
    seed: int = 0,
) -> tuple[Shown, Shown, dict[str, Difference]]:
    """Compare in replay what two runs or deployments would have shown at the same held-out clicks.

    Args:
        a: the one.
        b: the other.
        part: of the held-out requests.
        requests: only this many, drawn with a fixed seed.
        level: whose categories count, as in `Touched.of`.
        days: of the window, as in `Touched.of`.
        seed: of the intervals.

    Raises:
        RunError: runs of different data or splits.
    """
    one, other = Source.of(a), Source.of(b)
    data, their_data = one.split.data, other.split.data
    if data.fingerprint != their_data.fingerprint:
        raise RunError(
            "the runs were trained on different data",
            got=f"{one.where}: {data.fingerprint}, {other.where}: {their_data.fingerprint}",
        )
    if one.split.split_at != other.split.split_at:
        got = f"{one.where}: {one.split.description}, {other.where}: {other.split.description}"
        raise RunError("the runs were trained on different splits", got=got, expected="one split")
    held_out = one.split.held_out("recommend", part)
    held_out = held_out[chosen(len(held_out), requests, seed)]
    touched = Touched.of(data, held_out, level=level, days=days)
    both = []
    for name, source in (("a", one), ("b", other)):
        top = lists(source, held_out)
        novel = touched.novel_lists(top) & (top > 0)
        both.append(Shown(f"{name}: {source.label}", top, novel, np.asarray(held_out.target)))
    return both[0], both[1], dict(replay(both[0], both[1], held_out.user, seed=seed))


def with_settings(run: Run, values: Mapping[str, Any]) -> Run:
    """Return the run with other settings of `SERVED`, which need no training.

    Args:
        run: to change.
        values: settings by name.

    Raises:
        SettingsError: a setting that is none of these, or a bad value.
    """
    if not values:
        return run
    known = SERVED if supports(run.model, RetrievesByInterest) else ()
    for name in values:
        if name not in known:
            got = f"{name} of {run.model.name}"
            raise SettingsError(
                "this setting cannot change after training", got=got, expected=", ".join(known) or "none of this model"
            )
    model = copy.deepcopy(run.model)
    model.config = configure(type(model).Config, values, base=model.config, where=str(run.folder))
    model.eval()
    return replace(run, model=model)


def lists(source: Run | Source, held_out: Requests, k: int = SHOWN) -> Ints:
    """Return [R, k] what is shown, without what the user clicked before.

    Args:
        source: a run or a deployment.
        held_out: R requests.
        k: length of the lists.
    """
    source = Source.of(source)
    model, split = source.model, source.split
    top = np.zeros((len(held_out), k), dtype=np.int64)

    def place(rows: Ints, batch: Batch) -> None:
        items = model.retrieve(batch, k, seen_items(split, held_out[rows]).to(batch.user.device))[0]
        top[rows, : items.shape[1]] = items.cpu().numpy()

    score_batches(place, model, split, held_out, _COST, None)
    return top


def seen_items(split: Split, held_out: Requests) -> torch.Tensor:
    """Return [R, E] what each user clicked before or refused, the target left in.

    Args:
        split: of the requests.
        held_out: R requests.
    """
    seen = excluded_items(split.data, held_out)
    return torch.from_numpy(np.where(seen == np.asarray(held_out.target)[:, None], 0, seen))
