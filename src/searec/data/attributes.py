"""Attributes of users as numbers: one for each value of each column of the user table."""

import numpy as np
import polars as pl

from searec.data.dataset import Dataset
from searec.data.ragged import Ints


def user_attributes(data: Dataset) -> tuple[pl.Series, Ints]:
    """Return the names of all values, and which of them each user has.

    Returns:
        [A] "column=value", by column and value, numbered from 1; [U + 1, columns] int32 their numbers, 0 where unknown.
    """
    table = data.user_table
    columns, names = [], list[str]()
    for name in table.columns:
        if name == "user_id":
            continue
        values = table[name].cast(pl.String, strict=False)
        codes = values.rank("dense").fill_null(0).cast(pl.Int32).to_numpy()
        columns.append(np.where(codes > 0, codes + len(names), 0))
        names += [f"{name}={value}" for value in values.drop_nulls().unique().sort().to_list()]
    rows = np.stack(columns, axis=1) if columns else np.zeros((table.height, 0), dtype=np.int32)
    return pl.Series("attribute", names, dtype=pl.String), np.concatenate((np.zeros_like(rows[:1]), rows)).astype(
        np.int32
    )
