"""The whole table: each model tuned, trained with every seed, alone where it is a joint one, measured, compared."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from searec.config import as_dict
from searec.data.dataset import Dataset
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.errors import Interrupted, RunError, SearecError, StorageError
from searec.evaluation.compare import Comparison, compare
from searec.evaluation.result import PROTOCOLS, Evaluation
from searec.evaluation.transfer import Transfer, transfer
from searec.experiments import experiment
from searec.experiments.study_config import StudyPlan
from searec.experiments.tuning import Tuned, tune
from searec.files import write_json
from searec.models import model_named
from searec.pipeline.run import CONFIG
from searec.reports.comparison_page import RunPage, TuningPage, write_report
from searec.reports.transfer_page import write_transfer
from searec.training.training_log import FILE as LOG
from searec.training.training_log import read_rows

PLAN, REPORT, FIGURES = "study.json", "report.html", "report.json"
_TRIALS, _RUNS = "tuning", "runs"


@dataclass(frozen=True)
class Line:
    """One line of the table: what its runs, a seed each, learnt and how; and their test figures."""

    learnt: tuple[Task, ...]
    pages: tuple[RunPage, ...]
    found: tuple[Evaluation, ...]


@dataclass
class Studied:
    """What a study has found.

    lines: by label, a model's own and "<model>, <task> alone". tuned: by model. left_out: model -> why it has no line. failed: label ->
    the error that stopped it. comparison: of the models. transfers: by joint model, one task alone against both.
    """

    lines: dict[str, Line] = field(default_factory=dict)
    tuned: dict[str, Tuned] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, SearecError] = field(default_factory=dict)
    comparison: Comparison | None = None
    transfers: dict[str, Transfer] = field(default_factory=dict)


def study(
    data: Dataset, out: Path | str, plan: StudyPlan, *, tell: Callable[[str], None] = lambda line: None
) -> Studied:
    """Make the whole table and write `out`/report.html and report.json, with a page on each joint model beside them.

    What is finished in `out` is not done again: a study that was broken off, killed even, goes on where it was and gives the same
    table. Processes that share `out` and have different models share the work. A model that fails is left out and named.

    Args:
        tell: given a line for each piece of work that is done.

    Raises:
        RunError: `out` holds a study of other data or settings; or no model could be measured.
        StorageError: the disk is full.
        Interrupted: on Ctrl-C; the same call goes on.
    """
    out = Path(out)
    _refuse_other(out, data, plan)
    split = Split(data)
    held = tuple(task for task in TASKS if len(split.held_out(task, "val")))
    found = Studied()
    for model in plan.models:
        own = _learns(model, plan)
        tasks = tuple(task for task in own if task in held)
        if not tasks:
            found.left_out[model] = f"nobody has enough events of {' or '.join(own)} to be held out"
            continue
        narrowed = plan if tasks == own else _narrowed(plan, model, tasks)
        with _failing(found, model, tell):
            found.tuned[model] = tune(model, data, out / _TRIALS / model, narrowed, tasks, tell)
            settings = {**narrowed.fixed.get(model, {}), **found.tuned[model].settings}
            found.lines[model] = _line(model, model, settings, data, out, plan, tasks, tell)
        for task in _alone(model, tasks, plan) if model in found.lines else ():
            label = alone_label(model, task)
            with _failing(found, label, tell):
                found.lines[label] = _line(
                    label, model, {**settings, **model_named(model).single_task[task]}, data, out, plan, (task,), tell
                )
    _write(found, out, split, plan)
    return found


def alone_label(model: str, task: Task) -> str:
    """The label of a joint model that does one task alone."""
    return f"{model}, {task} alone"


@contextlib.contextmanager
def _failing(found: Studied, label: str, tell: Callable[[str], None]) -> Iterator[None]:
    """A known error in the block is that line's, and the study goes on; a full disk or Ctrl-C is the study's."""
    try:
        yield
    except (Interrupted, StorageError):
        raise
    except SearecError as error:
        found.failed[label] = error
        tell(f"{label} failed: {error}")


def _learns(model: str, plan: StudyPlan) -> tuple[Task, ...]:
    """The tasks a model learns under the plan's settings."""
    config, _ = experiment.settings_for(model, plan.preset, plan.fixed.get(model))
    tasks: tuple[Task, ...] = getattr(config, "tasks", model_named(model).tasks)
    return tasks


def _narrowed(plan: StudyPlan, model: str, tasks: tuple[Task, ...]) -> StudyPlan:
    """The plan for data that has one task only, where the model's settings can say so."""
    if "tasks" not in model_named(model).Config.__dataclass_fields__:
        return plan
    return replace(plan, fixed={**plan.fixed, model: {**plan.fixed.get(model, {}), "tasks": list(tasks)}})


def _alone(model: str, tasks: Sequence[Task], plan: StudyPlan) -> tuple[Task, ...]:
    """The tasks that a joint model also does alone; one that learns two has nothing to show where there is one."""
    known = model_named(model).single_task
    return tuple(task for task in known if task in tasks) if plan.alone and len(tasks) >= len(known) else ()


def _line(
    label: str,
    model: str,
    settings: Mapping[str, Any],
    data: Dataset,
    out: Path,
    plan: StudyPlan,
    tasks: Sequence[Task],
    tell: Callable[[str], None],
) -> Line:
    """Train and measure a line with every seed (what draws nothing at random needs one); what is there already is opened."""
    seeds = plan.seeds if model_named(model).learns == "loss" else 1
    pages: list[RunPage] = []
    found: list[Evaluation] = []
    for seed in range(seeds):
        folder = out / _RUNS / f"{label}-{seed}"
        done = (folder / CONFIG).is_file()
        run = experiment.train(
            model, data, folder, preset=plan.preset, seed=seed, label=label, resume=folder.is_dir(), **settings
        )
        for task in run.model.train_tasks:
            for protocol in PROTOCOLS if task in tasks else ():
                most = plan.full_requests if protocol == "full" else 0
                found.append(
                    experiment.measured(run, task, protocol, "test", metrics=plan.metrics, max_requests=most or None)
                )
        name = label if seeds == 1 else f"{label} (seed {seed})"
        pages.append(RunPage(name, run.config["settings"], found[-1].environment, read_rows(run.folder / LOG)))
        tell(f"{label}, seed {seed}: {'there already' if done else 'trained and measured'}")
    return Line(run.model.train_tasks, tuple(pages), tuple(found))


def _write(found: Studied, out: Path, split: Split, plan: StudyPlan) -> None:
    """Compare what there is, and write the pages."""
    lines = [found.lines[model] for model in plan.models if model in found.lines]
    missing = found.left_out | {label: str(error) for label, error in found.failed.items()}
    if not lines:
        raise RunError(
            "no model of the study could be measured",
            where=out,
            got=" | ".join(f"{label}: {why}" for label, why in missing.items()),
        )
    for model in plan.models:
        alone = {
            task: found.lines[alone_label(model, task)]
            for task in model_named(model).single_task
            if alone_label(model, task) in found.lines
        }
        if model in found.lines and alone:
            found.transfers[model] = _transfer(split, found.lines[model], alone, model_named(model).single_task_note)
            write_transfer(found.transfers[model], out / _page(model))
    found.comparison = compare([one for line in lines for one in line.found])
    tuned = [
        TuningPage(model, [trial.value for trial in one.trials], one.settings, one.seconds)
        for model, one in found.tuned.items()
        if model in found.lines
    ]
    write_report(
        found.comparison,
        [page for line in lines for page in line.pages],
        out / REPORT,
        title="searec study",
        links=[(f"{model}, each task alone and together", _page(model)) for model in found.transfers],
        tuning=tuned,
        notes=[f"{label} is missing: {why}" for label, why in missing.items()],
    )
    figures = found.comparison.as_json() | {
        "transfer": {model: one.as_json() for model, one in found.transfers.items()}
    }
    chosen = {
        model: {"settings": one.settings, "trials": len(one.trials), "seconds": one.seconds}
        for model, one in found.tuned.items()
    }
    write_json(out / FIGURES, figures | {"tuning": chosen, "missing": missing})


def _page(model: str) -> str:
    return f"transfer-{model}.html"


def _transfer(split: Split, both: Line, alone: Mapping[Task, Line], without: str) -> Transfer:
    learnt = {
        task: (len(split.train(task, line.learnt)), len(split.train(task, both.learnt))) for task, line in alone.items()
    }
    return transfer(
        split, both.found, {task: line.found for task, line in alone.items()}, learnt=learnt, without=without
    )


def _refuse_other(out: Path, data: Dataset, plan: StudyPlan) -> None:
    """Write down what the study is of, or refuse a folder of another. Processes may take different models of one study."""
    about = {"data": data.fingerprint, **as_dict(plan)}
    del about["models"], about["metrics"]  # neither changes what is trained
    path = out / PLAN
    if not path.is_file():
        if out.is_dir() and any(
            not path.name.startswith(".") for path in out.iterdir()
        ):  # another process may be writing the plan
            raise RunError(
                "the folder holds something else than a study", where=out, expected=f"a new folder, or one with {PLAN}"
            )
        write_json(path, about)
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        differing = [name for name in about if known.get(name) != about[name]]
    except (OSError, ValueError, AttributeError) as error:
        raise RunError("file is damaged", where=path, got=error, remedy="name another folder for the study") from error
    if differing:
        got, expected = (", ".join(f"{name} {what.get(name)}" for name in differing) for what in (about, known))
        raise RunError(
            "the folder holds a study of other data or settings",
            where=out,
            got=got,
            expected=expected,
            remedy="name another folder",
        )
