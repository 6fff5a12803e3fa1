"""Result pages in the encoded dataset: positions, clicks on and off the page, and the searches that requests are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from searec.data.click_log import click_log, every_click, target_positions
from searec.data.dataset import Dataset, load
from searec.data.split import requests_at
from searec.errors import DataError


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Items a, b, c; pages with an unknown item, a repeated one, a click off the page, and no page."""
    folder = tmp_path_factory.mktemp("pages")
    time = pl.Series(range(1_000_000, 6_000_000, 1_000_000)).cast(pl.Datetime("us", "UTC"))
    pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"]}).write_parquet(folder / "items.parquet")
    pl.DataFrame({"user_id": ["u"]}).write_parquet(folder / "users.parquet")
    feed = {"user_id": ["u"], "item_id": ["a"], "timestamp": time[:1], "event": ["click"]}
    pl.DataFrame(feed).write_parquet(folder / "interactions.parquet")
    searches = {
        "search_id": ["1", "2", "3", "4", "5"],
        "user_id": ["u"] * 5,
        "query": ["q", "q", "r", "r", "q"],
        "timestamp": time,
        "clicked": [["b"], ["c", "a"], [], ["c"], ["a"]],
        "shown": [["zz", "a", "b"], ["a", "a", "b"], ["c"], [], None],
    }
    schema = {"clicked": pl.List(pl.String), "shown": pl.List(pl.String)}
    pl.DataFrame(searches, schema_overrides=schema).write_parquet(folder / "searches.parquet")
    return load(folder)


def test_an_unknown_item_holds_its_position_and_a_repeated_one_counts_at_the_top(shop: Dataset) -> None:
    log = click_log(shop)
    assert (log.searches, log.off_page, log.pairs) == (3, 1, 3)
    rows = list(zip(log.search.tolist(), log.position.tolist(), log.is_clicked.tolist(), strict=True))
    assert rows == [(0, 2, False), (0, 3, True), (1, 1, True), (1, 3, False), (2, 1, False)]
    assert log.pair[0] == log.pair[2] and log.pair[1] == log.pair[3] != log.pair[4]
    part = log.where(np.array([False, True, True]))
    assert part.search.tolist() == [0, 0, 1] and part.pair.tolist() == log.pair[2:].tolist()
    with pytest.raises(DataError, match="no search holds"):
        click_log(shop, np.zeros(5, dtype=bool))


def test_requests_find_their_search_its_clicks_and_the_positions_of_these(shop: Dataset) -> None:
    ids = shop.items.to_internal(["b", "c", "c", "a"])
    rows = np.array([0, 1, 3, 4])
    user = np.ones(4, dtype=np.int32)
    time, query = shop.searches.time[rows], shop.searches.query[rows]
    requests = requests_at(shop, "search", user, time, query=query, target=ids)
    assert target_positions(shop, requests).tolist() == [3, 0, 0, 0]
    clicks = every_click(shop, requests)
    assert shop.items.to_external(clicks.target) == ["b", "c", "a", "c", "a"]
    assert target_positions(shop, clicks).tolist() == [3, 0, 1, 0, 0]
    assert clicks.search_end.tolist() == [0, 1, 1, 3, 4]


def test_a_log_without_pages_says_what_to_log(make_data: Callable[..., Dataset], tmp_path: Path) -> None:
    data = make_data(items={"a": {"title": "A"}}, users=["u"], feed=[("u", "a", 1)], searches=[("u", "q", 2, ["a"])])
    assert data.searches.shown is None
    with pytest.raises(DataError, match="column 'shown'"):
        click_log(data)
