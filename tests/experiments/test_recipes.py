"""Every recipe names models, settings and labels that exist and do not collide."""

import pytest

from searec.config import as_dict
from searec.errors import SettingsError
from searec.experiments.recipes import RECIPES, recipe_named
from searec.experiments.run_training import settings_for


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_settings_are_valid_and_lines_differ(name: str) -> None:
    recipe = recipe_named(name)
    assert recipe.name == name and recipe.lines
    made = [
        (line.model, line.start, line.teacher, str(settings_for(line.model, line.preset, line.settings)))
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
        ("itemknn-tuned", "tuning-simple"),
        ("bm25-tuned", "tuning-simple"),
    ):
        own, _ = settings_for(table[label].model, "small", table[label].settings)
        assert own in [settings_for(line.model, "small", line.settings)[0] for line in recipe_named(grid).lines]


def test_lines_of_the_trade_off_differ_in_tasks_or_identifiers_or_their_start_alone() -> None:
    lines = {
        line.label: settings_for(line.model, line.preset, line.settings)
        for line in recipe_named("gensar-tradeoff").lines
    }
    joint = as_dict(lines["joint"][0])
    assert joint in [
        as_dict(settings_for(line.model, line.preset, line.settings)[0]) for line in recipe_named("gensar").lines
    ]
    for label, (own, steps) in lines.items():
        differing = {name for name, value in as_dict(own).items() if value != joint[name]}
        assert differing <= (
            {"tasks"} if "only" in label else {"warm_codes"} if "cold" in label else {"scheme", "shared", "specific"}
        )
        assert own.shared + own.specific == 4
        assert steps == lines["joint"][1]
    assert [lines[f"shared {count} of 4"][0].shared for count in (0, 1, 3, 4)] == [0, 1, 3, 4]


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="'baselines'"):
        recipe_named("baseline")


def test_a_study_can_be_shared_out() -> None:
    plan = recipe_named("demo")
    assert [line.label for line in plan.only(["unisar", "popular"])] == ["popular", "unisar"]
    with pytest.raises(SettingsError, match="'unisar'"):
        plan.only(["unisarr"])
