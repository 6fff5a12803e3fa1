"""Every recipe names models, settings and labels that exist and do not collide."""

from pathlib import Path
from typing import Any

import pytest
import torch

from searec.config import as_dict
from searec.errors import SettingsError
from searec.evaluation.result import stored_figures
from searec.experiments.recipe import Recipe, RecipeLine, train_recipe
from searec.experiments.recipes import RECIPES, recipe_named
from searec.experiments.run_training import settings_for


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_settings_are_valid_and_lines_differ(name: str) -> None:
    recipe = recipe_named(name)
    assert recipe.name == name and recipe.lines
    made = [
        (line.model, line.joint, line.start, line.teacher, str(settings_for(line.model, line.preset, line.settings)))
        for line in recipe.lines
    ]
    assert len({line.label for line in recipe.lines}) == len(made)
    assert len(set(made)) == len(made), "two lines with the same settings"


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_what_a_line_starts_from_comes_before_it_with_its_seeds(name: str) -> None:
    earlier: dict[str, tuple[int, ...]] = {}
    for line in recipe_named(name).lines:
        for other in (line.start, line.teacher):
            assert other is None or set(line.seeds) <= set(earlier[other])
        earlier[line.label] = line.seeds


def test_the_table_holds_the_settings_that_tuning_tried() -> None:
    table = {line.label: line for line in recipe_named("baselines").lines}
    for label, grid in (
        ("sasrec", "tuning-sasrec"),
        ("sasrec-bce", "tuning-sasrec"),
        ("unisar", "tuning-unisar"),
    ):
        own, _ = settings_for(table[label].model, "default", table[label].settings)
        assert own in [settings_for(line.model, "default", line.settings)[0] for line in recipe_named(grid).lines]


def test_lines_of_the_trade_off_differ_in_tasks_or_identifiers_or_their_start_alone() -> None:
    lines = {
        line.label: settings_for(line.model, line.preset, line.settings)
        for line in recipe_named("gensar-tradeoff").lines
    }
    joint = as_dict(lines["joint"][0])
    for label, (own, steps) in lines.items():
        differing = {name for name, value in as_dict(own).items() if value != joint[name]}
        assert differing <= (
            {"tasks"} if "only" in label else {"warm_codes"} if "cold" in label else {"scheme", "shared", "specific"}
        )
        assert own.shared + own.specific == 3
        assert steps == lines["joint"][1]
    assert [lines[f"shared {count} of 3"][0].shared for count in (0, 2, 3)] == [0, 2, 3]


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="'baselines'"):
        recipe_named("baseline")


def test_a_study_can_be_shared_out() -> None:
    plan = recipe_named("demo")
    assert [line.label for line in plan.only(["unisar", "popular"])] == ["popular", "unisar"]
    with pytest.raises(SettingsError, match="'unisar'"):
        plan.only(["unisarr"])


def test_several_processes_make_the_runs_that_one_makes(checkerboard: Any, tmp_path: Path) -> None:
    tiny = {"width": 8, "inner": 8, "epochs": 1, "epoch_steps": 0, "batch": 8, "device": "cpu"}
    lines = (RecipeLine("itemknn", "itemknn"), RecipeLine("bm25", "bm25"), RecipeLine("sasrec", "sasrec", tiny))
    recipe = Recipe("default", lines)
    alone = train_recipe(recipe, checkerboard.data, tmp_path / "one")
    shared = train_recipe(recipe, checkerboard.data, tmp_path / "two", jobs=2)
    assert [run.label for run in shared] == ["itemknn", "bm25", "sasrec"]
    for first, second in zip(alone, shared, strict=True):
        for name, tensor in first.model.state().items():
            assert torch.equal(tensor, second.model.state()[name]), (first.label, name)
        figures, same = (stored_figures(run.folder) for run in (first, second))
        assert figures and figures == same


def test_an_error_in_a_process_is_the_error_of_the_call(checkerboard: Any, tmp_path: Path) -> None:
    recipe = Recipe("broken", (RecipeLine("a", "itemknn"), RecipeLine("b", "sasrec", {"widht": 8})))
    with pytest.raises(SettingsError, match="did you mean 'width'"):
        train_recipe(recipe, checkerboard.data, tmp_path, jobs=2)
