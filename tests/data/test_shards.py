"""Tables as folders of shards: the same dataset whatever the files, errors by shard and row, import in and out."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from four_users import LOG
from searec.cli import app
from searec.data.dataset import Dataset, load, write
from searec.data.exporting import export_folder
from searec.data.importing import import_folder
from searec.data.log import load_log, open_folder, read_folder
from searec.data.schema import TABLES
from searec.data.tables import contents_digest
from searec.errors import DataError
from sharded_folder import in_shards

TIME = datetime(2023, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop(make_folder: Callable[..., Path]) -> Path:
    return make_folder(**LOG)


def encoded(folder: Path, out: Path) -> dict[str, bytes]:
    write(load_log(folder), out)
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("suffix", ["", ".parquet"])
def test_shuffled_shards_encode_to_the_same_bytes(shop: Path, tmp_path: Path, suffix: str) -> None:
    sharded = in_shards(shop, tmp_path / "sharded", seed=1, suffix=suffix)
    assert encoded(sharded, tmp_path / "one") == encoded(shop, tmp_path / "other")
    assert load(sharded).sizes == load(shop).sizes


def test_the_fingerprint_goes_by_content_not_by_names(shop: Path, tmp_path: Path) -> None:
    sharded = in_shards(shop, tmp_path / "sharded", seed=1)
    first, digest = load(sharded), contents_digest(sharded)
    (sharded / "interactions" / "a.parquet").rename(sharded / "interactions" / "z.parquet")
    (sharded / "searches" / "more").rename(sharded / "searches" / "again")
    assert contents_digest(sharded) == digest
    assert load(sharded).folder == first.folder
    pl.read_parquet(sharded / "users" / "a.parquet").vstack(pl.DataFrame({"user_id": ["zoe"]})).write_parquet(
        sharded / "users" / "a.parquet"
    )
    assert contents_digest(sharded) != digest
    assert load(sharded).sizes.users == first.sizes.users + 1
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    for table, other in zip(TABLES, (TABLES[1], TABLES[0], *TABLES[2:]), strict=True):
        (swapped / table.file).write_bytes((shop / other.file).read_bytes())
    assert contents_digest(swapped) != contents_digest(shop), "the same files as other tables"


def test_a_broken_row_is_named_by_shard_and_row(shop: Path, tmp_path: Path) -> None:
    sharded = in_shards(shop, tmp_path / "sharded", seed=1)
    row = {"user_id": "nobody", "item_id": "a", "timestamp": TIME, "event": "click"}
    path = sharded / "interactions" / "more" / "c.parquet"
    schema = pl.read_parquet_schema(path)
    bad = pl.concat([pl.read_parquet(path), pl.DataFrame([row], schema=schema)])
    bad.write_parquet(path)
    log = read_folder(sharded)
    assert log.rejects.rows() == [("interactions/more/c.parquet", bad.height, "unknown user", "nobody")]
    with pytest.raises(DataError, match=rf"interactions/more/c\.parquet row {bad.height}: unknown user"):
        load(sharded)
    result = CliRunner().invoke(app, ["check", str(sharded)])
    assert result.exit_code == 1 and "interactions/more/c.parquet" in result.output


def test_shards_of_other_columns_and_times_join(shop: Path, tmp_path: Path) -> None:
    sharded = in_shards(shop, tmp_path / "sharded", seed=1)
    path = sharded / "interactions" / "a.parquet"
    pl.read_parquet(path).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "Europe/Paris"))).write_parquet(path)
    items = sharded / "items" / "a.parquet"
    pl.read_parquet(items).with_columns(price=1.5).write_parquet(items)
    data = load(sharded)
    assert (data.interactions.time == load(shop).interactions.time).all()
    assert data.item_table["price"].drop_nulls().to_list() == [1.5] * pl.read_parquet(items).height
    other = sharded / "items" / "b.parquet"
    pl.read_parquet(other).with_columns(price=pl.lit("cheap")).write_parquet(other)
    with pytest.raises(DataError, match=r"column 'price' has two types.*b\.parquet.*Float64, as in a\.parquet"):
        load(sharded)


def test_what_is_no_table_is_named(shop: Path, tmp_path: Path) -> None:
    sharded = in_shards(shop, tmp_path / "sharded", seed=1)
    (sharded / "users.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"two places hold 'users'.*users\.parquet and users"):
        open_folder(sharded)
    (sharded / "users.parquet").unlink()
    (sharded / "items" / "a.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(DataError, match=r"damaged or not Parquet; where: .*items/a\.parquet"):
        open_folder(sharded)
    empty = tmp_path / "empty"
    (empty / "items").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no Parquet file; where: .*items"):
        open_folder(empty)


def test_import_writes_shards_and_reads_them(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ["import", "parquet", str(shop), str(out), "--shard-rows", "4"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.parquet")) == [
        "interactions/part-00000.parquet",
        "interactions/part-00001.parquet",
        "interactions/part-00002.parquet",
        "items/part-00000.parquet",
        "items/part-00001.parquet",
        "searches/part-00000.parquet",
        "searches/part-00001.parquet",
        "users.parquet",
    ]
    for table in TABLES:
        assert open_folder(out)[table.name].collect().equals(open_folder(shop)[table.name].collect())
    assert CliRunner().invoke(app, args).exit_code == 0, "OUT may hold shards of an earlier import"
    again = tmp_path / "again"
    report = import_folder("parquet", out, again)
    assert {account.file: account.read for account in report.files}["interactions/part-00002.parquet"] == 1
    assert sum(account.read for account in report.files) == sum(report.read.values())
    for table in TABLES:
        assert pl.read_parquet(again / table.file).equals(pl.read_parquet(shop / table.file))
    assert export_folder("recbole", out, tmp_path / "recbole") == export_folder("recbole", shop, tmp_path / "one")


def test_import_names_the_shard_of_a_bad_row(shop: Path, tmp_path: Path) -> None:
    sharded = in_shards(shop, tmp_path / "sharded", seed=1)
    path = sharded / "searches" / "more" / "c.parquet"
    pl.read_parquet(path).with_columns(query=pl.lit(" ")).write_parquet(path)
    with pytest.raises(DataError, match=r"searches/more/c\.parquet row 1: empty query"):
        import_folder("parquet", sharded, tmp_path / "out")
    report = import_folder("parquet", sharded, tmp_path / "out", drop_bad=True)
    assert set(report.rejects["file"]) == {"searches/more/c.parquet"}


def test_a_dataset_of_shards_is_used_as_any(shop: Path, tmp_path: Path) -> None:
    data: Dataset = load(in_shards(shop, tmp_path / "sharded", seed=2))
    assert data.items.texts.to_list() == sorted(LOG["items"])
