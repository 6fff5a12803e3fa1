"""Exposure and click novelty beside accuracy, for each share of the interest channel of a run or a deployment."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from searec.nn.sets import is_first, is_in
from searec.pipeline.run import Run
from searec.pipeline.served_lists import ServedLists
from searec.retrieval.quota_pool import merge

SERVED = ("quota", "order", "reach", "index", "known")
"""Settings of serendipity that may change after training."""
QUOTAS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of I2I in the pool that are swept; U2I alone and I2I alone are compared with them."""
SHOWN = 10
ALONE, CHANNEL = "U2I alone", "I2I alone"
_COST = 1 << 15
"""Memory of a request, in scores."""
_TRIES = 20
"""Items drawn for each that is needed, so that enough are novel."""
_DEEP = 3
"""Lists are this many times as deep before they are merged, for items of both channels."""


@dataclass(frozen=True)
class Swept:
    """One share of I2I.

    Attributes:
        quota: the share.
        pool: what is shown.
        random: the same pool with items in the places of I2I drawn from all categories the user has not touched.
        beside: pool against U2I alone, by figure. against: pool against random, at the same share of novel items.
    """

    quota: float
    pool: Shown
    random: Shown
    beside: dict[str, Difference]
    against: dict[str, Difference]


@dataclass(frozen=True)
class Exposure:
    """What is shown by a serendipity run at each share, and by others.

    Attributes:
        alone: U2I alone. channel: I2I alone.
        others: lists of other runs. random: ten items drawn from the whole catalogue.
        about: run, requests, list length, level and window.
    """

    alone: Shown
    channel: Shown
    swept: list[Swept]
    others: list[Shown]
    about: dict[str, Any] = field(default_factory=dict)

    def rows(self) -> list[Shown]:
        """Everything shown, in order."""
        return [*self.others, self.alone, *(one.pool for one in self.swept), self.channel]

    def as_json(self) -> dict[str, Any]:
        """Figures and differences."""

        def as_dicts(lists_: dict[str, Difference]) -> dict[str, Any]:
            return {name: vars(one) for name, one in lists_.items()}

        return {
            "about": self.about,
            "figures": {shown.label: shown.figures() for shown in self.rows()},
            "quotas": [
                {
                    "quota": one.quota,
                    "random": one.random.figures(),
                    "beside_u2i": as_dicts(one.beside),
                    "against_random": as_dicts(one.against),
                }
                for one in self.swept
            ],
        }


@dataclass(frozen=True)
class Source:
    """What shows lists of items: a run by itself, or a deployment as it would be served.

    Attributes:
        label: its name in tables.
        where: run folder or deployment file.
        model: the run's model, or `ServedLists`.
        split: of its dataset.
        has_interest_channel: whether the share of an interest channel can be set.
    """

    label: str
    where: str
    model: Any
    split: Split
    has_interest_channel: bool

    @classmethod
    def of(cls, run: "Run | Source") -> "Source":
        """Return a run as a source; a source as it is."""
        if isinstance(run, Source):
            return run
        return cls(run.label, str(run.folder), run.model, run.split, supports(run.model, RetrievesByInterest))

    @classmethod
    def served(cls, lists_: ServedLists, where: str) -> "Source":
        """Return a deployment as a source.

        Args:
            lists_: of the deployment.
            where: its file.
        """
        return cls(lists_.name, where, lists_, lists_.split, lists_.has_interest_channel)


def exposure(
    run: Run | Source,
    others: Sequence[Run | Source] = (),
    *,
    quotas: Sequence[float] = QUOTAS,
    part: Part = "test",
    requests: int | None = None,
    level: Level = "narrow",
    days: float | None = None,
    seed: int = 0,
) -> Exposure:
    """Replay held-out choices against each share of the interest channel (I2I).

    Args:
        run: with an interest channel: a run of such a model, or a deployment.
        quotas: shares of the interest channel.
        part: of the held-out requests.
        others: runs and deployments of the same data to show beside it.
        requests: only this many, drawn with a fixed seed.
        level: whose categories count, as in `Touched.of`.
        days: of the window, as in `Touched.of`.
        seed: of what is drawn at random, and of the intervals.

    Raises:
        SettingsError: no interest channel, or a share outside 0 to 1.
    """
    source = Source.of(run)
    if not source.has_interest_channel:
        raise SettingsError(
            f"{source.label} has no serendipity channel", where=source.where, expected="a serendipity run"
        )
    if bad := [quota for quota in quotas if not 0 < quota <= 1]:
        raise SettingsError("bad share of the pool", got=bad[0], expected="above 0, at most 1")
    split = source.split
    held_out = split.held_out("recommend", part)
    held_out = held_out[chosen(len(held_out), requests, seed)]
    touched = Touched.of(split.data, held_out, level=level, days=days)
    generator = np.random.default_rng(seed)

    def shown(label: str, top: Ints) -> Shown:
        return Shown(label, top, touched.novel_lists(top) & (top > 0), np.asarray(held_out.target))

    alone = lists(source, held_out, SHOWN * _DEEP, quota=0)
    channel = lists(source, held_out, quota=1, interest_only=True)
    new = _new_items(split, held_out, touched, SHOWN, generator)
    base = shown(ALONE, alone[:, :SHOWN])
    swept = []
    for quota in quotas:
        pool = shown(f"quota {quota:g}", lists(source, held_out, quota=quota))
        mixed = merge(torch.from_numpy(alone), torch.from_numpy(new), SHOWN, quota).items.numpy()
        random = shown(f"random {quota:g}", mixed)
        swept.append(
            Swept(
                quota,
                pool,
                random,
                dict(replay(base, pool, held_out.user, seed=seed)),
                dict(replay(random, pool, held_out.user, seed=seed)),
            )
        )
    lists_ = [shown(other.label, lists(other, held_out)) for other in map(Source.of, others)]
    anything = shown("random", generator.integers(1, split.data.sizes.items + 1, size=base.top.shape))
    about = {
        "run": source.where,
        "requests": len(held_out),
        "shown": SHOWN,
        "level": level,
        "days": days,
        "part": part,
    }
    return Exposure(base, shown(CHANNEL, channel), swept, [anything, *lists_], about)


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


def lists(
    source: Run | Source,
    held_out: Requests,
    k: int = SHOWN,
    *,
    quota: float | None = None,
    interest_only: bool = False,
) -> Ints:
    """Return [R, k] what is shown, without what the user clicked before.

    Args:
        source: a run or a deployment.
        held_out: R requests.
        k: length of the lists.
        quota: share of the interest channel; by default what is set.
        interest_only: leave out the items of other channels; with a quota.
    """
    source = Source.of(source)
    model, split = source.model, source.split
    top = np.zeros((len(held_out), k), dtype=np.int64)

    def place(rows: Ints, batch: Batch) -> None:
        seen = _seen(split, held_out[rows]).to(batch.user.device)
        if quota is None:
            items = model.retrieve(batch, k, seen)[0]
        else:
            pool = model.pool(batch, k, seen, quota=quota).pool
            items = torch.where(pool.second, pool.items, 0) if interest_only else pool.items
        top[rows, : items.shape[1]] = items.cpu().numpy()

    score_batches(place, model, split, held_out, _COST, None)
    return top


def _seen(split: Split, held_out: Requests) -> torch.Tensor:
    """[R, E] what each user clicked before or refused, the target left in."""
    seen = excluded_items(split.data, held_out)
    return torch.from_numpy(np.where(seen == np.asarray(held_out.target)[:, None], 0, seen))


def _new_items(split: Split, held_out: Requests, touched: Touched, k: int, generator: np.random.Generator) -> Ints:
    """[R, k] items drawn evenly from those of categories that each user has not touched; 0 where too few came."""
    drawn = generator.integers(1, split.data.sizes.items + 1, size=(len(held_out), _TRIES * k))
    rows = torch.from_numpy(drawn)
    good = touched.novel_lists(drawn) & (is_first(rows) & ~is_in(rows, _seen(split, held_out))).numpy()
    order = np.argsort(~good, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(good, order, axis=1), np.take_along_axis(drawn, order, axis=1), 0)
