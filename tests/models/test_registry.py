"""Models by name: each import loads one model alone.

And an installed package adds a model that does all that others do.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from searec.cli import app
from searec.errors import DependencyError, SettingsError
from searec.experiments import run_comparison, run_training
from searec.experiments.study_config import StudyConfig
from searec.experiments.tuning import tune
from searec.models import BUILT_IN, model_named, model_names
from searec.models.base import Model
from searec.pipeline.builder import Deployment, open_pipeline
from searec.pipeline.run import read_run
from searec.pipeline.types import Request, Response
from searec.plugins import Registry

PACKAGE = Path(__file__).parent / "outside_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the package of `outside_package`."""
    folder = tmp_path_factory.mktemp("outside")
    source = shutil.copytree(PACKAGE, folder / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(folder / "site"), str(source)], check=True, timeout=120)
    return folder / "site"


@pytest.fixture
def outside(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package is on the path, as in an environment that has it."""
    monkeypatch.syspath_prepend(str(installed))
    yield
    sys.modules.pop("searec_factors", None)


def test_a_package_adds_a_model_that_trains_tunes_evaluates_and_is_served(
    outside: None, checkerboard: Any, tmp_path: Path
) -> None:
    assert model_names() == (*BUILT_IN, "factors")
    folder = tmp_path / "run"
    trained = CliRunner().invoke(app, ["train", "factors", str(checkerboard.folder), "--out", str(folder)])
    assert trained.exit_code == 0, trained.output
    run = read_run(folder, checkerboard.data)
    assert run.config["settings"]["model"] == {"width": 16, "negatives": 4, "init": 0.1}

    evaluation = run_comparison.evaluate(run)
    untrained = run_training.new_model("factors", run.model.config, run.split, 0)
    assert not untrained.item_vectors.equal(run.model.item_vectors)
    assert 0 < evaluation.summary()["metrics"]["ndcg@10"] < 1

    plan = StudyConfig(models=("factors",), trials=1, seeds=1)
    tuned = tune("factors", checkerboard.data, tmp_path / "trials", plan, ("recommend",), print)
    assert [set(trial.settings) for trial in tuned.trials] == [{"lr", "width"}]

    pipeline = open_pipeline(Deployment(data=str(checkerboard.folder), recommend=(str(folder),)))
    try:
        [response] = pipeline.recommend([Request(user="u1", k=5)])
        assert isinstance(response, Response)
        assert len(response.items) == 5 and {item.channel for item in response.items} == {"factors"}
    finally:
        pipeline.close()


def test_names_that_are_taken_or_lead_nowhere_are_refused(
    outside: None, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="unknown model 'factor'; what to do: did you mean 'factors'"):
        model_named("factor")
    for line, error, match in (
        ("sasrec = searec_factors:Factors", SettingsError, "declares the model 'sasrec', which is built in"),
        ("factors = searec_other:Factors", SettingsError, "two installed packages declare 'factors'"),
    ):
        _declare(tmp_path / "more", line)
        with monkeypatch.context() as context:
            context.syspath_prepend(str(tmp_path / "more"))
            with pytest.raises(error, match=match):
                model_names()
    for line, error, match in (
        ("lost = searec_nowhere:Lost", DependencyError, "the model 'lost' cannot be imported"),
        ("other = searec_factors:Factors", SettingsError, "declares the model 'other' as something else"),
        ("path = pathlib:Path", SettingsError, "declares the model 'path' as something else"),
    ):
        _declare(tmp_path / "more", line)
        with monkeypatch.context() as context:
            context.syspath_prepend(str(tmp_path / "more"))
            with pytest.raises(error, match=match):
                model_named(line.split()[0])


def _declare(folder: Path, line: str) -> None:
    """Write the metadata of an installed package with one entry point of `searec.models`."""
    about = folder / "declared-1.0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: declared\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[searec.models]\n{line}\n")


def test_a_registry_gives_what_its_table_names() -> None:
    registry = Registry("number", {"pi": "math:pi"})
    assert registry.names() == ("pi",) and registry.named("pi") > 3
    with pytest.raises(SettingsError, match="unknown number 'pie'"):
        registry.named("pie")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_model_loads_nothing_of_the_others(name: str) -> None:
    """Apart from a base that it is declared to stand on."""
    trunk = {"event_transformer", "itemknn"}
    shared = {
        "event-transformer": {"itemknn"},
        "gserec": trunk,
        "lcr-ser": trunk,
        "gensar": trunk,
        "serendipity": trunk,
        "tiger": {*trunk, "gensar.model"},
        "tiger-paper": {"gensar.paper"},
    }.get(name, set())
    others = {path.split(":")[0] for other, path in BUILT_IN.items() if other != name}
    own = BUILT_IN[name].split(":")[0]
    code = f"from searec.models import model_named; model_named({name!r}); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert own in loaded
    assert loaded & others == {f"searec.models.{module}" for module in shared}


def test_naming_the_models_loads_none_of_them() -> None:
    code = "from searec.models import model_names; model_names(); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "searec.models.base"} & set(done.stdout.split())


def test_every_model_is_a_model() -> None:
    assert all(issubclass(model_named(name), Model) and model_named(name).name == name for name in BUILT_IN)
