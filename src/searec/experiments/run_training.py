"""Training of one run: dataset and settings in, a trained run folder out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from searec.artifacts import prepare
from searec.artifacts.base import Artifact
from searec.config import check_seed, configure, nearest
from searec.data.dataset import Dataset
from searec.data.global_split import split_time
from searec.data.split import Split
from searec.errors import RunError, SettingsError, StorageError
from searec.experiments.run_leakage import leak_record, training_leaks
from searec.models import model_named
from searec.models.base import Model, Preset
from searec.models.capabilities import LearnsFromTeacher, supports
from searec.pipeline.run import Run, read_run
from searec.pipeline.run_folder import ARTIFACTS, CONFIG, describe, split_config, write_run
from searec.training import checkpoint
from searec.training.environment import environment
from searec.training.processes import first_process
from searec.training.train_config import WITHOUT_EFFECT, TrainConfig

RUNS = Path("runs")


def settings_for(
    model: str, preset: Preset = "small", overrides: Mapping[str, Any] | None = None, *, seed: int = 0
) -> tuple[Any, TrainConfig | None]:
    """Return a model's Config and its training's (None for `fit`): the preset, then `overrides`.

    Args:
        model: a name of `models.model_names`.
        preset: "small" or "paper".
        overrides: settings of the model or of its training, by name.
        seed: of the training.

    Raises:
        SettingsError: an unknown model, preset or name (the nearest is named), or a bad value.
    """
    kind = model_named(model)
    if preset not in kind.presets:
        raise SettingsError(f"unknown preset {preset!r}", where=model, remedy=nearest(preset, list(kind.presets)))
    fields = kind.Config.__dataclass_fields__
    train_fields = TrainConfig.__dataclass_fields__.keys() - {"seed"} if kind.learns == "loss" else set()
    given = dict(overrides or {})
    for name in given:
        if name not in fields and name not in train_fields:
            remedy = nearest(name, [*fields, *sorted(train_fields)])
            raise SettingsError(f"unknown setting {name!r}", where=model, remedy=remedy)
    of_model = {name: value for name, value in given.items() if name in fields}
    config = configure(kind.Config, {**kind.presets[preset], **of_model}, where=model)
    if kind.learns == "fit":
        return config, None
    of_training = {name: value for name, value in given.items() if name in train_fields}
    return config, configure(TrainConfig, {**kind.train_presets[preset], **of_training, "seed": seed}, where=model)


def train(
    model: str,
    data: Dataset,
    out: Path | str | None = None,
    *,
    preset: Preset = "small",
    seed: int = 0,
    label: str | None = None,
    resume: bool = False,
    unseen: float = 0.0,
    split_at: float | str | None = None,
    start: Path | str | None = None,
    teacher: Path | str | None = None,
    **overrides: Any,
) -> Run:
    """Train a model on the training events of a dataset and write its run folder.

    The artifact that the model needs (user codes, say) is made first and copied to the folder; see `searec.artifacts`.

    Args:
        model: a name of `models.model_names`.
        data: as returned by `searec.load`.
        out: the run folder; runs/<label>-<seed> by default.
        preset: "small" for minutes on two cores, "paper" for the paper's setting.
        seed: of initial weights, order, negatives and dropout.
        label: the run's name in tables; the model's name by default. Runs that differ in seed alone share it.
        resume: continue from the folder's checkpoint; a finished run is opened as it is.
        unseen: share of users kept out of training, 0 to less than 1, to measure users who come later.
        split_at: train on the events before one time and measure after it: a quantile of all event times, an ISO 8601
            time, or microseconds since 1970 (`data.global_split.split_time`); leave-one-out by default.
        start: run folder of the same model whose weights replace the first phase.
        teacher: run folder of the model whose ranking is learned too.
        overrides: settings of the model or its training, by name.

    Raises:
        SettingsError: an unknown name or a bad value.
        RunError: the folder holds a run already and `resume` is not set, or its checkpoint is of another run; `start`
            or `teacher` is no finished run of this data and split, or does not fit.
        LeakError: an input of the model, or a count it has made, is newer than its cut-off; see `run_leakage`.
        StorageError: the folder cannot be made.
        Interrupted: on Ctrl-C, with a checkpoint written.
    """
    config, train_config = settings_for(model, preset, overrides, seed=check_seed(seed))
    label = label or model
    folder = Path(out) if out is not None else RUNS / f"{label}-{seed}"
    if not resume:
        _refuse_used(folder)
    split = Split(data, unseen=unseen, split_at=split_time(data, split_at))
    artifact = prepare(model_named(model), config, split, seed)
    learner = new_model(model, config, split, seed, artifact)
    sources = _sources(learner, split, start, teacher)
    about = describe(learner, data, split, label=label, preset=preset, seed=seed, train=train_config)
    about |= {name: _identity(run) for name, run in sources.items()}
    if (folder / CONFIG).is_file():
        return _finished(folder, data, about)
    leaks = training_leaks(split, learner, artifact)
    leaks.refuse()
    folder.mkdir(parents=True, exist_ok=True)
    if train_config is None:
        learner.fit(data, split)
    else:
        from searec.training.phases import run_phases

        models = {name: run.model for name, run in sources.items()}
        weights = models["start"].state() if "start" in models else None
        reports = run_phases(
            learner,
            split,
            folder,
            train_config,
            made_from=about,
            resume=resume,
            start=weights,
            teacher=models.get("teacher"),
        )
        if len(reports) > 1:
            about["phases"] = [report.as_json() for report in reports]
    learner.eval()
    about |= leak_record(split, learner, leaks)
    run = Run(folder, learner, data, about)
    if first_process():
        if artifact is not None:
            artifact.save(folder / ARTIFACTS)
        write_run(folder, learner, about, environment(), split=split)
        for file in (folder / checkpoint.FILE, *folder.glob(f"*/{checkpoint.FILE}")):
            file.unlink(missing_ok=True)
    return run


def new_model(model: str, config: Any, split: Split, seed: int, artifact: Artifact | None = None) -> Model:
    """Return an untrained model; its initial weights are drawn from `seed` alone.

    Args:
        model: a name of `models.model_names`.
        config: its settings.
        split: of the data it will learn from.
        seed: of the initial weights.
        artifact: what it needs before it learns; made here if not given.
    """
    kind = model_named(model)
    artifact = artifact or prepare(kind, config, split, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learner = kind(config, split.data.sizes)
        if artifact is not None:
            artifact.attach(learner, split)
    return learner


def _sources(model: Model, split: Split, start: Path | str | None, teacher: Path | str | None) -> dict[str, Run]:
    """Open the finished runs that a training starts from or learns from.

    Raises:
        RunError: one is not finished, or of other data, split or model.
        SettingsError: the model cannot use it.
    """
    folders = {name: folder for name, folder in (("start", start), ("teacher", teacher)) if folder is not None}
    usable = {"start": bool(model.phases), "teacher": supports(model, LearnsFromTeacher)}
    needed = {"start": "a model with later training phases", "teacher": "a model that learns another model's ranking"}
    runs = {}
    for name, folder in folders.items():
        if not usable[name]:
            raise SettingsError(f"{model.name} has no use for --{name}", expected=needed[name])
        run = read_run(folder, split.data)
        if run.config["split"] != split_config(split):
            got, expected = run.config["split"], split_config(split)
            raise RunError(f"the {name} was trained on another split", where=folder, got=got, expected=expected)
        if name == "start" and run.model.name != model.name:
            raise RunError("the start is another model", where=folder, got=run.model.name, expected=model.name)
        runs[name] = run
    return runs


def _identity(run: Run) -> dict[str, Any]:
    """Return what identifies a run that another one starts from or learns from."""
    return {"label": run.label, "seed": run.config["seed"], "weights": checkpoint.digest(run.model.state())}


def _refuse_used(folder: Path) -> None:
    place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not place.is_dir():
        raise StorageError(
            "the run folder cannot be made", where=folder, got=f"{place} is no folder", remedy="name another folder"
        )
    if (folder / CONFIG).is_file():
        remedy = "name another folder, or --resume to open it"
        raise RunError("the run folder holds a finished run", where=folder, remedy=remedy)
    if first_process() and folder.is_dir() and any(folder.iterdir()):
        remedy = "use --resume to continue it, or name another folder"
        raise RunError("the run folder is not empty", where=folder, remedy=remedy)


def _finished(folder: Path, data: Dataset, about: Mapping[str, Any]) -> Run:
    run = read_run(folder, data)
    if differing := [key for key in about if _with_effect(run.config.get(key)) != _with_effect(about[key])]:
        got = ", ".join(differing)
        raise RunError("the finished run has other settings", where=folder, got=got, remedy="name another folder")
    return run


def _with_effect(value: Any) -> Any:
    """Return a part of a run's config without the settings that do not change a result."""
    if isinstance(value, dict):
        return {name: _with_effect(inner) for name, inner in value.items() if name not in WITHOUT_EFFECT}
    return value
