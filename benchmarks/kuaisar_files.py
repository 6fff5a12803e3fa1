"""Files in the shape of the published KuaiSAR set, of any size, from a seed.

Drawn by NumPy, written by Polars in pieces.

The shares are those of KuaiSAR-small (7.5 million rows of the feed, 3.2 million of search, 4.2 million items, 25,877
users). Every
name is one the published description gives; every word, click and time is drawn.

    python benchmarks/kuaisar_files.py OUT [--rows 10000000]
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

FEED_SHARE, ITEMS_A_ROW, ROWS_A_USER = 0.7, 0.4, 400
FIRST_MS, SPAN_MS = 1_684_738_200_000, 9 * 86_400_000
PIECE = 1_000_000
LEVELS = ("first", "second", "third", "fourth")
SOURCES = ["USER_INPUT", "RELATED_SEARCH", "HISTORY", "HOT_SEARCH"]
RESULTS = ["VIDEO"] * 17 + ["USER", "IMAGE_ATLAS", "LIVE"]
BEIJING_MS = 8 * 3_600_000

Rng = np.random.Generator
Ints = NDArray[np.int64]


def write(folder: Path, rows: int, seed: int = 0) -> Path:
    """Write all five files into a new folder; `rows` are those of rec_inter.csv and src_inter.csv together."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    feed = round(rows * FEED_SHARE)
    items, users = max(round(rows * ITEMS_A_ROW), 10), max(rows // ROWS_A_USER, 5)
    _pieces(folder / "rec_inter.csv", feed, lambda _, count: _feed(rng, count, users, items))
    _pieces(folder / "src_inter.csv", rows - feed, lambda first, count: _results(rng, first, count, users, items))
    ids = rng.permutation(items)
    _pieces(folder / "item_features.csv", items, lambda first, count: _items(rng, ids[first : first + count]))
    _users(rng, users).write_csv(folder / "user_features.csv")
    pairs = pl.DataFrame({name: rng.integers(0, users, 600) for name in ("user_id", "user_follow_id")})
    pairs.unique(maintain_order=True).write_csv(folder / "social_network.csv")
    return folder


def _pieces(path: Path, rows: int, make: Callable[[int, int], pl.DataFrame]) -> None:
    with path.open("wb") as file:
        for first in range(0, rows, PIECE):
            make(first, min(PIECE, rows - first)).write_csv(file, include_header=first == 0)


def _skewed(rng: Rng, top: int, count: int) -> Ints:
    return (top * rng.random(count) ** 2).astype(np.int64)


def _beijing(ms: str) -> pl.Expr:
    return (pl.col(ms) + BEIJING_MS).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%d %H:%M:%S")


def _word_lists(rng: Rng, lengths: Ints) -> pl.Series:
    """Lists of word ids as text, "[20, 34, 3]"."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    words = pl.DataFrame({"owner": owner, "word": _skewed(rng, 3_000_000, len(owner))})
    joined = (
        words.group_by("owner", maintain_order=True)
        .agg(pl.col("word").cast(pl.String))
        .select(pl.col("word").list.join(", "))
    )
    there = pl.DataFrame({"place": np.flatnonzero(lengths), "text": joined["word"]})
    places = pl.DataFrame({"place": np.arange(len(lengths))})
    return (
        places.join(there, on="place", how="left", maintain_order="left")
        .select("[" + pl.col("text").fill_null("") + "]")
        .to_series()
    )


def _feed(rng: Rng, count: int, users: int, items: int) -> pl.DataFrame:
    flags = {name: rng.random(count) < share for name, share in (("forward", 0.002), ("like", 0.02), ("follow", 0.004))}
    drawn = {
        "user_id": _skewed(rng, users, count),
        "item_id": _skewed(rng, items, count),
        "duration_ms": rng.integers(3_000, 200_000, count).astype(float),
        "playing_time": rng.integers(0, 200_000, count).astype(float),
        "timestamp": FIRST_MS + np.sort(rng.integers(0, SPAN_MS, count)),
        **{name: flag.astype(np.int8) for name, flag in flags.items()},
        "search_item_related": np.zeros(count, np.int8),
        "search": (rng.random(count) < 0.01).astype(np.int8),
        "click": (rng.random(count) < 0.5).astype(np.int8),
    }
    return pl.DataFrame(drawn).with_columns(_beijing("timestamp").alias("time"))


def _results(rng: Rng, first: int, count: int, users: int, items: int) -> pl.DataFrame:
    """Results of searches of one to fifteen each; some are shown twice."""
    sizes = rng.integers(1, 16, count)
    sizes = sizes[: np.searchsorted(np.cumsum(sizes), count) + 1]
    session = np.repeat(np.arange(len(sizes)), sizes)[:count]
    asked = pl.DataFrame(
        {
            "keyword": _word_lists(rng, rng.integers(1, 5, len(sizes))),
            "user_id": _skewed(rng, users, len(sizes)),
            "search_session_timestamp": FIRST_MS + np.sort(rng.integers(0, SPAN_MS, len(sizes))),
            "search_source": rng.choice(SOURCES, len(sizes)),
        }
    )
    shown = _skewed(rng, items, count)
    again = rng.random(count) < 0.002
    shown[1:] = np.where(again[1:], shown[:-1], shown[1:])
    drawn = asked[session].with_columns(
        item_id=pl.Series(shown),
        click_cnt=pl.Series((rng.random(count) < 0.1).astype(np.int8)),
        search_session_id=pl.Series(first + session),
        item_type=pl.Series(rng.choice(RESULTS, count)),
        search_session_time=_beijing("search_session_timestamp"),
    )
    order = ["keyword", "item_id", "click_cnt", "search_session_id", "item_type", "user_id", "search_session_timestamp"]
    return drawn.select(*order, "search_source", "search_session_time")


def _items(rng: Rng, ids: Ints) -> pl.DataFrame:
    count = len(ids)
    depth = rng.choice(5, count, p=[0.2, 0.1, 0.3, 0.3, 0.1])
    branch = rng.integers(0, 40, count)
    named: list[pl.Expr] = []
    for level, name in enumerate(LEVELS):
        there = pl.col("depth") > level
        number = pl.col("branch") * (level + 1) + level * 40
        named.append(pl.when(there).then(number).otherwise(0).alias(f"{name}_level_category_id"))
        named.append(
            pl.when(there)
            .then(pl.format("类别{}", number))
            .otherwise(pl.lit("空"))
            .alias(f"{name}_level_category_name")
        )
    for level, name in enumerate(LEVELS):
        number = pl.col("branch") * (level + 1) + level * 40
        text = pl.when(pl.col("depth") > level).then(pl.format("Category {}", number)).otherwise(pl.lit("empty"))
        named.append(text.alias(f"{name}_level_category_name_en"))
    drawn = pl.DataFrame(
        {
            "item_id": ids,
            "caption": _word_lists(rng, rng.integers(0, 20, count)),
            "author_id": rng.integers(0, count // 4 + 2, count),
            "item_type": rng.choice(["NORMAL", "AD", "UNKNOWN"], count, p=[0.9, 0.02, 0.08]),
            "upload_time": pl.Series(19_300 + rng.integers(0, 200, count)).cast(pl.Date),
            "upload_type": rng.choice(["ShortImport", "LongImport", "ShortCamera", "UNKNOWN"], count),
            "music_id": rng.integers(0, 1_000_000, count),
            "depth": depth,
            "branch": branch,
        }
    )
    return drawn.with_columns(named).drop("depth", "branch")


def _users(rng: Rng, users: int) -> pl.DataFrame:
    tops = {"onehot_feat1": 8, "onehot_feat2": 3, "search_active_level": 6, "reco_active_level": 6}
    return pl.DataFrame(
        {"user_id": np.arange(users), **{name: rng.integers(0, top, users) for name, top in tops.items()}}
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of rec_inter.csv and src_inter.csv together")
    options = parser.parse_args()
    write(options.out, options.rows)
