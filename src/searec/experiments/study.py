"""The whole table: each model tuned, trained with every seed, alone if it is a joint one, measured, compared."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from searec.config import as_dict
from searec.data.candidates import users_left_out
from searec.data.dataset import Dataset
from searec.data.global_split import split_time
from searec.data.schema import TASKS, Task
from searec.data.split import PARTS, Split
from searec.errors import Interrupted, RunError, SearecError, StorageError
from searec.evaluation.compare import Comparison, compare
from searec.evaluation.result import PROTOCOLS, Evaluation
from searec.evaluation.transfer import Transfer, transfer
from searec.experiments import run_comparison, run_training
from searec.experiments.recipe import RecipeLine
from searec.experiments.study_config import StudyConfig
from searec.experiments.tuning import Tuned, tune
from searec.files import write_json
from searec.models import model_named
from searec.pipeline.run_folder import CONFIG
from searec.reports.comparison_page import RunPage, TuningPage, write_report
from searec.reports.transfer_page import write_transfer
from searec.training.training_log import FILE as LOG
from searec.training.training_log import read_rows

RECORD, REPORT, FIGURES = "study.json", "report.html", "report.json"
_TRIALS, _RUNS = "tuning", "runs"


@dataclass(frozen=True)
class StudyLine:
    """One line of the table: the tasks that its runs learned, a page for each run, and their test evaluations."""

    tasks: tuple[Task, ...]
    pages: tuple[RunPage, ...]
    evaluations: tuple[Evaluation, ...]


@dataclass
class StudyResult:
    """The result of a study."""

    lines: dict[str, StudyLine] = field(default_factory=dict)  # by label: the model, or "<model>, <task> alone"
    tuned: dict[str, Tuned] = field(default_factory=dict)  # by model
    left_out: dict[str, str] = field(default_factory=dict)  # model -> why it has no line
    failed: dict[str, SearecError] = field(default_factory=dict)  # label -> the error that stopped it
    comparison: Comparison | None = None
    transfers: dict[str, Transfer] = field(default_factory=dict)  # by joint model, one task alone against both


def study(
    data: Dataset,
    out: Path | str,
    config: StudyConfig,
    *,
    on_progress: Callable[[str], None] = lambda line: None,
) -> StudyResult:
    """Make the whole table and write `out`/report.html and report.json, with a page for each joint model.

    What is finished in `out` is not done again: a study that was stopped, even killed, continues and gives the same
    table. Processes that share `out` and have different models share the work. A model that fails is left out and
    named.

    Args:
        data: the dataset.
        out: folder of the trials, the runs and the report.
        config: models, seeds and budget.
        on_progress: called with a line after each piece of work.

    Raises:
        SettingsError: a setting that a model does not have, or a bad value.
        DataError: nothing to train or to test on at the split time.
        RunError: `out` holds a study of other data or settings; or no model could be measured.
        StorageError: the disk is full.
        Interrupted: on Ctrl-C; the same call continues.
    """
    out = Path(out)
    for model in config.models:  # a wrong setting is refused before hours of work
        run_training.settings_for(model, config.preset, config.fixed.get(model))
    split = Split(data, split_at=split_time(data, config.split_at))
    config = replace(config, split_at=split.split_at)
    _refuse_other(out, data, config)
    result = StudyResult()
    for task in TASKS:
        for user in users_left_out(split, task, "test"):
            on_progress(f"user {user!r} has clicked nearly every item and is left out of the sampled protocol ({task})")
    for model in config.models:
        with _failing(result, model, on_progress):
            _study_model(model, data, out, config, split, result, on_progress)
    _write(result, out, split, config)
    return result


def alone_label(model: str, task: Task) -> str:
    """Return the label of a joint model that does one task alone.

    Args:
        model: its name.
        task: the task.
    """
    return f"{model}, {task} alone"


def _study_model(
    model: str,
    data: Dataset,
    out: Path,
    config: StudyConfig,
    split: Split,
    result: StudyResult,
    on_progress: Callable[[str], None],
) -> None:
    """Tune, train and measure one model, and the same with one task alone, into `result`."""
    kind = model_named(model)
    given = config.fixed.get(model, {})
    learned: tuple[Task, ...] = getattr(run_training.settings_for(model, config.preset, given)[0], "tasks", kind.tasks)
    tasks = tuple(task for task in learned if all(len(split.held_out(task, part)) for part in PARTS))
    if not tasks:
        result.left_out[model] = f"there are too few events of {' or '.join(learned)} to validate and to test on"
        return
    if tasks != learned and "tasks" in kind.Config.__dataclass_fields__:
        given = {**given, "tasks": list(tasks)}
    narrowed = replace(config, fixed={**config.fixed, model: given})
    result.tuned[model] = tune(model, data, out / _TRIALS / model, narrowed, tasks, on_progress)
    settings = {**given, **result.tuned[model].settings}
    result.lines[model] = _line(model, model, settings, data, out, config, tasks, on_progress)
    # A model that can learn two tasks alone has nothing to compare where there is one.
    for task in kind.single_task if config.alone and len(tasks) >= len(kind.single_task) else ():
        if task in tasks:
            label, single = alone_label(model, task), {**settings, **kind.single_task[task]}
            with _failing(result, label, on_progress):
                result.lines[label] = _line(label, model, single, data, out, config, (task,), on_progress)


@contextlib.contextmanager
def _failing(result: StudyResult, label: str, on_progress: Callable[[str], None]) -> Iterator[None]:
    """Record a known error in the block as that line's; a full disk and Ctrl-C stop the study."""
    try:
        yield
    except (Interrupted, StorageError):
        raise
    except SearecError as error:
        result.failed[label] = error
        on_progress(f"{label} failed: {error}")


def _line(
    label: str,
    model: str,
    settings: Mapping[str, Any],
    data: Dataset,
    out: Path,
    config: StudyConfig,
    tasks: Sequence[Task],
    on_progress: Callable[[str], None],
) -> StudyLine:
    """Train and measure a line with every seed; a model that draws nothing at random needs one."""
    seeds = tuple(range(config.seeds if model_named(model).learns == "loss" else 1))
    line = RecipeLine(label, model, settings, config.preset, seeds, split_at=config.split_at)
    pages: list[RunPage] = []
    evaluations: list[Evaluation] = []
    for seed in seeds:
        is_done = (out / _RUNS / line.folder(seed) / CONFIG).is_file()
        run = line.train(data, out / _RUNS, seed)
        for task in run.model.train_tasks:
            for protocol in PROTOCOLS if task in tasks else ():
                limit = (config.full_requests or None) if protocol == "full" else None
                evaluations.append(
                    run_comparison.evaluation_of(
                        run, task, protocol, "test", metrics=config.metrics, max_requests=limit
                    )
                )
        name = label if len(seeds) == 1 else f"{label} (seed {seed})"
        pages.append(RunPage(name, run.config["settings"], evaluations[-1].environment, read_rows(run.folder / LOG)))
        on_progress(f"{label}, seed {seed}: {'there already' if is_done else 'trained and measured'}")
    return StudyLine(run.model.train_tasks, tuple(pages), tuple(evaluations))


def _write(result: StudyResult, out: Path, split: Split, config: StudyConfig) -> None:
    """Compare the lines, and write the pages."""
    lines = [result.lines[model] for model in config.models if model in result.lines]
    missing = result.left_out | {label: str(error) for label, error in result.failed.items()}
    if not lines:
        got = " | ".join(f"{label}: {why}" for label, why in missing.items())
        raise RunError("no model of the study could be measured", where=out, got=got)
    for model in config.models:
        labels = {task: alone_label(model, task) for task in model_named(model).single_task}
        alone = {task: result.lines[label] for task, label in labels.items() if label in result.lines}
        if model in result.lines and alone:
            result.transfers[model] = _transfer(split, result.lines[model], alone, model)
            write_transfer(result.transfers[model], out / _page(model))
    result.comparison = compare([evaluation for line in lines for evaluation in line.evaluations])
    tuned = {model: tuned for model, tuned in result.tuned.items() if model in result.lines}
    write_report(
        result.comparison,
        [page for line in lines for page in line.pages],
        out / REPORT,
        title="searec study",
        links=[(f"{model}, each task alone and together", _page(model)) for model in result.transfers],
        judge=config.judge,
        tuning=[
            TuningPage(model, [trial.value for trial in one.trials], one.settings, one.seconds)
            for model, one in tuned.items()
        ],
        notes=[*run_comparison.split_notes(split), *(f"{label} is missing: {why}" for label, why in missing.items())],
    )
    transfers = {model: one.as_json() for model, one in result.transfers.items()}
    chosen = {
        model: {"settings": one.settings, "trials": len(one.trials), "seconds": one.seconds}
        for model, one in result.tuned.items()
    }
    figures = {"transfer": transfers, "tuning": chosen, "missing": missing}
    write_json(out / FIGURES, result.comparison.as_json() | figures)


def _page(model: str) -> str:
    return f"transfer-{model}.html"


def _transfer(split: Split, both: StudyLine, alone: Mapping[Task, StudyLine], model: str) -> Transfer:
    """Compare one task alone with both, from how many events each learned."""
    learned = {
        task: (len(split.train(task, line.tasks)), len(split.train(task, both.tasks))) for task, line in alone.items()
    }
    singles = {task: line.evaluations for task, line in alone.items()}
    return transfer(split, both.evaluations, singles, learnt=learned, without=model_named(model).single_task_note)


def _refuse_other(out: Path, data: Dataset, config: StudyConfig) -> None:
    """Record what the study is of, or refuse a folder of another. Processes may do different models of one study."""
    about = {"data": data.fingerprint, **as_dict(config)}
    del about["models"], about["metrics"]  # neither changes a run that is there
    path = out / RECORD
    if not path.is_file():
        # Another process may be writing the record, into a file whose name starts with a dot.
        if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
            expected = f"a new folder, or one with {RECORD}"
            raise RunError("the folder holds something else than a study", where=out, expected=expected)
        write_json(path, about)
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        differing = [name for name in about if known.get(name) != about[name]]
    except (OSError, ValueError, AttributeError) as error:
        raise RunError("file is damaged", where=path, got=error, remedy="name another folder for the study") from error
    if differing:
        got, expected = (", ".join(f"{name} {what.get(name)}" for name in differing) for what in (about, known))
        message = "the folder holds a study of other data or settings"
        raise RunError(message, where=out, got=got, expected=expected, remedy="name another folder")
