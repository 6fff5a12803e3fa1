"""From settings to a run folder and its figures; what is there already is never lost or mistaken for another."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.errors import RunError, SearecError, SettingsError
from searec.evaluation.result import Evaluation
from searec.experiments import run_comparison, run_training
from searec.experiments.run_training import settings_for
from searec.models import form_of, model_named, model_names
from searec.pipeline.run import read_run
from searec.pipeline.run_folder import CONFIG, WEIGHTS

TINY = {"width": 8, "inner": 8, "epochs": 1, "epoch_steps": 0, "batch": 64}


@pytest.fixture(scope="module")
def data(checkerboard: Any) -> Dataset:
    return checkerboard.data


# --- settings ---


@pytest.mark.parametrize("name", model_names())
def test_presets_are_settings_that_exist(name: str) -> None:
    for preset in ("default", "paper"):
        config, plan = settings_for(name, preset, seed=4)
        kind = model_named(form_of(name, preset))
        assert isinstance(config, kind.Config)
        assert (plan is None) == (kind.learns == "fit")
        assert plan is None or plan.seed == 4
        for key, value in {**kind.presets[preset], **(kind.train_presets[preset] if plan else {})}.items():
            assert getattr(config, key, None) == value or getattr(plan, key, None) == value


def test_overrides_go_over_the_preset_and_are_read_as_their_type() -> None:
    config, plan = settings_for("sasrec", "paper", {"width": "32", "lr": "0.5", "feed_only": "false"})
    assert (config.width, config.feed_only, config.loss) == (32, False, "bce")
    assert plan is not None
    assert (plan.lr, plan.epochs) == (0.5, 200)


@pytest.mark.parametrize(
    ("model", "preset", "overrides", "message"),
    [
        ("sasrek", "default", {}, "unknown model 'sasrek'.*did you mean 'sasrec'"),
        ("sasrec", "defalt", {}, "unknown preset 'defalt'.*did you mean 'default'"),
        ("sasrec", "default", {"widht": 3}, "unknown setting 'widht'; where: sasrec.*did you mean 'width'"),
        ("sasrec", "default", {"epoch": 3}, "did you mean 'epochs'"),
        ("sasrec", "default", {"width": "wide"}, "bad value for setting 'width'.*'wide'"),
        ("sasrec", "default", {"dropout": 1.0}, "bad value for setting 'dropout'"),
        ("sasrec", "default", {"lr": 0}, "bad value for setting 'lr'"),
        ("sasrec", "default", {"seed": 1}, "unknown setting 'seed'"),
        ("popular", "default", {"epochs": 3}, "unknown setting 'epochs'"),
        ("unisar", "default", {"tasks": []}, "bad value for setting 'tasks'"),
    ],
)
def test_bad_settings_are_named(model: str, preset: Any, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings_for(model, preset, overrides)
    assert model_named("popular").name == "popular"


def test_settings_that_do_not_go_together_are_refused(data: Dataset) -> None:
    for name in ("sasrec", "unisar"):
        with pytest.raises(SettingsError):
            run_training.new_model(name, settings_for(name, "default", {"width": 10, "heads": 3})[0], Split(data), 0)


def test_a_new_model_depends_on_its_seed_alone(data: Dataset) -> None:
    config, _ = settings_for("sasrec", "default", {"width": 8})
    first = run_training.new_model("sasrec", config, Split(data), 3).state()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again, other = (run_training.new_model("sasrec", config, Split(data), seed).state() for seed in (3, 4))
    assert torch.equal(torch.get_rng_state(), before), "nobody else's random numbers are used up"
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["item.weight"], other["item.weight"])


# --- the run folder ---


def test_a_run_folder_tells_what_it_is(data: Dataset, tmp_path: Path) -> None:
    run = run_training.train("sasrec", data, tmp_path / "run", seed=2, label="mine", **TINY)
    config = json.loads((run.folder / CONFIG).read_text())
    assert config == run.config
    assert (config["model"], config["label"], config["seed"], config["preset"]) == ("sasrec", "mine", 2, "default")
    assert config["settings"]["model"]["width"] == 8
    assert config["settings"]["train"]["seed"] == 2
    assert config["data"]["fingerprint"] == data.fingerprint
    assert {path.name for path in run.folder.iterdir()} == {
        *(CONFIG, WEIGHTS, "environment.json", "log.jsonl", "vocabularies", "cutoff"),
    }
    assert run.label == "mine"
    assert not run.model.training


def test_runs_go_under_their_label_and_seed(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_training.train("popular", data, seed=3).folder == Path("runs/popular-3")
    assert run_training.train("popular", data, label="base").folder == Path("runs/base-0")


def test_a_finished_run_is_opened_not_replaced(data: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = run_training.train("popular", data, folder)
    before = (folder / WEIGHTS).read_bytes()
    with pytest.raises(RunError, match=r"holds a finished run.*--resume"):
        run_training.train("popular", data, folder)
    again = run_training.train("popular", data, folder, resume=True)
    assert again.config == run.config
    for other in ({"model": "bm25"}, {"model": "popular", "label": "x"}, {"model": "popular", "seed": 1}):
        with pytest.raises(RunError, match=r"other settings.*got: .*(model|label|seed)"):
            run_training.train(other.pop("model"), data, folder, resume=True, **other)
    assert (folder / WEIGHTS).read_bytes() == before


def test_a_folder_with_other_things_is_left_alone(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        run_training.train("popular", data, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_bad_setting_leaves_no_folder(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        run_training.train("sasrec", data, tmp_path / "run", widht=3)
    assert not (tmp_path / "run").exists()


def test_damage_is_named(data: Dataset, small_world: Dataset, tmp_path: Path) -> None:
    folder = run_training.train("popular", data, tmp_path / "run").folder
    with pytest.raises(RunError, match="no finished run"):
        read_run(tmp_path, data)
    with pytest.raises(RunError, match=r"trained on other data.*0 of its 140 items and 15 of its 17 users"):
        read_run(folder, small_world)
    for name, content, message in (
        (CONFIG, "{", "file is damaged"),
        (CONFIG, "[1]", "file is damaged"),
        (CONFIG, '{"model": "popular"}', "file is damaged"),
        (WEIGHTS, "nonsense", "damaged"),
    ):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / name).write_text(content)
        with pytest.raises(RunError, match=message):
            read_run(copy, data)
        shutil.rmtree(copy)
    (folder / WEIGHTS).unlink()
    with pytest.raises(SearecError, match=WEIGHTS):
        read_run(folder, data)


# --- measuring ---


def test_figures_are_kept_and_read_again(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_training.train("popular", data, tmp_path / "run")
    first = run_comparison.evaluate(run, data)
    assert (first.task, first.protocol, first.part, first.label) == ("recommend", "sampled", "test", "popular")
    assert first.settings["seed"] == 0
    kept = Evaluation.load(run.folder, "recommend", "sampled", "test")
    assert kept.scores.equals(first.scores)
    monkeypatch.setattr(run_comparison, "evaluate", None)
    assert run_comparison.evaluation_of(run, "recommend", "sampled", "test").scores.equals(first.scores), (
        "not measured again"
    )


def test_evaluate_refuses_other_data_and_other_tasks(data: Dataset, rewritten: Dataset, tmp_path: Path) -> None:
    run = run_training.train("bm25", data, tmp_path / "run")
    with pytest.raises(RunError, match="trained on other data"):
        run_comparison.evaluate(run, rewritten)
    with pytest.raises(SettingsError, match="bm25 does not support recommend"):
        run_comparison.evaluate(run, task="recommend")
    assert run_comparison.evaluate(run).task == "search"


def test_compare_measures_what_is_missing_and_writes_the_report(
    data: Dataset, rewritten: Dataset, tmp_path: Path
) -> None:
    runs = [run_training.train(name, data, tmp_path / name) for name in ("popular", "itemknn")]
    run_comparison.compare(runs, tmp_path / "report.html", protocols=("sampled",))
    assert (tmp_path / "report.html").stat().st_size > 1000
    assert json.loads((tmp_path / "report.json").read_text())
    assert Evaluation.find(runs[0].folder, "search", "sampled", "test")
    assert not Evaluation.find(runs[0].folder, "search", "full", "test")
    with pytest.raises(RunError, match="nothing to compare"):
        run_comparison.compare([])
    with pytest.raises(RunError, match="different data"):
        run_comparison.compare([runs[0], run_training.train("popular", rewritten, tmp_path / "other")])


def test_resume_of_a_broken_off_run_ends_with_the_same_weights(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searec.training.examples import TrainingExamples

    whole = run_training.train("sasrec", data, tmp_path / "whole", **{**TINY, "epochs": 3, "batch": 8}).model.state()
    batch = TrainingExamples.batch

    def breaks(self: TrainingExamples, epoch: int, *where: int) -> Any:
        if epoch == 2:
            raise KeyboardInterrupt
        return batch(self, epoch, *where)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingExamples, "batch", breaks)
        run_training.train("sasrec", data, tmp_path / "broken", **{**TINY, "epochs": 3, "batch": 8})
    with pytest.raises(RunError, match="resume"):
        run_training.train("sasrec", data, tmp_path / "broken", **{**TINY, "epochs": 3, "batch": 8})
    resumed = run_training.train(
        "sasrec", data, tmp_path / "broken", resume=True, **{**TINY, "epochs": 3, "batch": 8}
    ).model.state()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
