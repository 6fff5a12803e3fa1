"""Training of one run: dataset and settings in, a trained run folder out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from searec.artifacts import prepare
from searec.artifacts.base import Artifact
from searec.config import check_seed, configure, nearest
from searec.data.counts import Counts
from searec.data.dataset import Dataset
from searec.data.global_split import iso, split_time
from searec.data.split import Split
from searec.errors import LeakError, RunError, SettingsError, StorageError
from searec.experiments.continuing import (
    TRAINING,
    VALIDATED,
    Start,
    budgets_of,
    continued_state,
    recorded,
    twin_record,
)
from searec.experiments.run_leakage import leak_record, training_leaks
from searec.files import replacing
from searec.models import form_of, model_named
from searec.models.base import Model, Preset
from searec.models.capabilities import LearnsFromTeacher, supports
from searec.pipeline.run import Run, read_run
from searec.pipeline.run_folder import ARTIFACTS, CONFIG, STARTED, describe, read_config, split_config, write_run
from searec.training import checkpoint
from searec.training.budget import Update
from searec.training.environment import environment
from searec.training.processes import first_process
from searec.training.train_config import WITHOUT_EFFECT, TrainConfig

RUNS = Path("runs")


def settings_for(
    model: str,
    preset: Preset = "default",
    overrides: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    counts: Counts | None = None,
) -> tuple[Any, TrainConfig | None]:
    """Return a model's Config and its training's (None for `fit`): the preset, then `overrides`.

    Args:
        model: a name of `models.model_names`.
        preset: "default" or "paper".
        overrides: settings of the model or of its training, by name.
        seed: of the training.
        counts: of the dataset, by which the default preset chooses sizes and budgets; None leaves them as declared.

    Raises:
        SettingsError: an unknown model, preset or name (the nearest is named), or a bad value.
    """
    model = form_of(model, preset)
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
    sized = kind.sized(counts) if counts is not None and preset == "default" else ({}, {})
    config = configure(kind.Config, {**kind.presets[preset], **sized[0], **of_model}, where=model)
    if kind.learns == "fit":
        return config, None
    of_training = {name: value for name, value in given.items() if name in train_fields}
    return config, configure(
        TrainConfig, {**kind.train_presets[preset], **sized[1], **of_training, "seed": seed}, where=model
    )


def train(
    model: str,
    data: Dataset,
    out: Path | str | None = None,
    *,
    preset: Preset = "default",
    seed: int = 0,
    label: str | None = None,
    resume: bool = False,
    unseen: float = 0.0,
    split_at: float | str | None = None,
    joint: bool = False,
    start: Path | str | None = None,
    teacher: Path | str | None = None,
    final: bool = False,
    twin: Path | str | None = None,
    **overrides: Any,
) -> Run:
    """Train a model on the training events of a dataset and write its run folder.

    The artifact that the model needs (user codes, say) is made first and copied to the folder; see `searec.artifacts`.

    Args:
        model: a name of `models.model_names`.
        data: as returned by `searec.load`.
        out: the run folder; runs/<label>-<seed> by default.
        preset: "default" for minutes on two cores, "paper" for the paper's setting.
        seed: of initial weights, order, negatives and dropout.
        label: the run's name in tables; the model's name by default. Runs that differ in seed alone share it.
        resume: continue from the folder's checkpoint; a finished run is opened as it is.
        unseen: share of users kept out of training, 0 to less than 1, to measure users who come later.
        split_at: train on the events before one time and measure after it: a quantile of all event times, an ISO 8601
            time, or microseconds since 1970 (`data.global_split.split_time`); leave-one-out by default.
        joint: what either task holds out ends what is learned from, also for a model of one task (`Split.joint`).
        start: run folder of the same model, or of one that it is built on, whose weights training begins with. On the
            data of that run they replace the first phase of a model with several; on data that has grown, new users,
            items and the like get rows, and the model is the same.
        teacher: run folder of the model whose ranking is learned too.
        final: learn from all events and hold nothing out, for a run that is served. A validated twin chooses the number
            of steps, and its figures are kept in config.json.
        twin: run folder of that validated run; by default it is trained first, in the folder `validated` of the run.
        overrides: settings of the model or its training, by name.

    Raises:
        SettingsError: an unknown name or a bad value.
        RunError: the folder holds a run already and `resume` is not set, or its checkpoint is of another run; `start`
            or `teacher` is no finished run of this data and split, or does not fit.
        LeakError: an input of the model, or a count it has made, is newer than its cut-off; see `run_leakage`.
        StorageError: the folder cannot be made.
        Interrupted: on Ctrl-C, with a checkpoint written.
    """
    model = form_of(model, preset)
    given = dict(overrides)
    if start is not None:
        given = {**_sizes_of(start, data, model), **given}
    config, train_config = settings_for(model, preset, given, seed=check_seed(seed), counts=Counts.of(data))
    label = label or model
    folder = Path(out) if out is not None else RUNS / f"{label}-{seed}"
    if not resume:
        refuse_used(folder)
    plan = Plan(model, config, train_config, data, folder, preset, seed, label, resume, teacher)
    if not final:
        if twin is not None:
            raise SettingsError("a twin is of a final run", got=f"--twin {twin}", remedy="add --final")
        started = Start.find(start, data)
        read = None if started is None else started.read.on(data)[0]
        split = Split(data, unseen=unseen, split_at=split_time(data, split_at), joint=joint, read_before=read)
        return execute(plan, split, start=start, continued=started)
    if start is not None:
        raise SettingsError(
            "a final run takes its steps from a validated run, not its weights from another",
            got=f"--start {start}",
            remedy="'searec update RUN DATA' continues a final run on new data",
        )
    if twin is None:
        validated = train(
            model,
            data,
            folder / VALIDATED,
            preset=preset,
            seed=seed,
            label=label,
            resume=resume,
            unseen=unseen,
            split_at=split_at,
            joint=joint,
            teacher=teacher,
            **overrides,
        )
    else:
        validated = read_run(twin, data)
        requested = Split(data, unseen=unseen, split_at=split_time(data, split_at), joint=joint)
        if (unseen or joint or split_at is not None) and validated.config["split"] != split_config(requested):
            raise RunError(
                "the twin was validated on another split",
                where=validated.folder,
                got=validated.config["split"],
                expected=split_config(requested),
                remedy="leave out --split-at, --joint and --unseen, which only the twin reads, or name another twin",
            )
    return execute(plan, Split(data, final=True), twin=validated)


@dataclass(frozen=True)
class Plan:
    """What a run is trained with, whatever is held out; as the arguments of `train`."""

    model: str
    config: Any
    train_config: TrainConfig | None
    data: Dataset
    folder: Path
    preset: Preset
    seed: int
    label: str
    resume: bool = False
    teacher: Path | str | None = None


def _sizes_of(start: Path | str, data: Dataset, model: str) -> dict[str, Any]:
    """Return the settings of a run that followed from the counts of its data; another run's weights need the same."""
    config = read_config(Path(start))
    of_model, _ = model_named(model).sized(Counts.of(data))
    known = config["settings"]["model"] if config["model"] == model else {}
    return {name: known[name] for name in of_model if name in known}


def _refuse_later(started: Start, split: Split) -> None:
    """Raise if weights have learned from events at or after the time of a global split."""
    newest = int(started.read.on(split.data)[1].max())
    if split.split_at is not None and newest > split.split_at:
        raise LeakError(
            "the run has learned from events after the split time",
            where=started.folder,
            got=f"events before {iso(newest)}",
            expected=f"events before {iso(split.split_at)}",
            remedy="choose a later split time, or train anew",
        )


def execute(
    plan: Plan,
    split: Split,
    *,
    start: Path | str | None = None,
    continued: Start | None = None,
    twin: Run | None = None,
    update: Update | None = None,
    twin_entry: Mapping[str, Any] | None = None,
) -> Run:
    """Train a run and write its folder.

    Args:
        plan: its settings.
        split: of the data.
        start: run folder of the weights to begin with.
        continued: the same run, if its data has grown since.
        twin: the validated run of a final one.
        update: learn from what is new, for a few passes.
        twin_entry: what the config of the run that is updated says of its validated twin.

    Raises:
        SearecError: as `train`.
    """
    data, folder, train_config = plan.data, plan.folder, plan.train_config
    if continued is not None and train_config is not None:
        _refuse_later(continued, split)
        if continued.model.name != plan.model:
            raise RunError(
                "the start is another model", where=continued.folder, got=continued.model.name, expected=plan.model
            )
    grown = None if continued is None else continued.on(split)
    extended = None if grown is None else grown.extended_artifact()
    artifact = extended or prepare(model_named(plan.model), plan.config, split, plan.seed)
    learner = new_model(plan.model, plan.config, split, plan.seed, artifact)
    sources = _sources(learner, split, None if continued else start, plan.teacher)
    about = describe(
        learner, data, split, label=plan.label, preset=plan.preset, seed=plan.seed, train=plan.train_config
    )
    about |= {name: _identity(run) for name, run in sources.items()}
    about |= {} if continued is None else {"start": continued.identity}
    about |= {} if update is None else update.record()
    entry = twin_entry if twin is None else twin_record(twin, about)
    about |= {} if entry is None else {"twin": dict(entry)}
    if (folder / CONFIG).is_file():
        return _finished(folder, data, about)
    leaks = training_leaks(split, learner, artifact)
    leaks.refuse()
    folder.mkdir(parents=True, exist_ok=True)
    if train_config is None:
        learner.fit(data, split)
    else:
        from searec.training.phases import run_phases

        if continued is not None and grown is not None:
            learner.load_state(continued_state(learner, grown, artifact))
        models = {name: run.model for name, run in sources.items()}
        replaces_first = "start" in models and bool(learner.phases)
        if "start" in models and not replaces_first:
            learner.load_state(models["start"].state())
        reports = run_phases(
            learner,
            split,
            folder,
            train_config,
            made_from=about,
            resume=plan.resume,
            start=models["start"].state() if replaces_first else None,
            teacher=models.get("teacher"),
            budgets=None if twin is None else budgets_of(twin),
            update=update,
        )
        about[TRAINING] = recorded([report.budget() for report in reports])
        if len(reports) > 1:
            about["phases"] = [report.as_json() for report in reports]
    learner.eval()
    about |= leak_record(split, learner, leaks)
    run = Run(folder, learner, data, about)
    if first_process():
        if artifact is not None:
            artifact.save(folder / ARTIFACTS)
        if split.read_before is not None and continued is not None:
            with replacing(folder / STARTED) as beside:
                beside.mkdir()
                continued.read.save(beside)
        write_run(folder, learner, about, environment(), split=split)
        for file in (
            folder / checkpoint.FILE,
            *folder.glob(f"*/{checkpoint.FILE}"),
            *folder.glob(f"*/*/{checkpoint.FILE}"),
        ):
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
        if learner.learns == "loss":
            learner.read_items(split.data)
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
    usable = {"start": model.learns == "loss", "teacher": supports(model, LearnsFromTeacher)}
    needed = {"start": "a model that is trained by steps", "teacher": "a model that learns another model's ranking"}
    runs = {}
    for name, folder in folders.items():
        if not usable[name]:
            raise SettingsError(f"{model.name} has no use for --{name}", expected=needed[name])
        run = read_run(folder, split.data)
        if run.config["split"] != split_config(split) and not split.final:
            got, expected = run.config["split"], split_config(split)
            raise RunError(f"the {name} was trained on another split", where=folder, got=got, expected=expected)
        if name == "start" and type(run.model) not in type(model).__mro__:
            usable_models = f"{model.name}, or a model that it is built on"
            raise RunError("the start is another model", where=folder, got=run.model.name, expected=usable_models)
        runs[name] = run
    return runs


def _identity(run: Run) -> dict[str, Any]:
    """Return what identifies a run that another one starts from or learns from."""
    return {"label": run.label, "seed": run.config["seed"], "weights": checkpoint.digest(run.model.state())}


def refuse_used(folder: Path) -> None:
    """Refuse a folder that holds a run or anything else.

    Raises:
        RunError: it does.
    """
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
