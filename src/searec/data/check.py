"""`searec check`: what a log holds, how sparse its searches are, how far search and feed agree, and what may leak.

Everything is whole-column work; ten million events need well under 4 GiB.
"""

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import polars as pl
import scipy.sparse

from searec.data.events import counted
from searec.data.ids import similar_ids
from searec.data.log import Log
from searec.data.plausibility import odd_times
from searec.data.schema import OTHERS
from searec.errors import SettingsError

Level = int | Literal["all", "broadest"]

FEW_SEARCHES = 10
_QUANTILES = {"min": 0.0, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "90 %": 0.9, "99 %": 0.99, "max": 1.0}
_EXAMPLES = 10
_LATE_SHARE = 0.1
_MOST_PERIODS = 36


@dataclass(frozen=True)
class Sparsity:
    """Searches per user over all users. none, few, many: shares of users with 0, with 0..9 and with 10 or more."""

    none: float
    few: float
    many: float
    mean: float
    quantiles: dict[str, float]


@dataclass(frozen=True)
class Overlap:
    """Cosine, 0..1, of a user's two category histograms: items clicked in search, and items of interactions.

    labels: which category labels count; users: how many have labelled items on both sides; the other
    figures are over these users and None where there are none. none: share of users with cosine 0.
    """

    labels: str
    users: int
    quarter: float | None
    median: float | None
    three_quarters: float | None
    none: float | None


@dataclass(frozen=True)
class Findings:
    """What can tell a model its target, or make a measurement mean less than it seems. Shares are 0..1.

    twice: searches with a click, one of whose items is also an interaction of that user at that instant.
    repeats: interactions with an item the same user has interacted with before.
    ties: interactions and searches that share their instant with another of the same user.
    late_items: items with events, whose first is in the last tenth of the time span.
    items_unused, users_unused: those without any event.
    """

    twice: float
    repeats: float
    ties: float
    late_items: float
    items_unused: float
    users_unused: float


@dataclass(frozen=True)
class CheckReport:
    """Statistics of a log; every figure counts clean rows only, except `rows` and `rejects`.

    counts: users, items, interactions, searches, distinct queries, searches with a click, clicks in searches.
    events: interactions by kind. feedback: interactions by what they say: positive, neutral, negative; overlap and
    findings read positive ones only. unknown_events: of the kinds that no weight is known for, which count as clicks.
    first, last: ISO 8601, None for a log without events.
    months: month, interactions, searches. rejects: file, rule, rows. examples: the first rejects in full.
    clicked_all: users who have clicked more than nine tenths of the items, by their ids.
    odd: what is possible and unlikely: times of one second or of 1970, ids that differ only by blanks and the like.
    """

    rows: dict[str, int]
    rejects: list[dict[str, Any]]
    examples: list[dict[str, Any]]
    counts: dict[str, int]
    events: dict[str, int]
    feedback: dict[str, int]
    unknown_events: dict[str, int]
    first: str | None
    last: str | None
    months: list[dict[str, Any]]
    sparsity: Sparsity
    overlap: Overlap
    findings: Findings
    clicked_all: list[str]
    odd: list[str]

    def as_json(self) -> dict[str, Any]:
        """The report as plain values, ready for JSON."""
        return dataclasses.asdict(self)


def check(log: Log, *, level: Level = "all") -> CheckReport:
    """Measure a log, rejects and all.

    Args:
        log: from `read_log` or `load_log`.
        level: the category labels to compare search and feed by: "all" of an item's; its n-th, 1 the broadest;
            or "broadest", the first level at which items differ.

    Raises:
        SettingsError: a level below 1 or an unknown one.
    """
    clicks = _clicks(log)
    with_click = log.searches.select((pl.col("clicked").list.len() > 0).sum()).item()
    counts = {
        "users": log.users.height,
        "items": log.items.height,
        "interactions": log.interactions.height,
        "searches": log.searches.height,
        "distinct queries": log.searches["query"].n_unique(),
        "searches with a click": with_click,
        "clicks in searches": clicks.height,
    }
    kinds = counted(log.interactions["event"])
    weight = pl.col("weight")
    signs = {"positive": (weight > 0).sum(), "neutral": (weight == 0).sum(), "negative": (weight < 0).sum()}
    feedback = log.interactions.select(**signs).row(0, named=True)
    positive = dataclasses.replace(log, interactions=log.interactions.filter(weight > 0))
    first, last = _span(log)
    rejects = log.rejects.group_by("file", "rule", maintain_order=True).len("rows")
    return CheckReport(
        rows=dict(log.rows),
        rejects=rejects.to_dicts(),
        examples=log.rejects.head(_EXAMPLES).to_dicts(),
        counts=counts,
        events=kinds,
        feedback=feedback,
        unknown_events={name: kinds[name] for name in log.event_weights.unknown(kinds)},
        first=_iso(first),
        last=_iso(last),
        months=_months(log),
        sparsity=_sparsity(log),
        overlap=_overlap(positive, clicks, level),
        findings=_findings(positive, clicks, with_click, first, last),
        clicked_all=_clicked_all(positive, clicks),
        odd=[
            *odd_times(log.interactions["time"], log.searches["time"]),
            *(f"user ids: {similar}" for similar in similar_ids(log.users["user_id"])),
            *(f"item ids: {similar}" for similar in similar_ids(log.items["item_id"])),
        ],
    )


def _clicks(log: Log) -> pl.DataFrame:
    """user, item, time: one row for each item clicked in a search."""
    clicks = log.searches.lazy().select("user", pl.col("clicked").alias("item"), "time")
    return clicks.filter(pl.col("item").list.len() > 0).explode("item").collect()


def _span(log: Log) -> tuple[int | None, int | None]:
    time = pl.concat(
        [
            frame.select(low=pl.col("time").min(), high=pl.col("time").max())
            for frame in (log.interactions, log.searches)
        ]
    )
    known = [*time["low"].drop_nulls(), *time["high"].drop_nulls()]
    return (min(known), max(known)) if known else (None, None)


def _iso(time: int | None) -> str | None:
    return None if time is None else datetime.fromtimestamp(time / 1e6, UTC).isoformat(timespec="seconds")


def _months(log: Log) -> list[dict[str, Any]]:
    def by_month(frame: pl.DataFrame, name: str) -> pl.DataFrame:
        month = pl.from_epoch("time", time_unit="us").dt.truncate("1mo").dt.date().alias("month")
        return frame.lazy().group_by(month).agg(pl.len().alias(name)).collect(engine="streaming")

    both = by_month(log.interactions, "interactions").join(
        by_month(log.searches, "searches"), on="month", how="full", coalesce=True
    )
    return both.sort("month").fill_null(0).with_columns(pl.col("month").dt.strftime("%Y-%m")).to_dicts()


def _sparsity(log: Log) -> Sparsity:
    searchers = log.searches.group_by("user").len("n")["n"].cast(pl.Int64)
    counts = pl.concat([searchers, pl.zeros(log.users.height - len(searchers), dtype=pl.Int64, eager=True)])
    if counts.is_empty():
        return Sparsity(0.0, 0.0, 0.0, 0.0, dict.fromkeys(_QUANTILES, 0.0))
    few = _mean(counts < FEW_SEARCHES)
    quantiles = {name: counts.quantile(q, "lower") or 0.0 for name, q in _QUANTILES.items()}
    return Sparsity(_mean(counts == 0), few, 1 - few, _mean(counts), quantiles)


def _mean(values: pl.Series) -> float:
    """The mean, 0 of nothing."""
    return float(values.cast(pl.Float64).mean() or 0.0)  # type: ignore[arg-type]


def _labels(items: pl.DataFrame, level: Level) -> tuple[str, pl.DataFrame]:
    """What the labels are called, and item (Int32), label (UInt32): the labels that count for each item."""
    if not (level in ("all", "broadest") or (isinstance(level, int) and level >= 1)):
        raise SettingsError(
            "bad value for 'level'", where="check", got=repr(level), expected="'all', 'broadest' or a number from 1"
        )
    if "categories" not in items.columns:
        return "no categories", pl.DataFrame(schema={"item": pl.Int32, "label": pl.UInt32})
    lists = items.select(pl.int_range(1, pl.len() + 1, dtype=pl.Int32).alias("item"), label="categories")
    if level == "broadest":
        depths = range(lists.select(pl.col("label").list.len().max().fill_null(0)).item())
        level = next(
            (n + 1 for n in depths if lists["label"].list.get(n, null_on_oob=True).drop_nulls().n_unique() > 1), 1
        )
    if level == "all":
        name, labels = "all labels of an item", lists.filter(pl.col("label").list.len() > 0).explode("label")
    else:
        name, labels = (
            f"label {level} of an item",
            lists.with_columns(pl.col("label").list.get(int(level) - 1, null_on_oob=True)),
        )
    return name, labels.drop_nulls().unique().with_columns(pl.col("label").rank("dense").cast(pl.UInt32))


def _overlap(log: Log, clicks: pl.DataFrame, level: Level) -> Overlap:
    name, labels = _labels(log.items, level)
    of_items = _counts(labels["item"], labels["label"], log.items.height, int(labels["label"].max() or 0))  # type: ignore[arg-type]
    users, items = log.users.height, log.items.height
    # A histogram of labels for each user is clicks [users, items] @ labels [items, labels].
    search, feed = (
        _counts(events["user"], events["item"], users, items) @ of_items for events in (clicks, log.interactions)
    )
    lengths = [np.sqrt(np.asarray(side.multiply(side).sum(axis=1)).ravel()) for side in (search, feed)]
    dots = np.asarray(search.multiply(feed).sum(axis=1)).ravel()
    both = (lengths[0] > 0) & (lengths[1] > 0)
    if not both.any():
        return Overlap(name, 0, None, None, None, None)
    cosine = dots[both] / (lengths[0] * lengths[1])[both]
    quarter, median, three = (float(value) for value in np.quantile(cosine, (0.25, 0.5, 0.75)))
    return Overlap(name, len(cosine), quarter, median, three, float(np.mean(cosine == 0)))


def _counts(rows: pl.Series, columns: pl.Series, height: int, width: int) -> scipy.sparse.csr_matrix:
    """[height + 1, width + 1] how often each pair of numbers 1..height, 1..width occurs."""
    ones = np.ones(len(rows), dtype=np.float64)
    return scipy.sparse.csr_matrix((ones, (rows.to_numpy(), columns.to_numpy())), shape=(height + 1, width + 1))


def _findings(log: Log, clicks: pl.DataFrame, with_click: int, first: int | None, last: int | None) -> Findings:
    feed = log.interactions
    same = clicks.lazy().join(feed.lazy().select("user", "item", "time"), on=["user", "item", "time"], how="semi")
    # A search is known here by its user and instant; two searches of one instant are rare enough to weigh as one each.
    twice = (
        log.searches.lazy()
        .filter(pl.col("clicked").list.len() > 0)
        .join(same, on=["user", "time"], how="semi")
        .select(pl.len())
    )
    pair = pl.col("user").cast(pl.Int64) * (log.items.height + 1) + pl.col("item")
    pairs = feed.lazy().select(pair.n_unique()).collect().item() if feed.height else 0
    moments = pl.concat([frame.lazy().select("user", "time") for frame in (feed, log.searches)])
    alone = (
        moments.group_by("user", "time")
        .len()
        .filter(pl.col("len") == 1)
        .select(pl.len())
        .collect(engine="streaming")
        .item()
    )
    events = feed.height + log.searches.height
    used = pl.concat([frame.lazy().select("item", "time") for frame in (feed, clicks)])
    firsts = used.group_by("item").agg(pl.col("time").min()).collect(engine="streaming")["time"]
    limit = 0.0 if first is None or last is None else last - _LATE_SHARE * (last - first)
    users = (
        pl.concat([frame.lazy().select("user") for frame in (feed, log.searches)])
        .unique()
        .select(pl.len())
        .collect()
        .item()
    )
    return Findings(
        twice=_share(twice.collect(engine="streaming").item(), with_click),
        repeats=_share(feed.height - pairs, feed.height),
        ties=_share(events - alone, events),
        late_items=_share(int((firsts > limit).sum()), len(firsts)),
        items_unused=_share(log.items.height - len(firsts), log.items.height),
        users_unused=_share(log.users.height - users, log.users.height),
    )


def _clicked_all(log: Log, clicks: pl.DataFrame) -> list[str]:
    """The users who leave too few items unclicked to rank a target among; see `candidates.sampled_requests`."""
    items = log.items.height
    least = items - max(1, min(OTHERS, items // 10)) + 1
    events = pl.concat([frame.lazy().select("user", "item") for frame in (log.interactions, clicks)])
    busy = events.group_by("user").len().filter(pl.col("len") >= least).select("user")
    distinct = events.join(busy, on="user", how="semi").group_by("user").agg(pl.col("item").n_unique())
    users = distinct.filter(pl.col("item") >= least).sort("user").collect(engine="streaming")["user"]
    return log.users["user_id"].gather(users.cast(pl.Int64) - 1).to_list()


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


_EXPLAINED = {
    "twice": "of searches with a click have it as an interaction at the same instant too (recorded twice)",
    "repeats": "of interactions are with an item the user has had before",
    "ties": "of events share their instant with another of the same user; neither is in the other's history",
    "late_items": "of items with events are first seen in the last tenth of the time span; "
    "a split by time meets them cold",
    "items_unused": "of items have no event",
    "users_unused": "of users have no event",
}


def render(report: CheckReport) -> str:
    """The report as aligned plain text with a word of explanation for each part."""
    overlap, sparsity = report.overlap, report.sparsity
    read = {name: f"{rows:,}" for name, rows in report.rows.items()}
    parts = [_block("rows read", read)]
    if report.rejects:
        parts.append(
            _block("rows that break a rule", {f"{r['file']}: {r['rule']}": f"{r['rows']:,}" for r in report.rejects})
        )
        examples = (f"  {r['file']} row {r['row']}: {r['rule']} ({r['value']})" for r in report.examples)
        parts.append("\n".join(["the first of them", *examples]))
    else:
        parts.append("rules\n  every row obeys them")
    parts.append(_block("counts", {name: f"{count:,}" for name, count in report.counts.items()}))
    parts.append(_block("interactions by event", {kind: f"{count:,}" for kind, count in report.events.items()}))
    if report.feedback["neutral"] or report.feedback["negative"]:
        parts.append(_block("interactions by feedback", {name: f"{n:,}" for name, n in report.feedback.items()}))
    if report.unknown_events:
        unknown = {kind: f"{count:,}" for kind, count in report.unknown_events.items()}
        parts.append(_block("events of no known weight, which count as clicks (see docs/events.md)", unknown))
    parts.append(_block("time, UTC", {"first event": report.first or "none", "last event": report.last or "none"}))
    parts.append(_periods(report.months))
    users = {
        "with no search": _percent(sparsity.none),
        f"with fewer than {FEW_SEARCHES}": _percent(sparsity.few),
        f"with {FEW_SEARCHES} or more": _percent(sparsity.many),
        "mean": f"{sparsity.mean:.2f}",
    }
    users |= {name: f"{value:g}" for name, value in sparsity.quantiles.items()}
    parts.append(_block("searches per user (share of users; quantiles of the count)", users))
    shown = {
        "users compared": f"{overlap.users:,}",
        "quarter": _number(overlap.quarter),
        "median": _number(overlap.median),
    }
    shown |= {
        "three quarters": _number(overlap.three_quarters),
        "users with none": "-" if overlap.none is None else _percent(overlap.none),
    }
    title = "overlap of search and feed per user: cosine of clicked categories "
    title += f"({overlap.labels}), 1 the same, 0 nothing shared"
    parts.append(_block(title, shown))
    findings = [f"  {_percent(getattr(report.findings, name)):>7} {text}" for name, text in _EXPLAINED.items()]
    if report.clicked_all:
        names = ", ".join(map(repr, report.clicked_all[:_EXAMPLES]))
        names += f" and {len(report.clicked_all) - _EXAMPLES} more" if len(report.clicked_all) > _EXAMPLES else ""
        has = "1 user has" if len(report.clicked_all) == 1 else f"{len(report.clicked_all)} users have"
        findings.append(f"  {has} clicked nearly every item and cannot be ranked among sampled candidates: {names}")
    findings += [f"  {sentence}" for sentence in report.odd]
    parts.append("\n".join(["what may leak or mislead", *findings]))
    return "\n\n".join(parts) + "\n"


def _periods(months: list[dict[str, Any]]) -> str:
    """The counts of events by month; by year or decade where the months are many."""
    names = {"month": "{month}", "year": "{month:.4}", "decade": "{month:.3}0s"}
    by = {name: [form.format(month=month["month"]) for month in months] for name, form in names.items()}
    unit = next((name for name, periods in by.items() if len(set(periods)) <= _MOST_PERIODS), "decade")
    counts: dict[str, tuple[int, int]] = {}
    for period, month in zip(by[unit], months, strict=True):
        feed, searches = counts.get(period, (0, 0))
        counts[period] = (feed + month["interactions"], searches + month["searches"])
    shown = {period: f"{feed:,} + {searches:,}" for period, (feed, searches) in counts.items()}
    return _block(f"by {unit}: interactions + searches", shown)


def _block(title: str, lines: dict[str, str]) -> str:
    left, right = (max((len(text) for text in texts), default=0) for texts in (lines.keys(), lines.values()))
    return "\n".join([title, *(f"  {name:<{left}}  {value:>{right}}" for name, value in lines.items())])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
