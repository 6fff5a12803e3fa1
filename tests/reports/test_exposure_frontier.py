"""What is shown and whether it is wanted: shares of the pool, random exploration in its places, A/B in replay."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from searec.data.dataset import Dataset, load
from searec.data.synthetic.simulate import World, simulate
from searec.errors import SettingsError
from searec.experiments import run_training
from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import Deployment, write_deployment
from searec.pipeline.executors import Inline
from searec.pipeline.run import Run
from searec.pipeline.served_lists import ServedLists
from searec.pipeline.types import Request, Response
from searec.reports.exposure_frontier import (
    ALONE,
    CHANNEL,
    SHOWN,
    Exposure,
    Source,
    compared,
    exposure,
    lists,
    with_settings,
)

TINY: dict[str, Any] = {"width": 8, "hidden": 16, "vector": 8, "interests": 4, "epochs": 2, "level": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated shop."""
    dials = World(users=60, items=300, clicks=12.0, searches=16.0, families=3, types=4, seed=3)
    return simulate(tmp_path_factory.mktemp("shop") / "world", dials)


@pytest.fixture(scope="module")
def data(world: Path) -> Dataset:
    return load(world)


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_training.train("serendipity", data, tmp_path_factory.mktemp("runs") / "serendipity", **TINY)


@pytest.fixture(scope="module")
def popular(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_training.train("popular", data, tmp_path_factory.mktemp("runs") / "popular")


@pytest.fixture(scope="module")
def found(run: Run, popular: Run) -> Exposure:
    return exposure(run, [popular], quotas=(0.2, 0.5), level=2)


def test_places_of_the_channel_hold_what_is_new_and_others_stay(found: Exposure) -> None:
    base, (low, high) = found.alone, found.swept
    for one, places in ((low, [4, 9]), (high, [1, 3, 5, 7, 9])):
        assert one.pool.novel[:, places].mean() > 0.95
        assert one.random.novel[:, places].mean() > 0.95
        assert one.pool.figures()["enr"] == pytest.approx(one.random.figures()["enr"], abs=0.1)
    assert (low.pool.top[:, :4] == base.top[:, :4]).mean() > 0.9
    assert found.channel.novel[found.channel.top > 0].all()
    assert [shown.label for shown in found.rows()] == ["random", "popular", ALONE, "quota 0.2", "quota 0.5", CHANNEL]


def test_nobody_is_shown_an_item_twice_or_one_clicked_before(found: Exposure, run: Run) -> None:
    requests = run.split.held_out("recommend", "test")
    click_history = run.data.click_history
    for shown in (found.alone, *(one.pool for one in found.swept), *(one.random for one in found.swept), found.channel):
        for row, line in enumerate(shown.top.tolist()):
            some = [item for item in line if item]
            assert len(set(some)) == len(some)
            before = set(
                click_history.item[click_history.offsets[requests.user[row]] : requests.click_end[row]].tolist()
            ) - {int(shown.target[row])}
            assert not before & set(some)


def test_alone_is_what_a_quota_of_nothing_retrieves(found: Exposure, run: Run, popular: Run) -> None:
    requests = run.split.held_out("recommend", "test")
    assert np.array_equal(found.alone.top, lists(with_settings(run, {"quota": 0.0}), requests))
    assert np.array_equal(found.swept[0].pool.top, lists(with_settings(run, {"quota": "0.2"}), requests))
    assert np.array_equal(found.others[1].top, lists(popular, requests))


def test_replay_of_two_configurations(run: Run, popular: Run) -> None:
    a, b, differences = compared(with_settings(run, {"quota": 0}), with_settings(run, {"quota": 0.5}))
    assert differences["enr"].difference == pytest.approx(b.figures()["enr"] - a.figures()["enr"])
    assert differences["enr"].low <= differences["enr"].difference <= differences["enr"].high
    assert (a.top.shape[1], a.label, b.label) == (SHOWN, "a: serendipity", "b: serendipity")
    assert run.model.config.quota == 0.1  # the run itself is as it was
    _, other, _ = compared(run, popular, requests=10)
    assert len(other.target) == 10


def test_a_deployment_is_replayed_as_it_is_served(
    searec: Callable[..., tuple[int, str, str]], run: Run, popular: Run, world: Path, tmp_path: Path
) -> None:
    file = tmp_path / "shop.json"
    deployment = Deployment(data=str(world), recommend=(str(run.folder),), diversity=0.0, quota=0.5)
    write_deployment(deployment, file)
    pipeline = open_pipeline(deployment, executor=Inline)
    source = Source.served(ServedLists(pipeline, "shop"), str(file))
    requests = run.split.held_out("recommend", "test")
    assert np.array_equal(lists(source, requests, quota=0), lists(run, requests, quota=0))
    found = exposure(source, [popular], quotas=(0.2,), level=2)
    assert [shown.label for shown in found.rows()] == ["random", "popular", ALONE, "quota 0.2", CHANNEL]
    served = lists(source, requests)
    assert np.array_equal(served, lists(source, requests, quota=0.5))
    user = run.data.users.to_external(requests.user[:1])[0]
    [target] = run.data.items.to_external(requests.target[:1])
    [page] = pipeline.recommend([Request(user=user, time=int(requests.time[0]), keep=[target])])
    assert isinstance(page, Response)
    assert run.data.items.to_external(served[0]) == [one.item for one in page.items]
    pipeline.close()
    code, out, err = searec(
        "replay", file, run.folder, world, "--set-a", "quota=0", "--set-b", "quota=0", "--json", "-"
    )
    assert code == 0, err
    assert json.loads(out)["a"] == "a: shop" and json.loads(out)["figures"]["ndcg"]["difference"] == 0
    code, out, err = searec("exposure", file, popular.folder, world, "--quota", "0.3")
    assert code == 0 and "quota 0.3" in out, err


def test_what_cannot_change_or_has_no_channel_is_refused(run: Run, popular: Run) -> None:
    with pytest.raises(SettingsError, match="cannot change after training; got: width"):
        with_settings(run, {"width": 3})
    with pytest.raises(SettingsError, match="none of this model"):
        with_settings(popular, {"quota": 0.5})
    with pytest.raises(SettingsError, match="no serendipity channel"):
        exposure(popular)
    with pytest.raises(SettingsError, match="bad share"):
        exposure(run, quotas=(0.0,))


def test_commands_print_and_write_the_figures(
    searec: Callable[..., tuple[int, str, str]], run: Run, popular: Run, world: Path, tmp_path: Path
) -> None:
    told = tmp_path / "told.json"
    code, out, err = searec(
        "exposure", run.folder, popular.folder, world, "--quota", "0.3", "--level", "1", "--days", "30", "--json", told
    )
    assert code == 0, err
    assert "not touched for 30 days" in out
    figures = json.loads(told.read_text(encoding="utf-8"))
    assert set(figures["figures"]) == {"random", "popular", ALONE, "quota 0.3", CHANNEL}
    assert figures["quotas"][0]["against_random"]["cnr"]["p"] <= 1
    code, out, err = searec(
        "replay", run.folder, run.folder, world, "--set-a", "quota=0", "--set-b", "quota=0.5", "--json", "-"
    )
    assert code == 0, err
    assert json.loads(out)["figures"]["enr"]["difference"] >= 0
    code, _, err = searec("exposure", run.folder, world, "--level", "broad")
    assert code == 2
    assert "--level" in err
