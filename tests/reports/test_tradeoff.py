"""The report on the trade-off between the tasks: what it says agrees with the runs, and its page needs nothing else."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from searec.data.candidates import candidate_lists
from searec.data.schema import TASKS
from searec.errors import SettingsError
from searec.experiments import recipes, run_comparison
from searec.experiments.recipe import Recipe, RecipeLine, train_recipe
from searec.experiments.recipes.gensar import gensar_tradeoff
from searec.models.gensar.model import GenSAR
from searec.pipeline.run import Run
from searec.reports import tradeoff as module
from searec.reports.tradeoff import METRIC, Outcome, Tradeoff, cost, times, tradeoff
from searec.reports.tradeoff_page import render

TINY: dict[str, Any] = {
    "width": 16,
    "inner": 16,
    "heads": 2,
    "layers": 1,
    "beam": 64,
    "length": 16,
    "codes": 8,
    "shared_codes": 0,
    "quantiser": "rq-vae",
    "apart": "code",
    "code_epochs": 4,
    "code_least": 0,
    "epochs": 1,
    "epoch_steps": 0,
}
MADE = datetime(2026, 1, 1, tzinfo=UTC)


def shrunk(recipe: Recipe) -> Recipe:
    """Every line of the recipe, small."""
    lines = (replace(line, settings={**line.settings, **TINY}, seeds=(0,)) for line in recipe.lines)
    return replace(recipe, lines=tuple(lines))


@pytest.fixture(scope="module")
def runs(checkerboard: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    plan = shrunk(gensar_tradeoff())
    others = (RecipeLine("tiger", "tiger", {**TINY, "patience": 0}), RecipeLine("popular", "popular"))
    return train_recipe(
        replace(plan, lines=plan.lines + others), checkerboard.data, tmp_path_factory.mktemp("tradeoff")
    )


@pytest.fixture(scope="module")
def found(runs: list[Run]) -> Tradeoff:
    return tradeoff(runs, run_comparison.compare(runs, protocols=("sampled",), baseline="joint"), requests=10)


@pytest.fixture(scope="module")
def outcomes(found: Tradeoff) -> dict[str, Outcome]:
    return {outcome.label: outcome for outcome in found.outcomes}


def of(runs: list[Run], label: str) -> tuple[Run, GenSAR]:
    run = next(run for run in runs if run.label == label)
    assert isinstance(run.model, GenSAR)
    return run, run.model


def test_each_run_has_the_figures_of_what_it_learnt(
    found: Tradeoff, outcomes: dict[str, Outcome], runs: list[Run]
) -> None:
    assert list(outcomes) == [run.label for run in runs]
    assert outcomes["recommend only"].tasks == outcomes["tiger"].tasks == ("recommend",)
    assert outcomes["search only"].tasks == ("search",)
    assert outcomes["joint"].tasks == outcomes["popular"].tasks == TASKS
    for run in runs:
        for task in TASKS:
            cell = outcomes[run.label].ndcg[task]
            assert (cell is not None) == (task in run.model.train_tasks)
            if cell is not None:
                own = run_comparison.evaluation_of(run, task, "sampled", "test").summary()["metrics"]
                assert cell.mean == pytest.approx(own[METRIC])
                assert cell.low <= cell.mean <= cell.high


def test_a_run_that_writes_no_identifiers_has_no_cost(outcomes: dict[str, Outcome]) -> None:
    assert [label for label, outcome in outcomes.items() if outcome.cost is None] == ["popular"]


def test_shares_are_of_what_was_shared(outcomes: dict[str, Outcome]) -> None:
    shares = {label: outcome.cost.share for label, outcome in outcomes.items() if outcome.cost is not None}
    assert [shares[f"shared {count} of 3"] for count in (0, 2, 3)] == pytest.approx([0, 2 / 3, 1])
    assert shares["joint"] == shares["recommend only"] == pytest.approx(1 / 3)
    assert {shares[label] for label in ("semantic", "collaborative", "bi-encoder", "tiger")} == {None}


def test_the_curve_is_of_runs_that_share_all_else(
    found: Tradeoff, outcomes: dict[str, Outcome], runs: list[Run]
) -> None:
    assert found.series is not None
    assert (found.series.books, found.series.values) == (3, [0, 1, 2, 3])
    labels = ("shared 0 of 3", "joint", "shared 2 of 3", "shared 3 of 3")
    for task in TASKS:
        assert found.series.cells[task] == [outcomes[label].ndcg[task] for label in labels]
    alone = [run for run in runs if run.label in ("joint", "recommend only", "semantic", "bi-encoder")]
    assert tradeoff(alone, run_comparison.compare(alone, protocols=("sampled",)), requests=2).series is None


@pytest.mark.parametrize("label", ["recommend only", "semantic"])
def test_runs_of_one_task_or_of_one_vector_make_no_curve(runs: list[Run], label: str) -> None:
    run, _ = of(runs, label)
    settings = run.config["settings"]
    other = {**settings, "model": {**settings["model"], "shared": 1, "specific": 3}}
    both = {"one": run, "other": replace(run, config={**run.config, "settings": other})}
    assert module._series(both, {"recommend": {}, "search": {}}) is None


def test_parameters_count_what_is_trained(outcomes: dict[str, Outcome], runs: list[Run]) -> None:
    """Each task's own codes have embeddings and biases of their own."""
    counts, tokens = {}, {}
    for label in ("shared 0 of 3", "joint", "shared 3 of 3"):
        told = outcomes[label].cost
        assert told is not None
        counts[label], tokens[label] = told.parameters, of(runs, label)[1].identifiers.tokens
    assert counts["joint"] - counts["shared 3 of 3"] == (TINY["width"] + 1) * (
        tokens["joint"] - tokens["shared 3 of 3"]
    )
    assert counts["shared 3 of 3"] < counts["joint"] < counts["shared 0 of 3"]


@pytest.mark.parametrize("label", ["joint", "semantic", "shared 3 of 3", "tiger"])
def test_collisions_are_those_of_the_identifiers(outcomes: dict[str, Outcome], runs: list[Run], label: str) -> None:
    _, model = of(runs, label)
    told = outcomes[label].cost
    assert told is not None
    assert told.places == model.identifiers.depth
    books = told.shared + told.specific
    for name, (before, after) in told.collisions.items():
        codes = model.identifiers.codes[TASKS.index("recommend" if name == "collaborative" else "search"), 1:, :books]
        counts = Counter(map(tuple, codes.tolist()))
        assert after == pytest.approx(sum(count for count in counts.values() if count > 1) / len(codes))
        assert before >= after
    some = any(after for _, after in told.collisions.values())
    assert told.places == books + some, "one more code where items still collide"
    assert set(told.collisions) == ({"semantic", "collaborative"} if label == "joint" else {"semantic"})


def testseconds_of_are_those_of_the_log(outcomes: dict[str, Outcome], runs: list[Run], tmp_path: Path) -> None:
    run, model = of(runs, "joint")
    told = outcomes["joint"].cost
    assert told is not None
    lines = (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert told.seconds == json.loads(lines[-1])["seconds"] > 0
    (tmp_path / "artifacts").symlink_to(run.folder / "artifacts")
    assert cost(replace(run, folder=tmp_path), model, {}).seconds is None


def test_all_take_turns_and_the_best_round_counts_after_the_first(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {label: of(runs, label)[1] for label in ("joint", "search only")}
    split = runs[0].split
    asked = {task: (split.held_out(task, "test")[:4], candidate_lists(split, task, "test")[:4]) for task in TASKS}
    heard: list[tuple[Any, int]] = []

    def clock(work: Any, device: torch.device) -> float:
        heard.append((work, torch.get_num_threads()))
        return (1.0, 7.0, 4.0, 5.0, 4.5, 6.0)[(len(heard) - 1) // 6] + (len(heard) - 1) % 6

    monkeypatch.setattr(module, "seconds_of", clock)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    told = times(models, split, asked)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert {threads for _, threads in heard} == {1}
    assert [work for work, _ in heard] == 6 * [work for work, _ in heard[:6]]
    assert set(told["joint"]) == set(TASKS) and set(told["search only"]) == {"search"}
    joint = [value for task in TASKS for value in (told["joint"][task].rank, told["joint"][task].retrieve)]
    alone = told["search only"]["search"]
    assert [*joint, alone.rank, alone.retrieve] == [1e3 * (4.0 + place) / 4 for place in range(6)]


def test_what_is_timed_ranks_all_candidates_and_retrieves_ten(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    label = "recommend only"
    _, model = of(runs, label)
    seen: list[tuple[str, int, int]] = []
    score, retrieve = model.score, model.retrieve

    def scored(batch: Any) -> Tensor:
        seen.append(("score", len(batch), batch.candidates.shape[1]))
        return score(batch)

    def retrieved(batch: Any, k: int) -> tuple[Tensor, Tensor]:
        seen.append(("retrieve", len(batch), k))
        return retrieve(batch, k)

    monkeypatch.setattr(model, "score", scored)
    monkeypatch.setattr(model, "retrieve", retrieved)
    split = runs[0].split
    lists = candidate_lists(split, "recommend", "test")
    told = times({label: model}, split, {"recommend": (split.held_out("recommend", "test")[:5], lists[:5])})
    assert seen == 6 * [("score", 5, lists.shape[1]), ("retrieve", 5, 10)]
    assert set(told[label]) == {"recommend"}


def test_without_a_run_of_gensar_there_is_nothing_to_say(runs: list[Run]) -> None:
    popular = [run for run in runs if run.label == "popular"]
    with pytest.raises(SettingsError, match="expected: a run of gensar at least"):
        tradeoff(popular, run_comparison.compare(popular, protocols=("sampled",)))


def test_it_is_json(found: Tradeoff) -> None:
    told = json.loads(json.dumps(found.as_json()))
    rows = {row["label"]: row for row in told["runs"]}
    assert rows["recommend only"]["search"] is None
    assert rows["joint"]["recommend"]["p_holm"] is None, "the baseline has none"
    assert rows["semantic"]["search"]["p_holm"] > 0
    assert rows["popular"]["cost"] is None
    assert set(rows["search only"]["cost"]["times"]) == {"search"}
    assert told["by_shared"]["shared"] == [0, 1, 2, 3]
    assert told["by_shared"]["search"][1] == rows["joint"]["search"][METRIC]
    assert told["requests"] == {"recommend": 10, "search": 10}


def test_the_page_needs_nothing_else(found: Tradeoff) -> None:
    page = render(found, title="trade-off", created=MADE)
    assert page == render(found, title="trade-off", created=MADE)
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert page.count("<svg") == 3
    for outcome in found.outcomes:
        assert page.count(f">{outcome.label}</th>") == (1 if outcome.cost is None else 2)
        assert f">{outcome.label}</text>" in page
    assert "shared codebooks of 3" in page


def test_a_page_without_a_curve(found: Tradeoff) -> None:
    page = render(replace(found, series=None), title="trade-off", created=MADE)
    assert page.count("<svg") == 1
    assert "Shared codebooks" not in page


def test_the_command_writes_page_and_figures(
    searec: Callable[..., tuple[int, str, str]], checkerboard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = shrunk(gensar_tradeoff())
    plan = replace(recipe, lines=recipe.only(["joint", "recommend only"]))
    monkeypatch.setitem(recipes.RECIPES, "gensar-tradeoff", lambda: plan)
    arguments = ("tradeoff", checkerboard.folder, "--out", tmp_path / "out", "--requests", "3")
    code, out, err = searec(*arguments, "--json", tmp_path / "told.json")
    assert code == 0, err
    told = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))
    assert [row["label"] for row in told["runs"]] == ["joint", "recommend only"]
    assert re.search(r"joint +0\.\d{4} +0\.\d{4} +1 of 3 ", out)
    assert re.search(r"recommend only +0\.\d{4} +- +1 of 3 ", out)
    page = (tmp_path / "out" / "tradeoff.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    code, out, err = searec(*arguments, "--json", "-")
    assert code == 0, err
    assert json.loads(out)["by_shared"] is None


def test_settings_reach_every_line_but_not_those_in_which_the_lines_differ(
    searec: Callable[..., tuple[int, str, str]], checkerboard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = shrunk(gensar_tradeoff())
    plan = replace(recipe, lines=recipe.only(["joint", "search only"]))
    monkeypatch.setitem(recipes.RECIPES, "gensar-tradeoff", lambda: plan)
    arguments = ("tradeoff", checkerboard.folder, "--out", tmp_path / "out", "--requests", "3", "--json", "-")
    code, _, err = searec(*arguments, "--set", "width=8", "--set", "epochs=2")
    assert code == 0, err
    for label in ("joint", "search only"):
        config = json.loads((tmp_path / "out" / label / "config.json").read_text(encoding="utf-8"))
        assert config["settings"]["model"]["width"] == 8
        assert config["settings"]["train"]["epochs"] == 2
    code, _, err = searec(*arguments, "--set", "tasks=[]")
    assert (code, "the lines differ in 'tasks'" in err) == (1, True)
