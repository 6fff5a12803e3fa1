"""Datasets and sources by URL, against an S3-compatible server that the tests start."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from four_users import LOG
from object_store import object_store, upload
from searec.cli import app
from searec.data import remote as module
from searec.data.dataset import load
from searec.data.events import FILE as EVENT_WEIGHTS
from searec.data.importing import import_folder
from searec.data.remote import Remote
from searec.data.schema import TABLES
from searec.data.tables import remembered
from searec.errors import DataError, DependencyError, SettingsError
from searec.pipeline.deployment import Deployment, read_deployment, write_deployment
from searec.store.event_export import exported_up_to
from sharded_folder import in_shards


@pytest.fixture(scope="module")
def server() -> Iterator[Mapping[str, str]]:
    pytest.importorskip("moto")
    with object_store() as environment:
        yield environment


@pytest.fixture
def reachable(server: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture(scope="module")
def shop(make_folder: Callable[..., Path]) -> Path:
    return make_folder(**LOG)


@pytest.fixture
def url(shop: Path, tmp_path: Path, reachable: Mapping[str, str]) -> str:
    sharded = in_shards(shop, tmp_path / "sharded", seed=3)
    (sharded / "big").mkdir()
    (sharded / "big" / "other.bin").write_bytes(b"not of the dataset")
    return upload(sharded, uuid.uuid4().hex, reachable)


def test_a_dataset_is_loaded_by_url_and_copied_once(
    url: str, shop: Path, tmp_path: Path, reachable: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    copy = Remote._copied
    monkeypatch.setattr(Remote, "_copied", lambda *args: copied.append(args[1].name) or copy(*args))
    data = load(url)
    assert data.fingerprint == load(tmp_path / "sharded").fingerprint
    assert data.sizes == load(shop).sizes
    assert copied and not any("other.bin" in name or "_SUCCESS" in name.split("/")[0] for name in copied)
    copied.clear()
    assert load(url).folder == data.folder and load(f"{url}/").folder == data.folder
    assert not copied, "nothing has changed"
    users = tmp_path / "sharded" / "users" / "a.parquet"
    pl.concat([pl.read_parquet(users), pl.DataFrame({"user_id": ["zoe"]})]).write_parquet(users)
    assert upload(tmp_path / "sharded", url.rpartition("/")[2], reachable) == url
    assert load(url).sizes.users == data.sizes.users + 1
    assert copied


def test_check_and_train_by_url(url: str, tmp_path: Path) -> None:
    checked = CliRunner().invoke(app, ["check", url, "--json", str(tmp_path / "check.json")])
    assert checked.exit_code == 0, checked.output
    assert json.loads((tmp_path / "check.json").read_text())["counts"]["users"] == len(LOG["users"])
    run = str(tmp_path / "run")
    trained = CliRunner().invoke(app, ["train", "popular", url, "--out", run])
    assert trained.exit_code == 0, trained.output
    evaluated = CliRunner().invoke(app, ["evaluate", run, url, "--protocol", "full"])
    assert evaluated.exit_code == 0, evaluated.output


def test_import_from_a_url(url: str, shop: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["import", "parquet", url, str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    for table in TABLES:
        columns = pl.read_parquet(shop / table.file).columns
        one, other = (pl.read_parquet(folder / table.file) for folder in (tmp_path / "out", shop))
        keys = [c for c in columns if not isinstance(other.schema[c], pl.List)]
        assert one.select(columns).sort(keys).equals(other.sort(keys))


def test_csv_by_url(tmp_path: Path, reachable: Mapping[str, str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "items.csv").write_text("item_id,title\n1,Lamp\n")
    (source / "interactions.csv").write_text("user_id,item_id,timestamp\nu,1,2024-01-01\nu,2,2024-01-02\n")
    url = upload(source, uuid.uuid4().hex, reachable)
    with pytest.raises(DataError, match=r"interactions\.csv row 2: unknown item") as error:
        import_folder("csv", url, tmp_path / "out")
    assert error.value.where == url, "the copy on this machine is nobody's business"
    assert import_folder("csv", url, tmp_path / "out", drop_bad=True).written["interactions"] == 1


def test_errors_name_the_url_and_no_secret(url: str, tmp_path: Path, reachable: Mapping[str, str]) -> None:
    with pytest.raises(DataError, match=r"the URL cannot be read; where: s3://no-such-bucket/data"):
        load("s3://no-such-bucket/data")
    with pytest.raises(DataError, match="s3://shop/nothing-there"):
        load("s3://shop/nothing-there")
    with pytest.raises(SettingsError, match="holds credentials") as error:
        load("s3://id:hunter2@shop/data")
    assert "hunter2" not in str(error.value)
    with pytest.raises(DependencyError, match="unknown kind of URL"):
        load("nonsense://shop/data")
    broken = tmp_path / "sharded" / "items" / "a.parquet"
    broken.write_bytes(b"PAR1 cut short")
    upload(tmp_path / "sharded", url.rpartition("/")[2], reachable)
    with pytest.raises(DataError, match=f"damaged or not Parquet; where: {url}/items/a.parquet"):
        load(url)
    assert "***" in module._without_secrets(f"denied {reachable['AWS_SECRET_ACCESS_KEY']}")
    result = CliRunner().invoke(app, ["check", "s3://no-such-bucket/data"])
    assert result.exit_code == 1
    assert not any(value in str(result.exception) + result.output for value in reachable.values() if "test-" in value)


def test_out_is_no_url(shop: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["import", "parquet", str(shop), "s3://shop/out"])
    assert result.exit_code == 1 and "a URL cannot be used here" in str(result.exception) + result.output
    assert not Path("s3:").exists()


def test_settings_and_marks_by_url(shop: Path, tmp_path: Path, reachable: Mapping[str, str]) -> None:
    folder = tmp_path / "marked"
    folder.mkdir()
    for table in TABLES:
        (folder / table.file).write_bytes((shop / table.file).read_bytes())
    (folder / EVENT_WEIGHTS).write_text('{"click": 2}')
    (folder / "events.json").write_text('{"number": 7, "events": 1}')
    url = upload(folder, uuid.uuid4().hex, reachable)
    assert exported_up_to(url) == 7 and exported_up_to(f"{url}/items.parquet") == 0
    assert load(url).fingerprint == load(folder).fingerprint
    memory = remembered(url)
    assert memory is not None and json.loads((memory[1] / EVENT_WEIGHTS).read_text()) == {"click": 2}


def test_a_deployment_keeps_a_url(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    write_deployment(Deployment(data="s3://shop/data", recommend=(str(tmp_path / "run"),)), path)
    assert read_deployment(path).data == "s3://shop/data"
    assert read_deployment(path, data="gs://other/data").data == "gs://other/data"


def test_other_schemes_go_through_fsspec(shop: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(shop), "/shop", recursive=True)
    data = load("memory://shop")
    assert data.fingerprint == load(shop).fingerprint
    assert remembered("memory://shop") is None, "it gives no etags, and is read each time"
