"""Settings of one model, chosen on validation within a budget; broken off at any point, it goes on where it was.

A trial is a folder with a training run in it. What is tried next follows from the finished trials and the seed alone, so that a study
that was killed tries the same settings as one that was not.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from searec.data.dataset import Dataset
from searec.data.schema import Task
from searec.errors import RunError
from searec.experiments import experiment
from searec.experiments.search_spaces import Space, space_of
from searec.experiments.study_config import StudyPlan
from searec.files import write_json
from searec.pipeline.run import ARTIFACTS, WEIGHTS
from searec.training.train_config import seed_of

METRIC = "ndcg@5"
RECORD = "trial.json"
_FIRST_AT_RANDOM = 4
_SEED = 0

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Trial:
    """One try: its settings over the preset, the mean validation NDCG@5 (0..1) of the model's tasks, and how long it took.

    figures: by task. Settings that were tried before are not tried again: such a trial takes no time.
    """

    number: int
    settings: dict[str, Any]
    value: float
    seconds: float
    figures: dict[str, float]


@dataclass(frozen=True)
class Tuned:
    """The trials of one model, in order; none where nothing is searched."""

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
        """Of all trials."""
        return sum(trial.seconds for trial in self.trials)


def tune(
    model: str, data: Dataset, folder: Path, plan: StudyPlan, tasks: Sequence[Task], tell: Callable[[str], None]
) -> Tuned:
    """Try settings of a model until its budget is spent. What is finished in `folder` is not done again.

    Args:
        folder: of the model's trials.
        tasks: measured, of those the model learns.
        tell: given a line for each trial.

    Raises:
        RunError: a record in the folder is damaged.
        SearecError: as `experiment.train`.
        Interrupted: on Ctrl-C; the same call goes on.
    """
    fixed = dict(plan.fixed.get(model, {}))
    space = {name: where for name, where in space_of(model).items() if name not in fixed}
    if not space or not plan.trials:
        return Tuned(model)
    trials: list[Trial] = []
    while len(trials) < plan.trials and not _spent(trials, plan.minutes):
        number = len(trials)
        home = folder / f"{number:03d}"
        trial = _read(home / RECORD)
        if trial is None:
            settings = _preset(model, plan, space) if number == 0 else propose(space, trials, number)
            trial = _try(model, data, home, plan, tasks, number, settings, trials)
        trials.append(trial)
        told = "  ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in trial.settings.items()
        )
        tell(f"{model} trial {number + 1} of {plan.trials}: {METRIC} {trial.value:.4f}, {trial.seconds:.0f} s ({told})")
    return Tuned(model, tuple(trials))


def propose(space: Space, trials: Sequence[Trial], number: int) -> dict[str, Any]:
    """The settings that the tree-structured Parzen estimator tries after these trials; the same trials give the same settings."""
    sampler = optuna.samplers.TPESampler(n_startup_trials=_FIRST_AT_RANDOM, seed=seed_of(_SEED, number) % 2**32)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(
        [
            optuna.trial.create_trial(params=trial.settings, distributions=dict(space), value=trial.value)
            for trial in trials
        ]
    )
    return dict(study.ask(dict(space)).params)


def _preset(model: str, plan: StudyPlan, space: Space) -> dict[str, Any]:
    """What the preset says of the settings searched."""
    config, steps = experiment.settings_for(model, plan.preset, plan.fixed.get(model))
    return {name: getattr(config if hasattr(config, name) else steps, name) for name in space}


def _try(
    model: str,
    data: Dataset,
    home: Path,
    plan: StudyPlan,
    tasks: Sequence[Task],
    number: int,
    settings: dict[str, Any],
    trials: Sequence[Trial],
) -> Trial:
    known = next((trial for trial in trials if trial.settings == settings), None)
    if known is not None:
        trial = Trial(number, settings, known.value, 0.0, known.figures)
    else:
        started = time.perf_counter()
        given = {**plan.fixed.get(model, {}), **settings}
        run = experiment.train(
            model, data, home, preset=plan.preset, seed=_SEED, label=model, resume=home.is_dir(), **given
        )
        figures: dict[str, float] = {
            task: experiment.measured(run, task, "sampled", "val", max_requests=plan.tuning_requests or None).summary()[
                "metrics"
            ][METRIC]
            for task in run.model.train_tasks
            if task in tasks
        }
        trial = Trial(number, settings, float(np.mean(list(figures.values()))), time.perf_counter() - started, figures)
    write_json(home / RECORD, asdict(trial))
    for file in (
        home / WEIGHTS,
        *home.glob("scores-*"),
        *(home / ARTIFACTS).rglob("*"),
    ):  # a trial is known by its figures
        if file.is_file():
            file.unlink()
    return trial


def _spent(trials: Sequence[Trial], minutes: float) -> bool:
    return bool(minutes) and sum(trial.seconds for trial in trials) >= 60 * minutes


def _read(path: Path) -> Trial | None:
    """A finished trial, None if there is none.

    Raises:
        RunError: its record is damaged.
    """
    try:
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Trial(**found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            "a trial's record is damaged", where=path, got=error, remedy="remove its folder; it is tried again"
        ) from error
