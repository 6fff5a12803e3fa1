"""Leaks of a training and of a run: its requests, what was made for it beforehand, and the clicks it has counted."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from searec.artifacts.history_texts import digest
from searec.artifacts.interests import Interests
from searec.artifacts.item_identifiers import ItemCoder
from searec.artifacts.prepare import Made
from searec.artifacts.pseudo_queries import from_words
from searec.artifacts.user_codes import Coder
from searec.data.dataset import Dataset
from searec.data.leakage.checks import (
    bounds,
    clicks_of,
    cutoff_leaks,
    negative_leaks,
    read_late,
    split_leaks,
)
from searec.data.leakage.cutoff import NOTHING, Cutoff
from searec.data.leakage.findings import Finding, Leaks, Table, event_at, row_at, when
from searec.data.ragged import Ints, first_not_before
from searec.data.schema import Task
from searec.data.split import NEVER, Split
from searec.errors import LeakError
from searec.interests.interest_table import InterestTable
from searec.models.base import Model
from searec.pipeline.run import ARTIFACTS, CUTOFF, LEAKS, read_config, read_run
from searec.semantic_ids.user_code_table import SIDES

_LOG = logging.getLogger("searec.leaks")
_AGAIN = "train it again"


def training_leaks(split: Split, model: Model, made: Made | None) -> Leaks:
    """What a model is about to learn from: its requests and targets, negatives, and what was made for it."""
    tasks = model.train_tasks
    total = split_leaks(split, tasks, last=model.examples == "last", feed_only=model.needs.trail == 0)
    total += Leaks({}, tuple(cutoff_leaks(split, tasks, Cutoff.of(split, tasks), "training events")))
    if model.negatives:
        total += negative_leaks(split, tasks)
    return total + made_leaks(split, tasks, made)


def told(split: Split, model: Model, before: Leaks) -> dict[str, Any]:
    """For config.json: which events a model that has learned has read, and what was looked at. Warnings are logged.

    Args:
        before: what `training_leaks` gave.

    Raises:
        LeakError: it has counted clicks that it may not know.
    """
    leaks = before + model.leaks(split)
    leaks.refuse()
    for one in leaks.warnings:
        _LOG.warning("%s; %s%s", one.what, one.where, f"; the first: {one.rows[0]}" if one.rows else "")
    return {CUTOFF: Cutoff.of(split, model.train_tasks).as_json(), LEAKS: leaks.as_json()}


def run_leaks(folder: Path, data: Dataset) -> Leaks:
    """All that a run folder holds: its cut-off, what was made beforehand, and counts.

    Raises:
        RunError: no finished run, a damaged file, or other data than it was trained on.
    """
    run = read_run(folder, data, device="cpu")
    split, tasks = run.split, run.model.train_tasks
    told, allowed = read_config(folder).get(CUTOFF), Cutoff.of(split, tasks).digest
    found = []
    if not isinstance(told, dict) or told.get("digest") != allowed:
        what = (
            "no cut-off tells what it was trained on"
            if told is None
            else "it was trained up to other times than its split allows"
        )
        got = told.get("digest") if isinstance(told, dict) else told
        found.append(
            Finding("error", what, f"{folder}: {got or 'nothing'}", expected=f"cut-off {allowed}", remedy=_AGAIN)
        )
    total = Leaks({"runs": 1}, tuple(found)) + run.model.leaks(split)
    home = folder / ARTIFACTS
    kind = type(run.model).artifact
    made: Made | None = None
    if kind == "user_codes":
        made = Coder.load(home)
    elif kind == "item_identifiers":
        made = ItemCoder.load(home)
    elif kind == "interests":
        made = Interests(home, InterestTable.load(home), run.model.category_vectors.numpy())  # type: ignore[operator]
    return total + made_leaks(split, tasks, made)


# --- what was made beforehand ---


def made_leaks(split: Split, tasks: Sequence[Task], made: Made | None) -> Leaks:
    """What was made beforehand: by its cut-off, and by what stands in it."""
    if made is None:
        return Leaks()
    name = {Coder: "user codes", ItemCoder: "item identifiers", Interests: "interest graphs"}[
        type(made)
    ] + f" {made.folder}"
    try:
        cutoff = Cutoff.load(made.folder)
        parts = [Cutoff.load(made.folder / "summaries")] if isinstance(made, Coder) else []
    except LeakError as error:
        got = "" if error.got is None else f": {error.got}"
        finding = Finding(
            "error", error.what, f"{name}{got}", expected=str(error.expected or ""), remedy=error.remedy or ""
        )
        return Leaks({"made beforehand": 1}, (finding,))
    found = cutoff_leaks(split, tasks, cutoff, name)
    for part in parts:
        found += cutoff_leaks(split, tasks, part, f"summaries {made.folder / 'summaries'}")
    if cutoff.data == split.data.fingerprint:
        if isinstance(made, Coder):
            found += _in_codes(split, tasks, made, cutoff, name)
        elif isinstance(made, ItemCoder):
            found += _in_items(split, tasks, made, name)
        else:
            found += _in_interests(split, tasks, made.table, name)
    if "student" in cutoff.about and cutoff.about["student"] is None:
        found.append(Finding("warning", "what its student has learned from is not known", name))
    return Leaks({"made beforehand": 1 + len(parts)}, tuple(found))


def _in_codes(split: Split, tasks: Sequence[Task], made: Coder, cutoff: Cutoff, name: str) -> list[Finding]:
    """Codes and texts of users who had done nothing on that side before the cut-off; and histories cut at other times than is told."""
    data, read = split.data, bounds(split, tasks)[0]
    found = []
    tables: tuple[tuple[Table, Ints, Ints], ...] = (
        ("interactions", data.interactions.time, data.interactions.offsets),
        ("searches", data.searches.time, data.searches.offsets),
    )
    for place, (side, (table, time, offsets)) in enumerate(zip(SIDES, tables, strict=True)):
        end = first_not_before(time, offsets[:-1], offsets[1:], read)
        for what, has in (("codes", made.codes.has()[:, place]), ("summaries", made.summaries.has()[:, place])):
            users = np.flatnonzero(has & (end == offsets[:-1]))
            if len(users):
                row = event_at(data, table, int(end[users[0]]))
                whose = data.users.outside(users[:1])[0]
                telling = f"{what} tell of users who had done nothing before the cut-off ({side} side)"
                rows = () if row is None or row.user != whose else (row,)
                found.append(Finding("error", telling, f"{name}, user {whose!r}", rows, len(users), remedy=_AGAIN))
    expected = digest(data, cutoff.on(data)[0])
    for what, told in (("codes", made.codes.about.get("cutoff")), ("summaries", made.summaries.about.get("cutoff"))):
        if told != expected:
            found.append(
                Finding(
                    "error",
                    f"the {what} rest on other histories than their cut-off tells",
                    f"{name}: {told}",
                    expected=expected,
                )
            )
    return found


def _in_items(split: Split, tasks: Sequence[Task], made: ItemCoder, name: str) -> list[Finding]:
    """Behaviour of items that nobody had clicked before the cut-off; and pseudo-queries that were asked only after it."""
    data, settings = split.data, made.settings
    limit = bounds(split, tasks)[1]
    found = []
    if settings.collaborative == "svd" and settings.scheme in ("joint", "collaborative"):
        _, item, old = clicks_of(split, limit)
        silent = np.bincount(item[old], minlength=data.sizes.items + 1)[1:] == 0
        items = np.flatnonzero(silent & np.any(np.asarray(made.vectors[-1]) != 0, axis=1)) + 1
        if len(items):
            later = np.flatnonzero(item == items[0])
            rows = tuple(
                row_at(data, place) for place in later[np.argsort(data.trail.time[later], kind="stable")][:1].tolist()
            )
            whose = data.items.outside(items[:1])[0]
            what = "behaviour is known of items that nobody had clicked before the cut-off"
            found.append(
                Finding(
                    "error", what, f"collaborative vectors of {name}, item {whose!r}", rows, len(items), remedy=_AGAIN
                )
            )
    own = pl.DataFrame(
        {"query": [query for queries in from_words(data.item_table, 1 << 30) for query in queries]},
        schema={"query": pl.String},
    )
    first = _first_asked(data)
    user = np.repeat(np.arange(len(data.searches.offsets) - 1), np.diff(data.searches.offsets))
    old = np.asarray(data.searches.time) < limit[user]
    known = data.queries.texts.gather(np.unique(data.searches.query[old]).astype(np.int64) - 1)
    late = pl.DataFrame({"query": made.queries}, schema={"query": pl.String}).join(own, on="query", how="anti")
    late = late.join(pl.DataFrame({"query": known}), on="query", how="anti").join(first, on="query").sort("position")
    if late.height:
        written = bool(_texts_of(made).get("doc2query"))
        row = event_at(data, "searches", int(late["position"][0]))
        what = f"{late.height:,} pseudo-queries are what users asked only after the cut-off" + (
            ", which the model that wrote them may have come upon by itself" if written else ", and no words of an item"
        )
        where = f"pseudo-queries of {name}"
        rows = () if row is None else (row,)
        found.append(
            Finding("warning" if written else "error", what, where, rows, late.height, remedy="" if written else _AGAIN)
        )
    return found


def _first_asked(data: Dataset) -> pl.DataFrame:
    """query, position: where each text was asked first."""
    searches = data.searches
    order = np.argsort(searches.time, kind="stable")
    query, place = np.unique(np.asarray(searches.query)[order], return_index=True)
    return pl.DataFrame({"query": data.queries.texts.gather(query.astype(np.int64) - 1), "position": order[place]})


def _texts_of(made: ItemCoder) -> dict[str, object]:
    """How the texts were made."""
    found = json.loads((made.folder / "about.json").read_text(encoding="utf-8")).get("texts", {})
    return dict(found)


def _in_interests(split: Split, tasks: Sequence[Task], table: InterestTable, name: str) -> list[Finding]:
    """Snapshots made after the cut-off, and graphs whose signals are newer."""
    data, read = split.data, bounds(split, tasks)[0]
    made_at = np.where(table.times == NEVER, NOTHING, table.times).max(axis=1)
    found = []
    if len(made_at) != len(read):
        return [Finding("error", "interests of other users", name, expected=f"{len(read) - 1} users", remedy=_AGAIN)]
    newest = np.full(len(read), NOTHING, dtype=np.int64)
    inside = data.users.inside(list(table.graphs))
    for user, graph in zip(inside.tolist(), table.graphs.values(), strict=True):
        newest[user] = max([graph.at, *(edge.time + 1 for edge in graph.edges)])
    for what, times in (("snapshots of interests were made", made_at), ("interest graphs rest on events", newest)):
        if (late := read_late(data, read, times)) is not None:
            users, user, row = late
            where = f"{name}, user {row.user!r}: {when(times[user])}"
            found.append(
                Finding(
                    "error",
                    f"{what} after the cut-off",
                    where,
                    (row,),
                    users,
                    f"nothing after {when(read[user])}",
                    _AGAIN,
                )
            )
    return found
