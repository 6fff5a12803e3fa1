"""One experiment: dataset and settings in, a trained and measured run folder out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from searec.artifacts import prepare
from searec.artifacts.base import Artifact
from searec.config import configure, nearest
from searec.data.dataset import Dataset
from searec.data.schema import Part, Task
from searec.data.split import Split
from searec.errors import RunError, SettingsError
from searec.evaluation.compare import Comparison
from searec.evaluation.compare import compare as compare_evaluations
from searec.evaluation.protocol import evaluate as evaluate_model
from searec.evaluation.result import PROTOCOLS, Evaluation, Metrics, Protocol
from searec.experiments.recipes import Recipe
from searec.experiments.run_leakage import told, training_leaks
from searec.files import write_json
from searec.metrics import DEFAULT, applicable
from searec.models import model_named
from searec.models.base import Model, Preset
from searec.models.lcr_ser import LCRSER
from searec.pipeline.run import ARTIFACTS, CONFIG, Run, describe, read_run, split_config, write_run
from searec.training import checkpoint
from searec.training.checkpoint import digest
from searec.training.environment import environment
from searec.training.processes import first_process
from searec.training.train_config import WITHOUT_EFFECT, TrainSettings
from searec.training.training_log import FILE as LOG
from searec.training.training_log import read_rows

RUNS = Path("runs")


def settings_for(
    model: str, preset: Preset = "small", overrides: Mapping[str, Any] | None = None, *, seed: int = 0
) -> tuple[Any, TrainSettings | None]:
    """The settings of a model and of its training: the preset, then `overrides` by name.

    Raises:
        SettingsError: an unknown model, preset or name (the nearest is named), or a bad value.
    """
    kind = model_named(model)
    if preset not in kind.presets:
        raise SettingsError(f"unknown preset {preset!r}", where=model, remedy=nearest(preset, list(kind.presets)))
    own = list(kind.Config.__dataclass_fields__)
    steps = [name for name in TrainSettings.__dataclass_fields__ if name != "seed"] if kind.learns == "loss" else []
    given = dict(overrides or {})
    for name in given:
        if name not in own and name not in steps:
            raise SettingsError(f"unknown setting {name!r}", where=model, remedy=nearest(name, own + steps))
    config = configure(
        kind.Config,
        {**kind.presets[preset], **{name: value for name, value in given.items() if name in own}},
        where=model,
    )
    if kind.learns == "fit":
        return config, None
    values = {
        **kind.train_presets[preset],
        **{name: value for name, value in given.items() if name in steps},
        "seed": seed,
    }
    return config, configure(TrainSettings, values, where=model)


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
    start: Path | str | None = None,
    teacher: Path | str | None = None,
    **overrides: Any,
) -> Run:
    """Train a model on the training events of a dataset and write its run folder.

    What the model needs made beforehand (user codes, say) is made first and copied to the folder; see `searec.artifacts`.

    Args:
        model: a name of `models.model_names`.
        data: what `searec.load` gave.
        out: the run folder; runs/<label>-<seed> by default.
        preset: "small" for minutes on two cores, "paper" for the paper's setting.
        label: the run's name in tables; the model's name by default. Runs that differ in seed alone share it.
        resume: go on from the folder's checkpoint; a finished run is opened as it is.
        unseen: share of users to keep from training, for a look at users who come later.
        start: run folder of the same model to take the weights from, in place of its first phase.
        teacher: run folder of the model that a one-pass student learns from.
        overrides: settings of the model or its training, by name.

    Raises:
        SettingsError: an unknown name or a bad value.
        RunError: the folder holds a run already and `resume` is not set, or its checkpoint is of another run; `start` or
            `teacher` is no finished run of this data and split, or does not fit.
        LeakError: something that the model would read, or has counted, is newer than it may be; see `searec.experiments.run_leakage`.
        Interrupted: on Ctrl-C, with a checkpoint written.
    """
    config, plan = settings_for(model, preset, overrides, seed=seed)
    label = label or model
    folder = Path(out) if out is not None else RUNS / f"{label}-{seed}"
    if not resume:
        _refuse_used(folder)
    split = Split(data, unseen=unseen)
    made = prepare(model_named(model), config, split, seed)
    learner = new_model(model, config, split, seed, made)
    about = describe(learner, data, split, label=label, preset=preset, seed=seed, train=plan)
    others = {
        name: _other(name, path, learner, split)
        for name, path in (("start", start), ("teacher", teacher))
        if path is not None
    }
    about |= {
        name: {"label": run.label, "seed": run.config["seed"], "weights": digest(run.model.state())}
        for name, run in others.items()
    }
    if (folder / CONFIG).is_file():
        return _finished(folder, data, about)
    leaks = training_leaks(split, learner, made)
    leaks.refuse()
    folder.mkdir(parents=True, exist_ok=True)
    if plan is None:
        learner.fit(data, split)
    else:
        from searec.training.phases import teach

        phases = teach(
            learner,
            split,
            folder,
            plan,
            made_from=about,
            resume=resume,
            start=others["start"].model.state() if start is not None else None,
            teacher=others["teacher"].model if teacher is not None else None,
        )
        if len(phases) > 1:
            about |= {"phases": [phase.as_json() for phase in phases]}
    learner.eval()
    about |= told(split, learner, leaks)
    run = Run(folder, learner, data, about)
    if first_process():
        if made is not None:
            made.save(folder / ARTIFACTS)
        write_run(run, environment())
        for file in (folder / checkpoint.FILE, *folder.glob(f"*/{checkpoint.FILE}")):
            file.unlink(missing_ok=True)
    return run


def new_model(model: str, config: Any, split: Split, seed: int, made: Artifact | None = None) -> Model:
    """An untrained model; its initial weights are drawn from `seed` and nothing else.

    Args:
        made: what it needs made beforehand; made now if not given.
    """
    import torch

    kind = model_named(model)
    made = made or prepare(kind, config, split, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learner = kind(config, split.data.sizes)
        if made is not None:
            made.attach(learner, split)
    return learner


def evaluate(
    run: Run,
    data: Dataset | None = None,
    task: Task | None = None,
    protocol: Protocol = "sampled",
    part: Part = "test",
    *,
    metrics: Metrics | None = None,
    max_requests: int | None = None,
) -> Evaluation:
    """Measure a run on held-out events and keep the per-user scores in its folder.

    Args:
        run: what `train` or `read_run` gave.
        data: the dataset, if another object than the run's own.
        task: "recommend" or "search"; the model's first task by default.
        protocol: "sampled" (100 candidates) or "full" (the catalogue less what was seen).
        part: "test" or "val".
        metrics: "ndcg@20,recall@50" or metric objects, such as `[NDCG(k=20)]`; those of `metrics.DEFAULT` by default.
        max_requests: score only so many requests, drawn with a fixed seed.

    Raises:
        RunError: `data` is not what the run was trained on.
        SettingsError: the model does not support the task, or a metric is not defined for task and protocol.
    """
    if data is not None and data.fingerprint != run.data.fingerprint:
        raise RunError(
            "the run was trained on other data",
            where=run.folder,
            got=f"data {data.fingerprint}",
            expected=f"data {run.data.fingerprint}",
        )
    result = evaluate_model(
        run.model,
        run.split,
        task or run.model.train_tasks[0],
        protocol,
        part,
        metrics=metrics,
        label=run.label,
        max_requests=max_requests,
        settings={"preset": run.config["preset"], "seed": run.config["seed"], **run.config["settings"]},
        environment=environment(),
    )
    result.save(run.folder)
    return result


def open_run(folder: Path | str, data: Dataset) -> Run:
    """Open a run folder with the dataset it was trained on.

    Raises:
        RunError: no finished run, a damaged file, or other data than it was trained on.
    """
    return read_run(folder, data)


def compare(
    runs: Sequence[Run],
    out: Path | str | None = None,
    *,
    part: Part = "test",
    protocols: Sequence[Protocol] = PROTOCOLS,
    metrics: Metrics | None = None,
    max_requests: int | None = None,
    baseline: str | None = None,
) -> Comparison:
    """Compare runs on one dataset: means, intervals, paired tests, slices.

    What a run folder holds from an earlier `evaluate` is read, the rest is measured now.

    Args:
        runs: of one dataset; runs that share a label are seeds of one line.
        out: an .html file to write the report to; the same figures go to a .json beside it.
        part: "test" or "val".
        protocols: "sampled", "full" or both.
        metrics: "ndcg@20,recall@50" or metric objects; each table shows those defined for its task and protocol.
        max_requests: of the full protocol, for runs that were not measured before.
        baseline: the label that the others are tested against; the best one by default.

    Raises:
        RunError: no run, or runs of different data.
        DataError: two runs with no request in common.
    """
    if not runs:
        raise RunError("nothing to compare", got="no run")
    if len({run.data.fingerprint for run in runs}) > 1:
        raise RunError(
            "the runs were trained on different data",
            got=", ".join(f"{run.folder}: {run.data.fingerprint}" for run in runs),
        )
    found = [
        measured(run, task, protocol, part, metrics=metrics, max_requests=max_requests if protocol == "full" else None)
        for run in runs
        for task in run.model.train_tasks
        for protocol in protocols
    ]
    comparison = compare_evaluations(found, baseline=baseline)
    if out is not None:
        from searec.reports.comparison_page import RunPage, write_report

        out = Path(out)
        pages = [
            RunPage(_page_name(run, runs), run.config["settings"], found[0].environment, read_rows(run.folder / LOG))
            for run in runs
        ]
        write_report(comparison, pages, out)
        write_json(out.with_suffix(".json"), comparison.as_json())
    return comparison


def study(
    recipe: Recipe,
    data: Dataset,
    out: Path | str,
    *,
    only: Sequence[str] | None = None,
    metrics: Metrics | None = None,
) -> Comparison:
    """Train and measure every run of a recipe and write its report to `out`/report.html.

    What is finished in `out` is not done again, so that a study that was broken off goes on where it was.

    Args:
        only: the lines of these labels alone.
        metrics: as for `compare`.

    Raises:
        SettingsError: a label that the recipe does not have.
        RunError: a line starts from, or is taught by, one that is not finished.
        Interrupted: on Ctrl-C; the same call goes on.
    """
    runs = trained(recipe, data, out, only=only, metrics=metrics)
    report = Path(out) / "report.html"
    return compare(runs, report, part=recipe.part, protocols=recipe.protocols, metrics=metrics)


def trained(
    recipe: Recipe,
    data: Dataset,
    out: Path | str,
    *,
    only: Sequence[str] | None = None,
    metrics: Metrics | None = None,
) -> list[Run]:
    """The runs of a recipe, trained and measured, in its order; as `study`, without the report."""
    out = Path(out)
    runs = []
    for planned in (recipe if only is None else recipe.only(only)).runs:
        for seed in planned.seeds:
            folder = out / planned.folder(seed)
            others = {
                name: out / recipe.line(label).folder(seed)
                for name, label in (("start", planned.start), ("teacher", planned.teacher))
                if label
            }
            run = train(
                planned.model,
                data,
                folder,
                preset=planned.preset,
                seed=seed,
                label=planned.label,
                unseen=planned.unseen,
                resume=folder.is_dir(),
                **others,
                **planned.settings,
            )
            for task in run.model.train_tasks:
                for protocol in recipe.protocols:
                    measured(
                        run,
                        task,
                        protocol,
                        recipe.part,
                        metrics=metrics,
                        max_requests=planned.full_requests if protocol == "full" else None,
                    )
            runs.append(run)
    return runs


def measured(
    run: Run,
    task: Task,
    protocol: Protocol,
    part: Part,
    *,
    metrics: Metrics | None = None,
    max_requests: int | None = None,
) -> Evaluation:
    """Return the evaluation stored in the run folder, or a new one if it lacks a metric.

    Args:
        run: a run that supports the task.
        task: "recommend" or "search".
        protocol: "sampled" or "full".
        part: "test" or "val".
        metrics: "ndcg@20,recall@50" or metric objects; those not defined for task and protocol are left out.
        max_requests: of a new evaluation.

    Raises:
        SettingsError: none of the metrics is defined for task and protocol.
    """
    shown = applicable(metrics or DEFAULT, task, protocol)
    stored = Evaluation.find(run.folder, task, protocol, part, shown)
    return stored or evaluate(run, None, task, protocol, part, metrics=shown, max_requests=max_requests)


def _other(name: str, folder: Path | str, learner: Model, split: Split) -> Run:
    """The finished run that a training starts from or is taught by.

    Raises:
        RunError: it is none, or of other data, split or model.
        SettingsError: the model has no use for it.
    """
    if not isinstance(learner, LCRSER):
        raise SettingsError(f"{learner.name} has no use for --{name}", expected="lcr-ser")
    run = read_run(folder, split.data)
    if run.config["split"] != split_config(split):
        raise RunError(
            f"the {name} was trained on another split",
            where=folder,
            got=run.config["split"],
            expected=split_config(split),
        )
    if name == "start" and run.model.name != learner.name:
        raise RunError("the start is another model", where=folder, got=run.model.name, expected=learner.name)
    return run


def _refuse_used(folder: Path) -> None:
    if (folder / CONFIG).is_file():
        raise RunError(
            "the run folder holds a finished run", where=folder, remedy="name another folder, or --resume to open it"
        )
    if first_process() and folder.is_dir() and any(folder.iterdir()):
        raise RunError(
            "the run folder is not empty", where=folder, remedy="use --resume to go on with it, or name another folder"
        )


def _finished(folder: Path, data: Dataset, about: Mapping[str, Any]) -> Run:
    run = read_run(folder, data)
    if differing := [key for key in about if _with_effect(run.config.get(key)) != _with_effect(about[key])]:
        raise RunError(
            "the finished run has other settings", where=folder, got=", ".join(differing), remedy="name another folder"
        )
    return run


def _with_effect(value: Any) -> Any:
    """A part of a run's config without the settings that do not change a result."""
    if isinstance(value, dict):
        return {name: _with_effect(inner) for name, inner in value.items() if name not in WITHOUT_EFFECT}
    return value


def _page_name(run: Run, runs: Sequence[Run]) -> str:
    several = sum(other.label == run.label for other in runs) > 1
    return f"{run.label} (seed {run.config['seed']})" if several else run.label
