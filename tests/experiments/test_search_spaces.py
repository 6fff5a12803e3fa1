"""Every model has a search space, its presets lie inside, and every value in it is one the model takes."""

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution

from searec.data.schema import TASKS
from searec.experiments.run_training import settings_for
from searec.experiments.tuning import Trial, distributions_of, propose
from searec.models import form_of, model_named, model_names


def ends(where: BaseDistribution) -> list[object]:
    return list(where.choices) if isinstance(where, CategoricalDistribution) else [where.low, where.high]  # type: ignore[attr-defined]


def test_what_one_task_alone_goes_without_is_told() -> None:
    for name in model_names():
        assert bool(model_named(name).single_task) == bool(model_named(name).single_task_note), name


@pytest.mark.parametrize("model", model_names())
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_presets_lie_inside_and_all_values_are_taken(model: str, preset: str) -> None:
    model = form_of(model, preset)  # type: ignore[arg-type]
    config, plan = settings_for(model, preset)  # type: ignore[arg-type]
    for name, where in distributions_of(model).items():
        value = getattr(config, name) if hasattr(config, name) else getattr(plan, name)
        assert where._contains(where.to_internal_repr(value)), (name, value)
        for end in ends(where):
            settings_for(model, preset, {name: end})  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [name for name in model_names() if model_named(name).single_task])
def test_alone_is_a_setting_that_leaves_the_task_itself(model: str) -> None:
    for task, settings in model_named(model).single_task.items():
        assert task in TASKS
        alone, both = (settings_for(model, "default", given)[0] for given in (settings, {}))
        assert alone != both
        assert getattr(alone, "tasks", model_named(model).tasks) == (task,)
        assert not set(settings) & set(distributions_of(model)), "a trial would undo it"


def test_the_sequence_of_settings_follows_from_what_was_found() -> None:
    space = distributions_of("bm25")
    trials = [Trial(0, {"k1": 1.5, "b": 0.75}, 0.5, 1.0, {})]
    assert propose(space, trials, 1) == propose(space, trials, 1)
    assert propose(space, trials, 1) != propose(space, trials, 2)
    # Good values lie where b is small, and the estimator goes there; bad ones where it is large.
    rng = np.random.default_rng(0)
    tried = [
        Trial(n, {"k1": float(rng.uniform(0.2, 3)), "b": float(b)}, 1.0 - float(b), 1.0, {})
        for n, b in enumerate(rng.random(40))
    ]
    low = np.mean([propose(space, tried, number)["b"] for number in range(40, 60)])
    turned = [Trial(t.number, t.settings, t.settings["b"], 1.0, {}) for t in tried]
    high = np.mean([propose(space, turned, number)["b"] for number in range(40, 60)])
    assert low < 0.3
    assert high > 0.7
