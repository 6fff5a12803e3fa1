"""The report on reasoning: what it says agrees with the runs, and its page needs nothing else."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from searec.data.candidates import candidate_lists
from searec.data.dataset import Dataset
from searec.errors import SettingsError
from searec.evaluation.protocol import full_ranks
from searec.experiments import run_comparison, run_training
from searec.experiments.recipe import Recipe, train_recipe
from searec.experiments.recipes.lcr_ser import lcr_ser_report
from searec.models.lcr_ser_paper import LCRSERPaper
from searec.pipeline.run import Run
from searec.reports.reasoning import Reasoning, costs, reasoning, tail_coverage
from searec.reports.reasoning_page import render

TINY: dict[str, Any] = {"width": 8, "inner": 8, "epochs": 1, "batch": 128, "rl_batch": 32, "trajectories": 2}


def shrunk(recipe: Recipe) -> Recipe:
    """Every line of the recipe, small."""
    from dataclasses import replace

    def small(settings: Any) -> dict[str, Any]:
        short = {name: 4 for name in ("rl_steps", "exit_steps") if name in settings}
        return {**settings, **TINY, **short}

    return replace(recipe, lines=tuple(replace(line, settings=small(line.settings)) for line in recipe.lines))


@pytest.fixture(scope="module")
def runs(small_world: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    return train_recipe(shrunk(lcr_ser_report()), small_world, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def found(runs: list[Run]) -> Reasoning:
    return reasoning(runs, run_comparison.compare(runs, protocols=("sampled",)), requests=50)


def test_each_setting_has_its_series(found: Reasoning) -> None:
    series = {one.setting: one.values for one in found.series}
    assert series == {
        "steps": [0, 1, 2, 3, 4, 5],
        "margin": [0.05, 0.2, 0.5, 1.0],
        "kl_weight": [0.0, 0.1, 1.0],
        "noise": [0.03, 0.1, 0.3],
    }
    rows = {row.label: row.metrics["ndcg@5"].mean for row in found.table.rows}
    steps = next(one for one in found.series if one.setting == "steps")
    assert [cell.mean for cell in steps.cells] == [
        rows[label] for label in ("base", "K=1", "K=2", "+TCL", "K=4", "K=5")
    ]


def test_costs_are_of_every_form(found: Reasoning) -> None:
    by_label = {cost.label: cost for cost in found.costs}
    assert set(by_label) == {"base", "+LCR", "+TCL", "+RL", "early exit", "student", "K=1", "K=2", "K=4", "K=5"}
    assert by_label["base"].ratio == 1
    assert by_label["base"].steps == by_label["student"].steps == 0
    assert by_label["K=5"].steps == pytest.approx(5 * by_label["K=1"].steps)
    assert by_label["early exit"].steps <= by_label["+RL"].steps
    assert all(cost.ms > 0 for cost in found.costs)


def test_costing_leaves_the_threads_as_they_were(runs: list[Run]) -> None:
    model = runs[0].model
    assert isinstance(model, LCRSERPaper)
    held = runs[0].split.held_out("recommend", "test")[:5]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    costs(
        {"one": model},
        runs[0].split,
        held,
        np.asarray(candidate_lists(runs[0].split, "recommend", "test")[np.arange(5)]),
        {"one": 0.0},
    )
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_distances_are_of_users_who_reason(found: Reasoning, runs: list[Run]) -> None:
    moves = {move.label: move for move in found.movements}
    assert "base" not in moves
    assert "student" not in moves
    assert "+RL" not in moves, "it starts from +TCL, whose states are shown"
    assert moves["K=4"].crossed.shape == (5, 2)
    assert moves["K=4"].alone.shape == (4, 2)
    assert all(((move.crossed > 0) & (move.crossed < 2)).all() for move in found.movements)


def test_exits_go_from_no_step_to_all(found: Reasoning, runs: list[Run]) -> None:
    curve = found.exits["early exit"]
    taken = next(cost.steps for cost in found.costs if cost.label == "+RL")
    assert curve[0][0] == 0
    assert curve[-1][0] == pytest.approx(taken, rel=0.3)  # of validation requests, not of the test's
    assert [steps for steps, _ in curve] == sorted(steps for steps, _ in curve)


def test_the_long_tail_is_counted_by_hand(runs: list[Run]) -> None:
    run = runs[0]
    assert isinstance(run.model, LCRSERPaper)
    requests = run.split.held_out("recommend", "test")[:30]
    _, top = full_ranks(run.model, run.split, requests)
    items = run.data.sizes.items
    clicks = [0] * (items + 1)
    for item in run.split.train_clicks(("recommend",))[1].tolist():
        clicks[item] += 1
    tail = sorted(range(1, items + 1), key=lambda item: clicks[item])[: int(0.8 * items)]
    assert tail_coverage(run.model, run.split, requests) == pytest.approx(
        len(set(tail) & set(top.ravel().tolist())) / len(tail)
    )


def test_the_page_needs_nothing_else(found: Reasoning) -> None:
    page = render(found, title="reasoning", created=datetime(2026, 1, 1, tzinfo=UTC))
    assert page == render(found, title="reasoning", created=datetime(2026, 1, 1, tzinfo=UTC))
    assert not re.search(r"(src|href)=\"(?!#)", page)
    for text in (
        "NDCG@5 by K",
        "NDCG@5 by lambda_KL",
        "NDCG@5 by gamma",
        "NDCG@5 by m<",
        "early exit",
        "student",
        "reward=mrr",
    ):
        assert text in page, text
    assert page.count("<svg") == 4 + len([move for move in found.movements if len(move.alone)]) + 1 + len(found.exits)


def test_it_is_json(found: Reasoning) -> None:
    told = json.loads(json.dumps(found.as_json()))
    assert told["by_setting"]["steps"][3]["value"] == 3
    assert told["phases"]["+RL"][1]["phase"] == "ranking_policy"
    assert set(told["tail_coverage"]) >= {"+RL", "reward=mrr", "reward=ndcg@5"}


def test_without_a_run_of_lcr_ser_there_is_nothing_to_say(small_world: Dataset, tmp_path: Path) -> None:
    run = run_training.train("popular", small_world, tmp_path / "popular")
    with pytest.raises(SettingsError, match="expected: a run of lcr-ser at least"):
        reasoning([run], run_comparison.compare([run], protocols=("sampled",)))


def test_the_command_writes_page_and_figures(
    searec: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from searec.data.synthetic.simulate import World, simulate
    from searec.experiments import recipes

    world = simulate(tmp_path / "world", World(users=60, items=300, clicks=12.0, searches=16.0, families=3, types=4))
    lines = tuple(line for line in shrunk(lcr_ser_report()).lines if line.label in ("base", "+TCL"))
    monkeypatch.setitem(recipes.RECIPES, "lcr-ser-report", lambda: replace(lcr_ser_report(), lines=lines))
    code, out, err = searec("reasoning", world, "--out", tmp_path / "out", "--requests", "20", "--json", "-")
    assert code == 0, err
    told = json.loads(out)
    assert set(told["runs"]) == {"base", "+TCL"}
    page = (tmp_path / "out" / "reasoning.html").read_text(encoding="utf-8")
    assert "paired randomisation test against base" in page
