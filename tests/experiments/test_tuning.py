"""Settings are chosen within the budget, and nothing that is finished is done again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from searec.data.counts import Counts
from searec.data.dataset import Dataset
from searec.errors import RunError
from searec.experiments import run_comparison, run_training, tuning
from searec.experiments.study_config import StudyConfig
from searec.experiments.tuning import RECORD, Trial, Tuned, tune
from searec.models.itemknn import ItemKNN
from searec.pipeline.run_folder import WEIGHTS

TINY = {"sasrec": {"width": 8, "inner": 8, "epochs": 1, "batch": 64, "heads": 1}}


@pytest.fixture(scope="module")
def data(checkerboard: Any) -> Dataset:
    return checkerboard.data


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The settings of every training, in order."""
    told: list[dict[str, Any]] = []
    train = run_training.train

    def listening(model: str, *given: Any, **settings: Any) -> Any:
        told.append(
            {
                name: value
                for name, value in settings.items()
                if name in ("k1", "b", "lr", "dropout", "layers", "neighbours")
            }
        )
        return train(model, *given, **settings)

    monkeypatch.setattr(run_training, "train", listening)
    return told


def tuned(
    data: Dataset,
    folder: Path,
    model: str = "bm25",
    on_progress: Callable[[str], None] = lambda line: None,
    **plan: Any,
) -> Tuned:
    tasks = ("search",) if model == "bm25" else ("recommend",)
    return tune(model, data, folder, StudyConfig(**{"trials": 5, "fixed": TINY, **plan}), tasks, on_progress)  # type: ignore[arg-type]


def test_the_best_of_the_trials_is_chosen_and_the_preset_is_the_first(
    small_world: Dataset, tmp_path: Path, trained: list[Any]
) -> None:
    lines: list[str] = []
    found = tuned(small_world, tmp_path, "itemknn", on_progress=lines.append)
    sized = ItemKNN.sized(Counts.of(small_world))[0]
    preset = {name: sized.get(name, getattr(ItemKNN.Config(), name)) for name in ItemKNN.search_space}
    assert found.trials[0].settings == preset
    assert len(found.trials) == len(lines) == len(trained) == 5
    assert len({tuple(trial.settings.values()) for trial in found.trials}) == 5
    assert len({trial.value for trial in found.trials}) > 1
    assert found.best is not None and found.best.value == max(trial.value for trial in found.trials)
    assert found.settings == found.best.settings
    for trial in found.trials:
        run = run_training.train("itemknn", small_world, tmp_path / f"again-{trial.number}", **trial.settings)
        scores = run_comparison.evaluate(run, protocol="full", part="val").scores.filter(~pl.col("slice:repeat"))
        ranks = scores["rank"].to_numpy()
        assert np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0).mean() == pytest.approx(trial.value)
    assert not list(tmp_path.glob(f"0*/{WEIGHTS}")), "only the figures of a trial are kept"


def test_a_loss_model_tunes_its_training_too_and_fixed_settings_are_not_searched(
    data: Dataset, tmp_path: Path, trained: list[Any]
) -> None:
    found = tuned(data, tmp_path, "sasrec", trials=2)
    assert [set(trial.settings) for trial in found.trials] == [{"lr", "dropout", "layers"}] * 2
    assert all(
        json.loads((tmp_path / name / "config.json").read_text())["settings"]["model"]["width"] == 8
        for name in ("000", "001")
    )


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_study_that_was_killed_goes_on_with_the_same_settings(
    done: int, data: Dataset, tmp_path: Path, trained: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tuned(data, tmp_path / "whole")
    trained.clear()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        measured = tuning.validation_score

        def killed(*given: Any, **options: Any) -> Any:
            if len(trained) == done + 1:
                raise KeyboardInterrupt
            return measured(*given, **options)

        patch.setattr(tuning, "validation_score", killed)
        tuned(data, tmp_path / "broken")
    assert len(trained) == done + 1
    again = tuned(data, tmp_path / "broken")
    assert len(trained) == 6, "the one in flight is taken up, the finished ones are not"
    assert [(t.settings, t.value) for t in again.trials] == [(t.settings, t.value) for t in whole.trials]
    tuned(data, tmp_path / "broken")
    assert len(trained) == 6


def test_no_trial_begins_after_the_minutes_are_spent(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr(tuning.time, "perf_counter", lambda: next(clock))
    found = tuned(data, tmp_path, minutes=6.0, trials=50)
    assert 1 < len(found.trials) < 10 and found.seconds >= 360
    assert found.seconds - found.trials[-1].seconds < 360


def test_settings_tried_before_are_not_tried_again(
    data: Dataset, tmp_path: Path, trained: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "propose", lambda *given: {"k1": 1.0, "b": 0.5})
    found = tuned(data, tmp_path)
    assert len(trained) == 2
    assert [trial.value for trial in found.trials[1:]] == [found.trials[1].value] * 4
    assert [trial.seconds for trial in found.trials[2:]] == [0.0] * 3


def test_nothing_is_tried_where_nothing_is_searched(data: Dataset, tmp_path: Path, trained: list[Any]) -> None:
    assert tuned(data, tmp_path, trials=0) == Tuned("bm25")
    assert tuned(data, tmp_path, fixed={"bm25": {"k1": 1.0, "b": 0.5}}) == Tuned("bm25")
    assert Tuned("bm25").settings == {} and Tuned("bm25").best is None and not trained


def test_the_earliest_of_equals_is_chosen() -> None:
    trials = [Trial(number, {"k1": float(number)}, value, 1.0, {}) for number, value in enumerate((0.1, 0.3, 0.3, 0.2))]
    found = Tuned("bm25", tuple(trials))
    assert found.best == trials[1] and found.settings == {"k1": 1.0} and found.seconds == 4.0


def test_a_damaged_record_is_named(data: Dataset, tmp_path: Path) -> None:
    tuned(data, tmp_path, trials=1)
    for content in ("{", "[]", '{"number": 0}'):
        (tmp_path / "000" / RECORD).write_text(content)
        with pytest.raises(RunError, match=r"trial's record is damaged.*000/trial.json"):
            tuned(data, tmp_path, trials=1)
