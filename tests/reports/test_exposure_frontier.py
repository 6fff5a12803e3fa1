"""What novelty costs: a premium beside controls of equal novelty, and A/B in replay."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from searec.data.dataset import Dataset, load
from searec.data.synthetic.simulate import World, simulate
from searec.errors import SettingsError
from searec.evaluation.slices import is_repeat
from searec.experiments import run_training
from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import Deployment, write_deployment
from searec.pipeline.executors import Inline
from searec.pipeline.fusion_fitting import fit_fusion
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.run import Run
from searec.pipeline.served_lists import ServedLists
from searec.reports.exposure_frontier import OWN, POPULAR, QUOTA, RANDOM, Exposure, exposure
from searec.reports.paired_replay import SHOWN, Source, compared, lists, with_settings

TINY: dict[str, Any] = {"width": 8, "hidden": 16, "vector": 8, "interests": 4, "epochs": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated shop."""
    dials = World(users=400, items=300, clicks=12.0, searches=10.0, families=3, types=4, seed=3)
    return simulate(tmp_path_factory.mktemp("shop") / "world", dials)


@pytest.fixture(scope="module")
def data(world: Path) -> Dataset:
    return load(world)


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_training.train("serendipity-paper", data, tmp_path_factory.mktemp("runs") / "serendipity", **TINY)


@pytest.fixture(scope="module")
def popular(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_training.train("popular", data, tmp_path_factory.mktemp("runs") / "popular")


@pytest.fixture(scope="module")
def pipeline(run: Run, world: Path) -> Iterator[Pipeline]:
    """A deployment of the run with a fusion that was learned."""
    deployment = Deployment(data=str(world), recommend=(str(run.folder),), quota=0.0)
    fusion = fit_fusion(deployment, trees=False, tasks=("recommend",))
    opened = open_pipeline(deployment, executor=Inline, fusion=fusion)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def found(pipeline: Pipeline, popular: Run) -> Exposure:
    return exposure(pipeline, "ours", [Source.of(popular)], gains=(0.1, 0.2))


def test_premium_and_controls_show_as_much_that_is_novel(found: Exposure) -> None:
    base = found.base.figures()["enr"]
    assert [one.gain for one in found.frontier] == [0.1, 0.2]
    for one in found.frontier:
        assert one.lists.figures()["enr"] == pytest.approx(base + one.gain, abs=0.01)
        assert set(one.controls) == {OWN, POPULAR, RANDOM, QUOTA}
        for control in one.controls.values():
            assert control.figures()["enr"] == pytest.approx(base + one.gain, abs=0.02)
        assert one.beside["enr"].difference == pytest.approx(one.gain, abs=0.01)
    assert found.frontier[0].premium < found.frontier[1].premium
    labels = [shown.label for shown in found.rows()]
    assert labels[:3] == ["random", "popular", "ours without premium"] and labels[-2:] == ["+10 points", "+20 points"]


def test_random_items_are_worse_than_the_premium(found: Exposure) -> None:
    against = found.frontier[-1].against[RANDOM]
    assert against["ndcg"].difference > 0 and against["hit"].difference > 0 and against["cnr"].difference > 0.03


def test_nobody_is_shown_an_item_twice_or_one_clicked_before(found: Exposure, run: Run) -> None:
    requests = run.split.held_out("recommend", "test")
    requests = requests[~is_repeat(run.data, requests)]
    history = run.data.click_history
    lists_ = [found.base, *(shown for one in found.frontier for shown in (one.lists, *one.controls.values()))]
    for shown in lists_:
        for row, line in enumerate(shown.top.tolist()):
            items = [item for item in line if item]
            assert len(set(items)) == len(items), shown.label
            before = set(history.item[history.offsets[requests.user[row]] : requests.click_end[row]].tolist())
            assert not before & set(items), shown.label


def test_what_is_measured_is_what_is_served(found: Exposure, pipeline: Pipeline, run: Run) -> None:
    requests = run.split.held_out("recommend", "test")
    requests = requests[~is_repeat(run.data, requests)]
    learned = pipeline.parts.learned["recommend"]
    assert found.served is not None, "with an interest channel a premium is fitted"
    served = lists(Source.served(ServedLists(pipeline, "ours"), "ours"), requests)
    assert learned.novelty > 0 and np.array_equal(served, found.served.top)
    assert found.served.figures()["enr"] > found.base.figures()["enr"]


def test_replay_of_two_configurations(run: Run, popular: Run) -> None:
    a, b, differences = compared(with_settings(run, {"quota": 0}), with_settings(run, {"quota": 0.5}))
    assert differences["enr"].difference == pytest.approx(b.figures()["enr"] - a.figures()["enr"])
    assert differences["enr"].low <= differences["enr"].difference <= differences["enr"].high
    assert (a.top.shape[1], a.label, b.label) == (SHOWN, "a: serendipity-paper", "b: serendipity-paper")
    assert run.model.config.quota == 0.1  # the run itself is as it was
    _, other, _ = compared(run, popular, requests=10)
    assert len(other.target) == 10


def test_a_deployment_is_replayed_as_it_is_served(
    searec: Callable[..., tuple[int, str, str]], run: Run, world: Path, tmp_path: Path
) -> None:
    file = tmp_path / "shop.json"
    write_deployment(Deployment(data=str(world), recommend=(str(run.folder),), quota=0.5), file)
    code, out, err = searec(
        "replay", file, run.folder, world, "--set-a", "quota=0", "--set-b", "quota=0", "--json", "-"
    )
    assert code == 0, err
    assert json.loads(out)["a"] == "a: shop" and json.loads(out)["figures"]["ndcg"]["difference"] == 0
    code, _, err = searec("exposure", file, world)
    assert code != 0 and "no learned fusion of the feed" in err and "searec deploy" in err


def test_what_cannot_change_is_refused(run: Run, popular: Run, pipeline: Pipeline) -> None:
    with pytest.raises(SettingsError, match="cannot change after training; got: width"):
        with_settings(run, {"width": 3})
    with pytest.raises(SettingsError, match="none of this model"):
        with_settings(popular, {"quota": 0.5})
    with pytest.raises(SettingsError, match="bad gain"):
        exposure(pipeline, "ours", gains=(0.0,))


def test_commands_print_and_write_the_figures(
    searec: Callable[..., tuple[int, str, str]], run: Run, popular: Run, world: Path, tmp_path: Path
) -> None:
    told = tmp_path / "told.json"
    code, out, err = searec(
        "exposure", run.folder, popular.folder, world, "--gain", "0.1", "--level", "1", "--days", "30", "--json", told
    )
    assert code == 0, err
    assert "not touched for 30 days" in out
    figures = json.loads(told.read_text(encoding="utf-8"))
    assert {"random", "popular", "+10 points"} <= set(figures["figures"])
    assert figures["frontier"][0]["against"]["random novel"]["cnr"]["p"] <= 1
    assert "own novel tail" in out
    code, out, err = searec(
        "replay", run.folder, run.folder, world, "--set-a", "quota=0", "--set-b", "quota=0.5", "--json", "-"
    )
    assert code == 0, err
    assert json.loads(out)["figures"]["enr"]["difference"] >= 0
    code, _, err = searec("exposure", run.folder, world, "--level", "broad")
    assert code == 2
    assert "--level" in err
