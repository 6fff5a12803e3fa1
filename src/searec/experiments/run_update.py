"""Update of a run: it is opened on data that has grown, learns for a few steps, and becomes a new run."""

from pathlib import Path
from typing import Any

from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.errors import RunError, SettingsError
from searec.experiments import run_training
from searec.experiments.continuing import Start
from searec.experiments.run_training import Plan
from searec.models import model_named
from searec.pipeline.run import Run
from searec.pipeline.run_folder import read_config
from searec.training.budget import Update


def update(
    folder: Path | str,
    data: Dataset,
    out: Path | str,
    *,
    passes: int = 2,
    replay: float = 1.0,
    split_at: int | None = None,
    resume: bool = False,
) -> Run:
    """Train a run further on what is new in data that has grown, and write a new run.

    A model trained by steps makes a few passes over the examples of new events, mixed with older ones; a fitted model
    is fitted again. The new run is final or validated as the old one is.

    Args:
        folder: of the run.
        data: the dataset that has grown.
        out: the run folder to write.
        passes: over the new examples, at least 1.
        replay: older examples drawn for each new one, at least 0.
        split_at: end of training of a run with a global split, microseconds since 1970.
        resume: continue from the checkpoint of `out`.

    Raises:
        RunError: no finished run; data that has not grown, or holds fewer than half of the run's items.
        DataError: nothing new to learn from.
        SettingsError: a bad value, or a run with a global split without its new time.
        SearecError: as `run_training.train`.
    """
    if passes < 1 or replay < 0:
        raise SettingsError("bad update", got=f"passes {passes}, replay {replay}", expected="at least 1 and 0")
    started = Start.find(folder, data)
    if started is None:
        raise RunError(
            "the data is what the run was trained on", where=folder, remedy="name the dataset with the new events"
        )
    config = read_config(folder)
    split_config = dict(config["split"])
    is_final = bool(split_config.get("final"))
    if "split_at" in split_config and split_at is None:
        raise SettingsError(
            "the run has a global split, whose time has to move on",
            where=folder,
            remedy="name the new end of training by --split-at",
        )
    kind = model_named(config["model"])
    values: dict[str, Any] = {**config["settings"]["model"], **config["settings"].get("train", {})}
    seed = int(values.pop("seed", config["seed"]))
    settings, train_config = run_training.settings_for(config["model"], config["preset"], values, seed=seed)
    plan = Plan(kind.name, settings, train_config, data, Path(out), config["preset"], seed, config["label"], resume)
    if not resume:
        run_training.refuse_used(plan.folder)
    is_fitted = kind.learns == "fit"
    read, learned = started.read.on(data)
    # A model that is fitted again has read nothing yet.
    split = Split(
        data,
        split_config["min_events"],
        split_at=split_at,
        final=is_final,
        joint=split_config.get("joint", False),
        read_before=None if is_final or is_fitted else read,
    )
    return run_training.execute(
        plan,
        split,
        continued=None if is_fitted else started,
        update=None if is_fitted else Update(learned, passes, replay),
        twin_entry=config.get("twin"),
    )
