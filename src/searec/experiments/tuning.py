"""Settings of one model, chosen on validation within a budget; tuning that was stopped continues where it was.

A trial is a folder with a training run in it. What is tried next follows from the finished trials and the seed alone,
so that a study that was killed tries the same settings as one that was not.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from searec.data.counts import Counts
from searec.data.dataset import Dataset
from searec.data.schema import Task
from searec.errors import RunError, optional_package
from searec.evaluation.protocol import validation_score
from searec.experiments import run_training
from searec.experiments.study_config import StudyConfig
from searec.files import write_json
from searec.models import model_named
from searec.models.search_space import Choice
from searec.pipeline.run_folder import ARTIFACTS, WEIGHTS
from searec.training.train_config import seed_of

with optional_package("a study needs optuna", "study"):
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

RECORD = "trial.json"
_FIRST_AT_RANDOM = 4
_SEED = 0

Distributions = Mapping[str, BaseDistribution]

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Trial:
    """One trial. Settings that were tried before are not tried again: such a trial takes no time."""

    number: int  # from 0
    settings: dict[str, Any]  # over the preset
    value: float  # the study's judge on validation (0 to 1), the mean of the model's tasks
    seconds: float
    figures: dict[str, float]  # the judge by task


@dataclass(frozen=True)
class Tuned:
    """The trials of one model, in order; none if nothing was searched."""

    model: str
    trials: tuple[Trial, ...] = ()

    @property
    def best(self) -> Trial | None:
        """The trial with the highest value, the earliest of equals."""
        return max(self.trials, key=lambda trial: (trial.value, -trial.number), default=None)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings chosen."""
        return self.best.settings if self.best else {}

    @property
    def seconds(self) -> float:
        """The seconds of all trials."""
        return sum(trial.seconds for trial in self.trials)


def distributions_of(model: str) -> Distributions:
    """Return the model's search space as distributions of Optuna; empty for a model that declares none."""
    return {
        name: CategoricalDistribution(values.values)
        if isinstance(values, Choice)
        else FloatDistribution(values.low, values.high, log=values.log)
        for name, values in model_named(model).search_space.items()
    }


def tune(
    model: str,
    data: Dataset,
    folder: Path,
    config: StudyConfig,
    tasks: Sequence[Task],
    on_progress: Callable[[str], None],
) -> Tuned:
    """Try settings of a model until its budget is spent. What is finished in `folder` is not done again.

    Args:
        model: a name of `models.model_names`.
        data: the dataset.
        folder: of the model's trials.
        config: the budget, the preset and what is fixed.
        tasks: measured, of those the model learns.
        on_progress: called with a line after each trial.

    Raises:
        RunError: a record in the folder is damaged.
        SearecError: as `run_training.train`.
        Interrupted: on Ctrl-C; the same call continues.
    """
    fixed = config.fixed.get(model, {})
    space = {name: values for name, values in distributions_of(model).items() if name not in fixed}
    if not space or not config.trials:
        return Tuned(model)
    trials: list[Trial] = []
    while len(trials) < config.trials and not _is_spent(trials, config.minutes):
        number = len(trials)
        home = folder / f"{number:03d}"
        trial = _read(home / RECORD)
        if trial is None:
            settings = _preset(model, data, config, space) if number == 0 else propose(space, trials, number)
            trial = _try(model, data, home, config, tasks, settings, trials)
        trials.append(trial)
        values = "  ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in trial.settings.items()
        )
        figures = f"{config.judge} {trial.value:.4f}, {trial.seconds:.0f} s ({values})"
        on_progress(f"{model} trial {number + 1} of {config.trials}: {figures}")
    return Tuned(model, tuple(trials))


def propose(space: Distributions, trials: Sequence[Trial], number: int) -> dict[str, Any]:
    """Return the settings that the tree-structured Parzen estimator tries next; the same trials give the same settings.

    Args:
        space: where each setting is searched.
        trials: the finished ones.
        number: of the trial.
    """
    sampler = optuna.samplers.TPESampler(n_startup_trials=_FIRST_AT_RANDOM, seed=seed_of(_SEED, number) % 2**32)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(
        [
            optuna.trial.create_trial(params=trial.settings, distributions=dict(space), value=trial.value)
            for trial in trials
        ]
    )
    return dict(study.ask(dict(space)).params)


def _preset(model: str, data: Dataset, config: StudyConfig, space: Distributions) -> dict[str, Any]:
    """Return the preset's values of the settings searched."""
    of_model, of_training = run_training.settings_for(
        model, config.preset, config.fixed.get(model), counts=Counts.of(data)
    )
    return {name: getattr(of_model if hasattr(of_model, name) else of_training, name) for name in space}


def _try(
    model: str,
    data: Dataset,
    home: Path,
    config: StudyConfig,
    tasks: Sequence[Task],
    settings: dict[str, Any],
    trials: Sequence[Trial],
) -> Trial:
    """Train and measure one trial, or repeat the figures of an equal one, and write its record."""
    number = len(trials)
    equal = next((trial for trial in trials if trial.settings == settings), None)
    if equal is not None:
        trial = Trial(number, settings, equal.value, 0.0, equal.figures)
    else:
        started = time.perf_counter()
        given = {**config.fixed.get(model, {}), **settings}
        run = run_training.train(
            model,
            data,
            home,
            preset=config.preset,
            seed=_SEED,
            label=model,
            split_at=config.split_at,
            resume=home.is_dir(),
            **given,
        )
        requests = config.tuning_requests or sys.maxsize
        scored = validation_score(run.model, run.split, config.judge, requests=requests, seed=_SEED)
        figures: dict[str, float] = {
            task: scored[f"{config.judge}.{task}"] for task in run.model.train_tasks if task in tasks
        }
        trial = Trial(number, settings, float(np.mean(list(figures.values()))), time.perf_counter() - started, figures)
    write_json(home / RECORD, asdict(trial))
    # Only the figures of a trial are needed later.
    for file in (home / WEIGHTS, *home.glob("scores-*"), *(home / ARTIFACTS).rglob("*")):
        if file.is_file():
            file.unlink()
    return trial


def _is_spent(trials: Sequence[Trial], minutes: float) -> bool:
    return bool(minutes) and sum(trial.seconds for trial in trials) >= 60 * minutes


def _read(path: Path) -> Trial | None:
    """Return a finished trial, None if there is none.

    Raises:
        RunError: its record is damaged.
    """
    try:
        return Trial(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        remedy = "remove its folder; it is tried again"
        raise RunError("a trial's record is damaged", where=path, got=error, remedy=remedy) from error
