"""A small source of each public format, as published, and how to count the records of its files."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl

from fuzz_driver import Count

_NOTES = {"note_idx": [5, 6, 7], "note_title": ["a", "b", ""], "note_content": ["", "", "text"]}


def lines(path: Path) -> int:
    """Lines that hold something."""
    return sum(1 for line in path.read_bytes().split(b"\n") if line.strip(b" \t\r\xef\xbb\xbf"))


def records(path: Path) -> int:
    """Records of a CSV file with a header."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return sum(1 for row in csv.reader(file) if row) - 1


def objects(path: Path) -> int | None:
    """Elements of a JSON array, or lines; None for an array that is broken."""
    text = path.read_text("utf-8-sig")
    if not text.lstrip().startswith("["):
        return lines(path)
    try:
        return len(json.loads(text))
    except ValueError:
        return None


def rows(path: Path) -> int:
    """Rows of a Parquet file."""
    return pl.read_parquet(path).height


def atoms(path: Path) -> int:
    """Lines below the header."""
    return lines(path) - 1


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def movielens_100k(folder: Path) -> Path:
    """100k: twelve ratings of two users."""
    ratings = "".join(f"{1 + n % 2}\t{1 + n % 3}\t3\t{874724710 + 60 * n}\n" for n in range(12))
    genres = "0|" * 18 + "1"
    films = "".join(f"{n}|Film {n} (1995)|01-Jan-1995||http://x|{genres}\n" for n in (1, 2))
    return _write(folder, u__data=ratings, u__item=films, u__user="1|24|M|technician|85711\n2|53|F|other|94043\n")


def movielens_latest(folder: Path) -> Path:
    """latest-small, with tags and links."""
    return _write(
        folder,
        ratings__csv="userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,11,0.5,964981247\n2,1,3.0,964982224\n",
        movies__csv='movieId,title,genres\n1,Toy Story (1995),Comedy\n11,"President, The (1995)",Drama|Romance\n',
        tags__csv='userId,movieId,tag,timestamp\n2,1,pixar,1445714994\n2,1,pixar,1445714994\n1,11," ",1445714995\n'
        '1,9,"a ""b"", c",1445714996\n',
        links__csv="movieId,imdbId,tmdbId\n1,0114709,862\n1,0114709,862\n99,0112346,\n",
    )


def recbole(folder: Path) -> Path:
    """Three atomic files; an extra column has the name of a column that searec used."""
    return _write(
        folder,
        **{
            f"{folder.name}__inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "196\t242\t3\t881250949\n186\t302\t3\t891717742\n22\t377\t1\t878887116\n\n22\t377\t2\t878887116\n",
            f"{folder.name}__item": "item_id:token\tmovie_title:token_seq\tprice:float\t__row:token\n"
            "242\tKolya\t$3\tx\n302\tL.A. Confidential\t4\t\n",
            f"{folder.name}__user": "user_id:token\tage:token\t__file:token\trow:float\n196\t49\tM\t1\n186\t39\tF\t2\n",
        },
    )


def ubi(folder: Path) -> Path:
    """Queries, events and a bulk action; one line after a tab, one half of a surrogate pair."""
    written = [
        '{"index": {"_index": "ubi_queries"}}',
        '{"query_id": "q1", "user_query": "bag", "client_id": "c1", "timestamp": 1717527761998, '
        '"query_response_object_ids": ["a", "b"]}',
        '{"query_id": "q1", "user_query": "bag", "client_id": "c1", "timestamp": 1717527761999}',
        'ubi_events\t{"query_id": "q1", "client_id": "c1", "action_name": "click", "timestamp": 1717527762025, '
        '"event_attributes": {"object": {"object_id": "a", "description": "Bag \\ud83d"}}}',
        '{"query_id": "q1", "client_id": "c2", "action_name": "click", "timestamp": 1717527762026, '
        '"event_attributes": {"object": {"object_id": "b"}}}',
        '{"client_id": "c1", "action_name": "dislike", "timestamp": "2024-06-05T10:00:00Z", '
        '"event_attributes": {"object": {"object_id": "c"}}}',
        '{"client_id": "c1", "action_name": "page_exit", "timestamp": "2024-06-05T10:00:01Z"}',
        '{"query_id": "q2", "user_query": " ", "client_id": "c1", "timestamp": 1717527761998}',
        '{"query_id": "q1", "client_id": "c1", "action_name": "user_feedback", "message": "Relevance: no", '
        '"timestamp": 1717527762030, "event_attributes": {"object": {"object_id": "b"}}}',
        '{"broken": ',
    ]
    return _write(folder, log__ndjson="".join(f"{line}\n" for line in written))


def amazon(folder: Path) -> Path:
    """2018, reviews as an array."""
    reviews = [
        {"reviewerID": user, "asin": item, "unixReviewTime": 1441324800 + n}
        for n, (user, item) in enumerate([("U", "A"), ("V", "A"), ("U", "B"), ("V", "C")])
    ]
    meta = [
        {"asin": "A", "title": "t", "category": ["Toys", "Games"], "main_cat": "Toys", "brand": "", "price": ""},
        {"asin": "B", "title": "s", "category": ["Toys", "Puzzles"], "brand": "x", "price": "$3"},
        {"asin": "B", "title": "again"},
        {"asin": "Z", "title": "not reviewed"},
    ]
    return _write(
        folder,
        X_5__json="[" + ",\n".join(map(json.dumps, reviews)) + "]",
        meta_X__json="".join(json.dumps(item) + "\n" for item in meta),
    )


def amazon_ratings(folder: Path) -> Path:
    """2018, ratings alone; items as Python literals."""
    return _write(
        folder,
        X__csv="A,U,5.0,1441324800\nA,V,4.0,1441324801\n\nB,U,3.0,1441324802\n",
        meta_X__json="{'asin': 'A', 'title': 'it\\'s'}\n{\"asin\": \"B\", \"title\": \"b\"}\n",
    )


def qilin(folder: Path) -> Path:
    """Two searches, one with a result that was clicked hours later, and a request without a click."""
    folder.mkdir(parents=True)

    def result(name: str, note: int, position: int, time: int, click: int) -> dict[str, float]:
        return {
            **{"note_idx": note, "position": position, name: time, "click": click},
            **dict.fromkeys(("like", "collect", "comment", "share"), 0),
        }

    late = [result("search_timestamp", 6, 1, 1732735658, 0), result("search_timestamp", 5, 2, 1732749914, 1)]
    fed = [[result("request_timestamp", 5, 1, 1732300000, 1)], [result("request_timestamp", 6, 1, 1732300009, 0)]]
    blank = [result("search_timestamp", 9, 1, 1732735659, 1)]
    tables = {
        "notes": _NOTES,
        "user_feat": {"user_idx": [7], "gender": ["f"], "__row": [1], "row": [2]},
        "recommendation_train": {"request_idx": [1, 2], "user_idx": [7, 8], "rec_result_details_with_idx": fed},
        "search_train": {
            **{"query": ["q", "", "r"], "search_idx": [1, 2, 3], "user_idx": [7, 7, 8]},
            "search_result_details_with_idx": [late, blank, blank],
        },
    }
    for name, columns in tables.items():
        pl.DataFrame(columns, strict=False).write_parquet(folder / f"{name}.parquet")
    return folder


def kuaisar(folder: Path) -> Path:
    """Five files; an item has a column that searec uses, and one of its own helpers."""
    levels = ("first", "second", "third", "fourth")
    names = ",".join(f"{level}_level_category_name" for level in levels)
    return _write(
        folder,
        rec_inter__csv="user_id,item_id,timestamp,click,time\n0,7,1684742000000.0,1,2023-05-22 15:53:20\n"
        "0,8,1684742000000.0,0,2023-05-22 15:53:20\n0,7,1684742000000.0,1,2023-05-22 15:53:20\n"
        "1,9,,1,2023-06-01 00:30:00\n",
        src_inter__csv="keyword,item_id,click_cnt,search_session_id,user_id,search_session_timestamp,"
        'search_session_time\n"[20, 34]",9,0,1,1,1684763932919,2023-05-22 21:58:52\n'
        '"[20, 34]",7,2,1,1,1684763932919,2023-05-22 21:58:52\n[5],,0,2,2,1684763940000,2023-05-22 21:59:00\n',
        item_features__csv=f"item_id,caption,{names},title,words,__row\n"
        '7,"[1, 213]",Fun,空,空,空,t,w,r\n8,[],Fun,Joke,空,空,t,w,r\n',
        user_features__csv="user_id,onehot_feat1,follows,__file\n0,1,x,y\n1,2,x,y\n",
        social_network__csv="user_id,user_follow_id\n0,1\n0,1\n1,\n",
    )


SOURCES: dict[str, tuple[str, Callable[[Path], Path], dict[str, Count]]] = {
    "movielens-100k": ("movielens", movielens_100k, {".data": lines, ".item": lines, ".user": lines}),
    "movielens-latest": ("movielens", movielens_latest, {".csv": records}),
    "recbole": ("recbole", recbole, {".inter": atoms, ".item": atoms, ".user": atoms}),
    "ubi": ("ubi", ubi, {".ndjson": lines}),
    "amazon": ("amazon", amazon, {".json": objects}),
    "amazon-ratings": ("amazon", amazon_ratings, {".csv": lines, ".json": objects}),
    "qilin": ("qilin", qilin, {".parquet": rows}),
    "kuaisar": ("kuaisar", kuaisar, {".csv": records}),
}
"""Name -> format, what writes the source, and a count for each ending of its files."""
