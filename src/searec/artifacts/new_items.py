"""Records of items that came after the training: what is refused, and their texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from searec.data.dataset import Dataset
from searec.errors import DataError
from searec.text.analysis import item_text


def check_items(records: Sequence[Mapping[str, Any]], data: Dataset, more: Sequence[str] = ()) -> None:
    """Refuse records of new items that cannot be added.

    Args:
        records: of the items.
        data: the dataset of the run.
        more: ids of items that were added before.

    Raises:
        DataError: a record without id or title, or an id that is known, or is in the records twice.
    """
    known = set(data.item_table["item_id"]) | set(more)
    for row, record in enumerate(records):
        missing = [name for name in ("item_id", "title") if not str(record.get(name) or "").strip()]
        if missing:
            raise DataError(f"a new item has no {missing[0]}", where=f"record {row}", got=dict(record))
        if str(record["item_id"]) in known:
            raise DataError(
                "an item of that id is there already",
                where=f"record {row}",
                got=record["item_id"],
                remedy="give it a new id",
            )
        known.add(str(record["item_id"]))


def texts_of(items: pl.DataFrame) -> list[str]:
    """[n] the text of each row of an item table, as `Dataset.item_texts`."""
    return items.select(item_text(items.columns)).to_series().to_list()
