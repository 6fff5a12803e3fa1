"""Dataset folders of a few titles and searches, for tests of search."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from searec.data.dataset import Dataset, load
from searec.data.text_settings import TextSettings

TIME = pl.Datetime("us", "UTC")
START = datetime(2024, 1, 1, tzinfo=UTC)


def catalogue(
    folder: Path,
    items: Sequence[str | dict[str, Any]],
    searches: Sequence[tuple[str, str, Sequence[int]]] = (),
    language: str = "en",
) -> Dataset:
    """A dataset of items i1, i2...: titles or columns; searches are (user, query, numbers of clicked items)."""
    folder.mkdir(parents=True)
    columns = [{"title": item} if isinstance(item, str) else item for item in items]
    rows = [{"item_id": f"i{number:03}", **item} for number, item in enumerate(columns, start=1)]
    pl.DataFrame(rows).write_parquet(folder / "items.parquet")
    users = sorted({"u1", *(user for user, _, _ in searches)})
    pl.DataFrame({"user_id": users}).write_parquet(folder / "users.parquet")
    schema = {"user_id": pl.String, "item_id": pl.String, "event": pl.String, "timestamp": TIME}
    pl.DataFrame(schema=schema).write_parquet(folder / "interactions.parquet")
    of_searches = [
        (f"s{place}", user, query, START + timedelta(minutes=place), [f"i{number:03}" for number in clicked])
        for place, (user, query, clicked) in enumerate(searches)
    ]
    names = {"search_id": pl.String, "user_id": pl.String, "query": pl.String, "timestamp": TIME}
    frame = pl.DataFrame(of_searches, schema={**names, "clicked": pl.List(pl.String)}, orient="row")
    frame.write_parquet(folder / "searches.parquet")
    TextSettings(language).write(folder)
    return load(folder)
