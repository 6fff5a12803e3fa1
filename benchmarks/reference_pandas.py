"""The plain-pandas way from a dataset folder to encoded arrays: read, check, merge, sort, group.

What a careful pandas user writes: whole columns where pandas has them, `explode` for lists, text through `.str`. The
rules, the order of ids and the names of the arrays are searec's, so that the results can be compared value by value.

    python benchmarks/reference_pandas.py --data DATA
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
FEED, SEARCH = 0, 1
EPOCH = pd.Timestamp(0, tz="UTC")


def encode(folder: Path | str) -> Arrays:
    """Every array of the encoding by name, "interactions.offsets" [U + 2], "interactions.item" [E] and so on.

    Raises:
        ValueError: rows that break a rule, counted, with the first of them.
    """
    folder = Path(folder)
    users = pd.read_parquet(folder / "users.parquet").sort_values("user_id", ignore_index=True)
    items = pd.read_parquet(folder / "items.parquet").sort_values("item_id", ignore_index=True)
    interactions = pd.read_parquet(
        folder / "interactions.parquet", columns=["user_id", "item_id", "timestamp", "event"]
    )
    searches = pd.read_parquet(
        folder / "searches.parquet", columns=["search_id", "user_id", "query", "timestamp", "clicked"]
    )

    refuse("users", {"empty user_id": blank(users["user_id"]), "duplicate user_id": users["user_id"].duplicated()})
    item_rules = {
        "empty item_id": blank(items["item_id"]),
        "duplicate item_id": items["item_id"].duplicated(),
        "empty title": blank(items["title"]),
    }
    refuse("items", item_rules)
    user_ids, item_ids = pd.Index(users["user_id"]), pd.Index(items["item_id"])

    arrays, feed = encode_interactions(interactions, user_ids, item_ids)
    more, sessions, clicks = encode_searches(searches, user_ids, item_ids)
    arrays |= more

    found = clicks.merge(sessions[["user", "time", "session"]], on="session", how="left").sort_values(
        "session", kind="stable"
    )
    feed_clicks = feed[["user", "time", "item"]].assign(source=np.int8(FEED))
    search_clicks = found[["user", "time", "item"]].assign(source=np.int8(SEARCH))
    click_history = pd.concat([feed_clicks, search_clicks], ignore_index=True).sort_values(
        ["user", "time"], kind="stable"
    )
    arrays["click_history.offsets"] = offsets_of(click_history["user"], len(user_ids))
    for name in ("item", "time", "source"):
        arrays[f"click_history.{name}"] = click_history[name].to_numpy()

    queries = pd.Series(sessions.attrs["queries"])
    item_words = words_of(item_text(items)).explode().dropna()
    query_words = words_of(queries).explode().dropna()
    codes, _ = pd.factorize(pd.concat([item_words, query_words]), sort=True)
    arrays |= coded_lists("item_words", item_words.index, codes[: len(item_words)], len(items))
    arrays |= coded_lists("query_words", query_words.index, codes[len(item_words) :], len(queries))
    categories = (
        items["categories"].explode().dropna()
        if "categories" in items
        else pd.Series([], dtype=str, index=pd.RangeIndex(0))
    )
    arrays |= coded_lists("item_categories", categories.index, pd.factorize(categories, sort=True)[0], len(items))
    return arrays


def encode_interactions(
    interactions: pd.DataFrame, user_ids: pd.Index, item_ids: pd.Index
) -> tuple[Arrays, pd.DataFrame]:
    """Feed events by user, oldest first; the arrays and the sorted table."""
    feed = pd.DataFrame(
        {"user": inside(interactions["user_id"], user_ids), "item": inside(interactions["item_id"], item_ids)}
    )
    refuse(
        "interactions",
        {
            "unknown user": feed["user"] == 0,
            "unknown item": feed["item"] == 0,
            "no valid time": bad_time(interactions["timestamp"]),
            "empty event": blank(interactions["event"]),
            "duplicate row": feed.assign(time=interactions["timestamp"], event=interactions["event"]).duplicated(),
        },
    )
    feed["time"] = microseconds(interactions["timestamp"])
    feed["event"] = interactions["event"].astype("category").cat.codes.astype(np.int16)
    feed = feed.sort_values(["user", "time", "item", "event"])
    arrays = {f"interactions.{name}": feed[name].to_numpy() for name in ("item", "time", "event")}
    arrays["interactions.offsets"] = offsets_of(feed["user"], len(user_ids))
    return arrays, feed


def encode_searches(
    searches: pd.DataFrame, user_ids: pd.Index, item_ids: pd.Index
) -> tuple[Arrays, pd.DataFrame, pd.DataFrame]:
    """Sessions by user, oldest first, with their clicks; the arrays, the sorted sessions and the clicks one a row."""
    sessions = pd.DataFrame({"user": inside(searches["user_id"], user_ids)})
    clicked = searches.loc[searches["clicked"].str.len() > 0, "clicked"].explode()
    clicked_item = inside(clicked, item_ids)
    refuse(
        "searches",
        {
            "unknown user": sessions["user"] == 0,
            "empty query": blank(searches["query"]),
            "unknown clicked item": pd.Series(searches.index.isin(clicked.index[clicked_item == 0])),
            "no valid time": bad_time(searches["timestamp"]),
            "duplicate search_id": searches["search_id"].duplicated(),
            "empty search_id": blank(searches["search_id"]),
        },
    )
    codes, texts = pd.factorize(searches["query"], sort=True)
    sessions["query"] = (codes + 1).astype(np.int32)
    sessions["time"] = microseconds(searches["timestamp"])
    sessions["search_id"] = searches["search_id"]
    sessions = sessions.sort_values(["user", "time", "search_id"])
    sessions["session"] = np.arange(len(sessions))
    sessions.attrs["queries"] = texts
    clicks = pd.DataFrame({"session": sessions["session"].reindex(clicked.index).to_numpy(), "item": clicked_item})
    clicks = clicks.sort_values("session", kind="stable")
    arrays = {f"searches.{name}": sessions[name].to_numpy() for name in ("query", "time")}
    arrays["searches.offsets"] = offsets_of(sessions["user"], len(user_ids))
    counts = clicks.groupby("session").size().reindex(range(len(sessions)), fill_value=0)
    arrays["searches.clicked.offsets"] = np.concatenate(([0], counts.cumsum()))
    arrays["searches.clicked"] = clicks["item"].to_numpy()
    return arrays, sessions, clicks


def save(arrays: Arrays, folder: Path) -> None:
    """Write each array as <name>.npy, as searec's own encoding does."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def refuse(table: str, rules: dict[str, pd.Series]) -> None:
    """Raise if any row breaks a rule, naming the first rows (1-based)."""
    broken = [
        f"{rule}: {mask.sum()} rows, first {(np.flatnonzero(mask)[:5] + 1).tolist()}"
        for rule, mask in rules.items()
        if mask.any()
    ]
    if broken:
        raise ValueError(f"{table}: " + "; ".join(broken))


def blank(column: pd.Series) -> pd.Series:
    """True where a text is missing or has no character."""
    return column.isna() | (column.str.strip() == "")


def bad_time(column: pd.Series) -> pd.Series:
    """True where a time is missing, before 1970 or to come."""
    return ~column.between(EPOCH, pd.Timestamp.now(tz="UTC"))


def microseconds(column: pd.Series) -> NDArray[np.int64]:
    """Microseconds since 1970."""
    return np.asarray(column.dt.tz_localize(None).astype("datetime64[us]"), dtype=np.int64)


def inside(column: pd.Series, ids: pd.Index) -> NDArray[np.int32]:
    """Ids 1..N in the order of the sorted table; 0 where unknown."""
    return np.asarray(ids.get_indexer(column) + 1, dtype=np.int32)


def offsets_of(user: pd.Series, users: int) -> NDArray[np.int64]:
    """[U + 2] CSR offsets of a sorted user column."""
    counts = user.value_counts().reindex(range(users + 1), fill_value=0)
    return np.concatenate(([0], counts.cumsum()))


def item_text(items: pd.DataFrame) -> pd.Series:
    """Title, brand, categories and description as one text, from the columns that exist."""
    text = items["title"].astype(str)
    for name in ("brand", "categories", "description"):
        if name in items:
            part = items[name].map(join_present) if name == "categories" else items[name]
            text = (text + " " + part.fillna("")).str.strip()
    return text


def join_present(names: Any) -> str:
    """A list of texts as one text, nulls left out."""
    return " ".join(name for name in names if name is not None) if names is not None else ""


def words_of(text: pd.Series) -> pd.Series:
    """Lists of lower-case words; apostrophes are closed up. Equal to those of searec for texts of plain words."""
    return text.str.lower().str.replace(r"['’]", "", regex=True).str.findall(r"[^\W_]+")


def coded_lists(name: str, owner: pd.Index, codes: NDArray[np.int64], rows: int) -> Arrays:
    """Offsets [rows + 2] and 1-based codes of lists one value a row; row 0 is empty."""
    counts = pd.Series(owner).value_counts().reindex(range(rows), fill_value=0)
    return {f"{name}.offsets": np.concatenate(([0, 0], counts.cumsum())), name: (codes + 1).astype(np.int32)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    options = parser.parse_args()
    began = time.perf_counter()
    made = encode(options.data)
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {"what": "encode, pandas", "seconds": round(seconds, 3), "values": sum(a.size for a in made.values())}
        )
    )
