"""Bounds of simulated worlds: what more knowledge is worth where the answer is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from searec.config import configure
from searec.data.synthetic.oracle import KNOWLEDGE, Oracle
from searec.data.synthetic.simulate import World, simulate
from searec.evaluation.bounds import Bounds, bounds, verdict

BASE: dict[str, Any] = {"users": 800, "items": 800, "clicks": 6.0, "reveal": 0.0}
ARCS: dict[str, Any] = {"clicks": 10.0, "archetypes": 60}


def measured(folder: Path, **dials: Any) -> Bounds:
    world = configure(World, {**BASE, **dials})
    return bounds(simulate(folder / "world", world), world)


def rooms(found: Bounds, better: Any, worse: Any) -> list[float]:
    return [found.headroom(protocol, group, better, worse) for protocol in found.figures for group in found.requests]


def test_where_searches_reveal_nothing_and_nobody_is_alike_more_knowledge_is_worth_nothing(tmp_path: Path) -> None:
    found = measured(tmp_path, overlap=0.0)
    assert rooms(found, "oracle", "no searches") == pytest.approx([0] * 6, abs=1e-9)


def test_where_searches_reveal_half_of_the_targets_they_are_worth_it(tmp_path: Path) -> None:
    found = measured(tmp_path, reveal=0.5, overlap=0.0)
    assert min(rooms(found, "no neighbours", "no searches")) > 0.2
    assert rooms(found, "oracle", "no neighbours") == pytest.approx([0] * 6, abs=1e-9)


def test_archetypes_make_neighbours_worth_it_and_shuffled_arcs_take_that_away(tmp_path: Path) -> None:
    found = measured(tmp_path / "own", **ARCS)
    assert min(rooms(found, "oracle", "no neighbours")) > 0.5
    assert found.figures["full"].keys() == {"all", "sparse", "rich"}
    shuffled = measured(tmp_path / "shuffled", **ARCS, shuffle_arcs=True)
    assert rooms(shuffled, "oracle", "no neighbours") == pytest.approx([0] * 6, abs=1e-9)


def test_foreign_searches_change_no_bound(tmp_path: Path) -> None:
    one, other = (Oracle(configure(World, {**BASE, "reveal": 0.3, "inject": count})) for count in (0, 3))
    for knowledge in KNOWLEDGE:
        assert np.allclose(one.scores(np.arange(800), knowledge), other.scores(np.arange(800), knowledge))


@pytest.mark.parametrize("dials", [{"reveal": 0.4}, ARCS, {**ARCS, "shuffle_arcs": True}], ids=str)
def test_the_oracle_gives_probabilities_that_come_true(dials: dict[str, Any], tmp_path: Path) -> None:
    """The target is item i as often as said: over all (user, item) pairs with a probability near p, p of them hit."""
    world = configure(World, {**BASE, "users": 3_000, **dials})
    oracle = Oracle(world)
    rows = pl.read_parquet(simulate(tmp_path / "world", world) / "interactions.parquet")
    target = rows.group_by("user_id", maintain_order=True).last()["item_id"].str.slice(1).cast(pl.Int64).to_numpy() - 1
    for knowledge in KNOWLEDGE:
        scores = oracle.scores(np.arange(3_000), knowledge)
        assert scores.sum(axis=1) == pytest.approx(np.ones(3_000), abs=1e-4)
        hit = np.zeros_like(scores, dtype=bool)
        hit[np.arange(3_000), target] = True
        for low, high in ((0.005, 0.02), (0.02, 0.05), (0.05, 0.1), (0.1, 0.3)):
            inside = (scores >= low) & (scores < high)
            if inside.sum() > 2_000:
                assert hit[inside].mean() == pytest.approx(scores[inside].mean(), rel=0.2)


def test_no_verdict_where_there_is_no_headroom(searec: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    assert verdict(0.19) == " (no verdict: headroom below 20%)"
    assert verdict(0.2) == ""
    options = ("--users", "300", "--reveal", "0.5", "--set", "clicks=6", "--bounds")
    code, out, _ = searec("simulate", tmp_path / "world", *options)
    assert code == 0
    for line in out.splitlines():
        if line.startswith("headroom of neighbours"):
            assert line.count("no verdict") == 2
    assert "headroom of searches, all: +" in out
