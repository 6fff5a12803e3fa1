"""A folder of plain files to a dataset folder, by pandas: reference_pandas_plain.py csv|jsonl SRC OUT."""

import sys
from pathlib import Path

import pandas as pd


def main() -> None:
    """Read items and interactions, check their ids and times, leave out repeats, write the four tables."""
    form, src, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    out.mkdir(parents=True)
    items, events = (read(form, src / f"{table}.{form}") for table in ("items", "interactions"))
    events["timestamp"] = pd.to_datetime(events["timestamp"], format="ISO8601", utc=True).astype("datetime64[us, UTC]")
    items = items[items["title"].str.strip() != ""].drop_duplicates("item_id")
    users = pd.DataFrame({"user_id": events["user_id"].unique()})
    sound = events["item_id"].isin(items["item_id"]) & events["timestamp"].notna() & (events["event"].str.strip() != "")
    searches = {"search_id": "str", "user_id": "str", "query": "str", "timestamp": "datetime64[us, UTC]"}
    tables = {
        "items": items,
        "users": users,
        "interactions": events[sound].drop_duplicates(["user_id", "item_id", "timestamp", "event"]),
        "searches": pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in searches.items()}),
    }
    for name, table in tables.items():
        table.to_parquet(out / f"{name}.parquet", index=False)


def read(form: str, path: Path) -> pd.DataFrame:
    """One file, every column text."""
    if form == "csv":
        return pd.read_csv(path, dtype=str)
    return pd.read_json(path, lines=True, dtype=False, convert_dates=False)


if __name__ == "__main__":
    main()
