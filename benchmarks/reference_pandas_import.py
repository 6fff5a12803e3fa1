"""The plain-pandas way from KuaiSAR's files to a dataset folder.

Whole columns, the same decisions, the same four tables.

What a careful pandas user writes: only the columns that are used, times and numbers parsed by `read_csv`, lists by
`groupby`. It takes
the files as generated (no row that breaks a rule is expected) and checks the rules at the end.

    python benchmarks/reference_pandas_import.py SRC OUT
"""

import argparse
from pathlib import Path

import pandas as pd

LEVELS = ("first", "second", "third", "fourth")
NO_NAME = {"", "empty", "空", "UNKNOWN", "Unknown", "unknown", "null", "nan", "-124"}
KEPT = {"author_id": "0", "item_type": None, "upload_time": "1970-01-01", "upload_type": None, "music_id": "0"}


def convert(src: Path, out: Path) -> None:
    """Write items, users, interactions and searches of a KuaiSAR folder as Parquet.

    Raises:
        ValueError: a row that breaks a rule of the dataset folder.
    """
    out.mkdir(parents=True)
    interactions = feed(src / "rec_inter.csv")
    searches = sessions(src / "src_inter.csv")
    known = items(src / "item_features.csv")
    users = pd.read_csv(src / "user_features.csv", dtype=str, keep_default_na=False)
    pairs = pd.read_csv(src / "social_network.csv", dtype=str).drop_duplicates()
    follows = pairs.groupby("user_id", sort=False)["user_follow_id"].agg(list).rename("follows")
    users = users.join(follows, on="user_id")
    refuse(known, users, interactions, searches)
    known.to_parquet(out / "items.parquet", index=False)
    users.to_parquet(out / "users.parquet", index=False)
    interactions.to_parquet(out / "interactions.parquet", index=False)
    searches.to_parquet(out / "searches.parquet", index=False)


def feed(path: Path) -> pd.DataFrame:
    """Clicks, once each."""
    columns = {"user_id": str, "item_id": str, "timestamp": "float64", "click": "int8"}
    rows = pd.read_csv(path, usecols=list(columns), dtype=columns)
    rows = rows[rows["click"] > 0].drop(columns="click")
    rows["timestamp"] = utc(rows["timestamp"])
    rows["event"] = "click"
    return rows.drop_duplicates(["user_id", "item_id", "timestamp"])[["user_id", "item_id", "timestamp", "event"]]


def sessions(path: Path) -> pd.DataFrame:
    """Searches, from results that stand one a row."""
    columns = {
        "keyword": str,
        "item_id": str,
        "click_cnt": "int16",
        "search_session_id": str,
        "user_id": str,
        "search_session_timestamp": "float64",
    }
    rows = pd.read_csv(path, usecols=list(columns), dtype=columns)
    key = ["user_id", "search_session_id", "keyword", "search_session_timestamp"]
    asked = rows[key].drop_duplicates().reset_index(drop=True)
    place = rows.groupby(key, sort=False).ngroup()
    shown = pd.DataFrame({"place": place, "item": rows["item_id"], "clicked": rows["click_cnt"] > 0})
    lists = [listed(shown, len(asked)), listed(shown[shown["clicked"]], len(asked))]
    return pd.DataFrame(
        {
            "search_id": asked["user_id"] + "-" + asked["search_session_id"],
            "user_id": asked["user_id"],
            "query": words(asked["keyword"]),
            "timestamp": utc(asked["search_session_timestamp"]),
            "clicked": lists[1],
            "shown": lists[0],
        }
    )


def listed(rows: pd.DataFrame, count: int) -> pd.Series:
    """The items of each place, once each, in order of the rows."""
    once = rows.drop_duplicates(["place", "item"])
    return (
        once.groupby("place", sort=False)["item"]
        .agg(list)
        .reindex(range(count))
        .map(lambda there: there if isinstance(there, list) else [])
    )


def items(path: Path) -> pd.DataFrame:
    """The catalogue: captions are titles, named levels are categories."""
    names = [f"{level}_level_category_name{language}" for level in LEVELS for language in ("_en", "")]
    table = pd.read_csv(path, usecols=["item_id", "caption", *KEPT, *names], dtype=str, keep_default_na=False)
    levels = []
    for level in LEVELS:
        english, other = table[f"{level}_level_category_name_en"], table[f"{level}_level_category_name"]
        levels.append(english.where(~english.isin(NO_NAME), other.where(~other.isin(NO_NAME))))
    named = pd.concat(levels, axis=1).stack().dropna()
    categories = named.groupby(level=0, sort=False).agg(list).reindex(table.index)
    made = pd.DataFrame({"item_id": table["item_id"]})
    title = words(table["caption"])
    narrowest = categories.str[-1]
    made["title"] = title.where(title != "w", narrowest.where(narrowest.notna(), "item " + table["item_id"]))
    made["categories"] = categories.map(lambda there: there if isinstance(there, list) else [])
    for name, padding in KEPT.items():
        made[name] = table[name] if padding is None else table[name].where(table[name] != padding)
    return made


def words(lists: pd.Series) -> pd.Series:
    """ "[20, 34]" as "w20 w34"; an empty list is "w"."""
    return "w" + lists.str.strip("[]").str.replace(", ", " w", regex=False)


def utc(milliseconds: pd.Series) -> pd.Series:
    """Times in UTC, in microseconds."""
    return pd.to_datetime(milliseconds.astype("int64"), unit="ms", utc=True).astype("datetime64[us, UTC]")


def refuse(known: pd.DataFrame, users: pd.DataFrame, interactions: pd.DataFrame, searches: pd.DataFrame) -> None:
    """Check the rules of the dataset folder."""
    now = pd.Timestamp.now(tz="UTC")
    items_there, users_there = pd.Index(known["item_id"]), pd.Index(users["user_id"])
    broken = {
        "item_id": known["item_id"].duplicated().any() or (known["item_id"] == "").any(),
        "title": (known["title"].str.strip() == "").any(),
        "user_id": users["user_id"].duplicated().any() or (users["user_id"] == "").any(),
        "unknown user": not (
            interactions["user_id"].isin(users_there).all() and searches["user_id"].isin(users_there).all()
        ),
        "unknown item": not interactions["item_id"].isin(items_there).all(),
        "unknown clicked item": not searches["clicked"].explode().dropna().isin(items_there).all(),
        "time": (interactions["timestamp"] > now).any() or (searches["timestamp"] > now).any(),
        "query": (searches["query"].str.strip() == "w").any(),
        "search_id": searches["search_id"].duplicated().any(),
        "duplicate row": interactions.duplicated().any(),
    }
    rules = [rule for rule, found in broken.items() if found]
    if rules:
        raise ValueError(f"rows break a rule: {', '.join(rules)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("src", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    convert(options.src, options.out)
