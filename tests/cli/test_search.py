"""`searec search` of a run and of a deployment."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import searec as package
from searec.data.dataset import load
from searec.experiments import run_training
from searec.pipeline.deployment import Deployment, write_deployment

SAMPLE = package.sample_folder()
Searec = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    run_training.train("bm25", load(SAMPLE), folder / "bm25")
    deployment = Deployment(data=str(SAMPLE), search=(str(folder / "bm25"),))
    write_deployment(deployment, folder / "shop.json")
    return folder


@pytest.mark.parametrize("name", ["bm25", "shop.json"])
def test_without_matches_it_says_so_with_and_without_a_user(home: Path, searec: Searec, name: str) -> None:
    for options in ([], ["--user", "u1"]):
        code, out, error = searec("search", home / name, SAMPLE, "qqxzzy", *options)
        assert (code, error) == (0, "")
        assert out.splitlines() == [f"{options[1] if options else 'no user'}, qqxzzy", "  no results"]


@pytest.mark.parametrize("name", ["bm25", "shop.json"])
def test_filters_facets_and_order(home: Path, searec: Searec, name: str) -> None:
    options = ["--filter", "price:50..200", "--sort", "-price", "--facets", "brand,categories", "--facets", "price"]
    code, out, error = searec("search", home / name, SAMPLE, "dog bed", *options, "-k", "50", "--json", "-")
    assert (code, error) == (0, "")
    [answer] = json.loads(out)
    items = pl.read_parquet(SAMPLE / "items.parquet")
    prices = dict(zip(items["item_id"], items["price"], strict=True))
    given = [prices[one["item_id"]] for one in answer["items"]]
    assert given == sorted(given, reverse=True)
    assert given
    assert all(50 <= price <= 200 for price in given)
    assert answer["total"] == len(given) == sum(one["count"] for one in answer["facets"]["brand"])
    assert ("Bed frame", "Bedroom") in [(one["value"], one["parent"]) for one in answer["facets"]["categories"]]
    code, out, _ = searec("search", home / name, SAMPLE, "dog bed", *options)
    assert code == 0
    assert f"  {len(given)} items match" in out.splitlines()
    assert any(line.endswith("    Bed frame") for line in out.splitlines())


def test_a_correction_is_named_and_can_be_left_out(home: Path, searec: Searec) -> None:
    deployment = home / "shop.json"
    out = searec("search", deployment, SAMPLE, "camping matress")[1]
    assert "  results for: camping mattress (--no-spelling searches for what was typed)" in out.splitlines()
    out = searec("search", deployment, SAMPLE, "camping matress", "--no-spelling")[1]
    assert "results for" not in out
    assert "no item has all words; these have any word; not found: matress" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--sort", "cheapest"], "relevance, newest, price, -price, popularity"),
        (["--filter", "brand"], "COLUMN:VALUE"),
        (["--filter", "pric:5"], "did you mean 'price'"),
        (["--filter", "price:cheap"], "10..20"),
        (["--facets", "colour"], "no column 'colour'"),
        (["--user", "nobody", "--sort", "price"], "unknown user id 'nobody'"),
        (["-k", "501", "--sort", "price"], "at most 500"),
        (["--remove", "i1", "--sort", "price"], "--remove"),
    ],
)
def test_what_cannot_be_answered_is_one_line(home: Path, searec: Searec, options: list[str], says: str) -> None:
    code, out, error = searec("search", home / "bm25", SAMPLE, "bed", *options)
    assert (code, out) == (1, "")
    assert says in error
    assert error.count("\n") == 1
