"""Filters and facets over the codes of a million items beside polars `filter` and `group_by` over the same columns.

python benchmarks/all.py --only facets. The catalogue is drawn with a fixed seed: 2,000 brands and 2,000 categories by
Zipf's law, three categories an item, prices, and titles of two words. Polars has its columns in memory, as texts.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from searec.data.dataset import load
from searec.data.log import write_table
from searec.data.text_settings import TextSettings
from searec.search.facets import facet
from searec.search.filters import Filter
from searec.search.item_columns import ItemColumns
from timing import line, paired, seconds

ITEMS, VALUES, NEW = 1_000_000, 2_000, 5_000
SHARES = (0.01, 1.0)
"""Of the items that match."""
_ROUNDS = 9


def run(items: int = ITEMS) -> None:
    """Print a line for each operation.

    Args:
        items: of the catalogue.
    """
    with tempfile.TemporaryDirectory() as room:
        data = load(_catalogue(Path(room) / "shop", items))
        table = data.item_table
        old = ItemColumns.of(data)
        for name in ("brand", "categories", "price"):
            coded = round(seconds(partial(old.column, name)), 2)
            line("facets", "drawn", {"operation": f"code {name}", "ours_s": coded})
        brand, category = table["brand"][0], table["categories"][0][0]
        filters = {
            "brand": ([Filter("brand", brand)], pl.col("brand") == brand),
            "category": ([Filter("categories", category)], pl.col("categories").list.contains(category)),
            "price range": ([Filter("price", "10..20")], pl.col("price").is_between(10, 20)),
        }
        about = {"title": "new", "brand": brand, "categories": [category], "price": 15}
        new = old.with_items({items + 1 + number: about for number in range(NEW)})
        for name, (conditions, expression) in filters.items():
            assert old.passing(conditions).sum() == table.filter(expression).height
            of_old = partial(old.passing, conditions)
            _compare(f"filter {name}", of_old, partial(table.filter, expression))
            _compare(f"filter {name}, {NEW:,} new items", partial(new.passing, conditions), of_old)
        for share in SHARES:
            _facets(old, table, share)


def _facets(columns: ItemColumns, table: pl.DataFrame, share: float) -> None:
    mask = np.random.default_rng(1).random(columns.size + 1) < share
    mask[0] = False
    rows = pl.Series(mask[1:])
    by_name: dict[str, Callable[[], Any]] = {
        "brand": lambda: table["brand"].filter(rows).value_counts(sort=True).head(50),
        "categories": lambda: table["categories"].filter(rows).explode().value_counts(sort=True).head(50),
        "price": lambda: table["price"].filter(rows).qcut(5, allow_duplicates=True).value_counts(),
    }
    for name, theirs in by_name.items():
        values = facet(columns, name, mask).values
        if name != "price":
            assert [one.count for one in values] == theirs()["count"].to_list()
        _compare(f"facet {name}, {share:.0%} of the items", partial(facet, columns, name, mask), theirs)


def _compare(name: str, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    ours(), theirs()
    figures = paired(lambda: [ours() for _ in range(5)], lambda: [theirs() for _ in range(5)], rounds=_ROUNDS)
    figures = {"ours_ms": round(200 * figures["ours_s"], 3), "theirs_ms": round(200 * figures["theirs_s"], 3)} | {
        "ratio": figures["ratio"]
    }
    line("facets", "drawn", {"operation": name, **figures})


def _catalogue(folder: Path, items: int) -> Path:
    rng = np.random.default_rng(0)

    def drawn(prefix: str, count: int) -> pl.Series:
        numbers = np.minimum(rng.zipf(1.3, count), VALUES)
        return pl.Series([f"{prefix} {n}" for n in range(VALUES + 1)]).gather(numbers)

    categories = pl.DataFrame({f"c{n}": drawn(f"category {n}", items) for n in range(3)})
    table = pl.DataFrame({"item_id": [f"i{n}" for n in range(items)], "brand": drawn("brand", items)}).with_columns(
        title=pl.col("brand") + " thing",
        categories=categories.select(pl.concat_list(pl.all())).to_series(),
        price=pl.Series(rng.lognormal(3, 1, items).round(2)),
    )
    folder.mkdir()
    write_table(table, folder / "items.parquet")
    write_table(pl.DataFrame({"user_id": ["u"]}), folder / "users.parquet")
    time = pl.Datetime("us", "UTC")
    clicks: dict[str, Any] = {"user_id": pl.String, "item_id": pl.String, "event": pl.String, "timestamp": time}
    searches: dict[str, Any] = {"search_id": pl.String, "user_id": pl.String, "query": pl.String, "timestamp": time}
    write_table(pl.DataFrame(schema=clicks), folder / "interactions.parquet")
    write_table(pl.DataFrame(schema={**searches, "clicked": pl.List(pl.String)}), folder / "searches.parquet")
    TextSettings("en").write(folder)
    return folder


if __name__ == "__main__":
    run()
