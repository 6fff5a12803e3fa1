"""Suggestions at each key stroke, over a million titles and 100,000 queries, beside sqlite FTS5 and a plain bisect.

python benchmarks/bench_suggest.py DATASET     when logged queries are suggested, typed rightly and with a typo
"""

import bisect
import itertools
import random
import sqlite3
import string
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from searec.data.dataset import load
from searec.data.user_history import UserHistory
from searec.interests.user_interests import UserInterests
from searec.pipeline.catalog_snapshot import CatalogBase, CatalogSnapshot
from searec.pipeline.histories import UserContext
from searec.pipeline.suggestions import Suggester, queries_of_several
from searec.search.completions import CompletionIndex
from searec.text.analyser import analyser
from timing import in_child, line

TITLES, QUERIES, WORDS, TYPED = 1_000_000, 100_000, 200_000, 150
K, REQUESTS = 8, 400
_NONE = np.zeros(0, dtype=np.int64)
NOBODY = UserContext(None, UserHistory(), _NONE, _NONE, _NONE)


def run() -> None:
    """Print one line."""
    (build_s, index_mib), _, _ = in_child(_built)
    data, catalog = _shop()
    suggester = Suggester(data)
    titles = data.item_table["title"]
    keys = [str(titles[row])[:end] for row in random.Random(1).sample(range(TITLES), TYPED) for end in range(1, 25)]
    started = time.perf_counter()
    base = _fts(titles, np.bincount(data.click_history.item, minlength=TITLES + 1)[1:])
    fts_build = time.perf_counter() - started
    texts = sorted(titles.to_list())
    ours = _times(lambda typed: suggester.suggest(NOBODY, (), UserInterests(), catalog, typed, K), keys)
    fts = _times(lambda typed: _fts_best(base, typed), keys)
    plain = _times(lambda typed: _bisected(texts, typed), keys)
    figures = {f"{name}_{key}": value for name, one in _sides(ours, fts, plain) for key, value in one.items()}
    figures["ratio"] = round(fts["p99_cpu_ms"] / ours["p99_cpu_ms"], 2)
    line(
        "8 suggestions for each letter typed, against sqlite FTS5 and against a bisect of whole titles",
        f"{TITLES} titles",
        {**figures, "build_s": build_s, "fts_build_s": round(fts_build, 1), "index_mib": index_mib},
    )


def _sides(*figures: dict[str, float]) -> list[tuple[str, dict[str, float]]]:
    return list(zip(("ours", "fts5", "bisect"), figures, strict=True))


def _shop() -> tuple[Any, Any]:
    """Titles of seven words, and queries of two, of words as frequent as words are; clicks likewise."""
    rng = np.random.default_rng(0)
    letters = list(string.ascii_lowercase)
    frequency = np.array([8, 1, 3, 4, 12, 2, 2, 6, 7, 1, 1, 4, 2, 7, 8, 2, 1, 6, 6, 9, 3, 1, 2, 1, 2, 1]) / 102
    words = pl.Series(
        ["".join(rng.choice(letters, length, p=frequency)) for length in rng.integers(3, 10, WORDS)], dtype=pl.String
    )
    chance = 1 / np.arange(1, WORDS + 1) ** 0.9

    def texts(count: int, length: int) -> pl.Series:
        drawn = rng.choice(WORDS, (count, length), p=chance / chance.sum())
        columns = [words.gather(drawn[:, place]).alias(str(place)) for place in range(length)]
        return pl.DataFrame(columns).select(pl.concat_str(pl.all(), separator=" ")).to_series()

    titles, queries = texts(TITLES, 7), texts(QUERIES, 2)
    asked = np.sort(np.tile(np.arange(1, QUERIES + 1), 2))
    users = np.argsort(np.tile([0, 1], QUERIES), kind="stable")
    data = SimpleNamespace(
        sizes=SimpleNamespace(items=TITLES),
        item_table=pl.DataFrame({"title": titles}),
        click_history=SimpleNamespace(item=rng.zipf(1.3, 2_000_000).clip(max=TITLES)),
        searches=SimpleNamespace(query=asked[users], offsets=np.array([0, QUERIES, 2 * QUERIES])),
        queries=SimpleNamespace(texts=queries),
        analyser=analyser("en"),
    )
    catalog = SimpleNamespace(
        new=[],
        changed={},
        unavailable=np.zeros(TITLES + 1, dtype=bool),
        titles=lambda items: titles.gather(items - 1).to_list(),
        items=lambda items: [str(item) for item in items],
    )
    return data, catalog


def _built() -> tuple[float, float]:
    """Seconds and MiB of the index of the titles."""
    data, _ = _shop()
    titles, clicks = data.item_table["title"], np.bincount(data.click_history.item, minlength=TITLES + 1)[1:]
    before, started = _resident(), time.perf_counter()
    index = CompletionIndex(titles, clicks)
    seconds = time.perf_counter() - started
    assert len(index)
    return round(seconds, 1), round(_resident() - before)


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def _fts(titles: pl.Series, clicks: np.ndarray) -> sqlite3.Connection:
    """The titles in the order of their clicks, so that the first rows are the most clicked."""
    base = sqlite3.connect(":memory:")
    base.execute("CREATE VIRTUAL TABLE titles USING fts5(title, content='', prefix='1 2 3 4')")
    ordered = titles.gather(np.argsort(-clicks, kind="stable"))
    base.executemany("INSERT INTO titles (rowid, title) VALUES (?, ?)", enumerate(ordered.to_list(), start=1))
    return base


def _fts_best(base: sqlite3.Connection, typed: str) -> list[Any]:
    words = typed.split()
    phrase = " ".join([*(f'"{word}"' for word in words[:-1]), f'"{words[-1]}"*'])
    return base.execute("SELECT rowid FROM titles WHERE titles MATCH ? ORDER BY rowid LIMIT ?", (phrase, K)).fetchall()


def _bisected(texts: Sequence[str], typed: str) -> Sequence[str]:
    first = bisect.bisect_left(texts, typed)
    return texts[first : bisect.bisect_left(texts, typed + "\U0010ffff")][:K]


def _times(work: Callable[[str], Any], keys: Sequence[str]) -> dict[str, float]:
    times = []
    for typed in keys:
        started = time.thread_time()
        work(typed)
        times.append(1e3 * (time.thread_time() - started))
    return {f"p{share}_cpu_ms": round(float(np.percentile(times, share)), 3) for share in (50, 99)}


def letters_needed(folder: str) -> None:
    """Letters until a query is among the first eight, of queries drawn evenly, frequent or not.

    Typed rightly, with one letter mistyped, and from its second word; suggested for nobody, and by the beginnings of
    whole queries alone, as before.
    """
    data = load(folder)
    catalog, suggester = CatalogSnapshot(CatalogBase(data)), Suggester(data)
    texts, counts = queries_of_several(data, 2)
    rng = random.Random(0)
    drawn = rng.sample(texts.to_list(), min(len(texts), REQUESTS))
    order = sorted(zip([text.casefold() for text in texts], -counts, strict=True))
    ways = {
        "suggested": lambda typed: [
            one.query for one in suggester.suggest(NOBODY, (), UserInterests(), catalog, typed, K)
        ],
        "whole beginnings": lambda typed: _beginning(order, typed),
    }
    kinds = {"right": lambda text: text, "typo": lambda text: _mistyped(text, rng), "second word": _from_second}
    for kind, change in kinds.items():
        pairs = [(change(text), text) for text in drawn]
        pairs = [(typed, text) for typed, text in pairs if typed]
        figures: dict[str, Any] = {"queries": len(pairs)}
        for name, suggest in ways.items():
            places = [_letters(suggest, typed, text) for typed, text in pairs]
            figures[f"{name}: share"] = round(float(np.mean([place > 0 for place in places])), 3)
            figures[f"{name}: letters"] = float(np.median([place or np.inf for place in places]))
            figures[f"{name}: typed"] = round(
                float(np.mean([(place or len(t)) / len(t) for place, (t, _) in zip(places, pairs, strict=True)])), 3
            )
        line(f"letters until a query is among the first eight: {kind}", folder, figures)


def _letters(suggest: Callable[[str], Sequence[str]], typed: str, text: str) -> int:
    terms = set(text.casefold().split())
    for end in range(1, len(typed) + 1):
        if any(set(one.casefold().split()) == terms for one in suggest(typed[:end])):
            return end
    return 0


def _beginning(order: Sequence[tuple[str, int]], typed: str) -> list[str]:
    first = bisect.bisect_left(order, (typed.casefold(),))
    fits = itertools.takewhile(lambda one: one[0].startswith(typed.casefold()), itertools.islice(order, first, None))
    return [text for text, _ in sorted(fits, key=lambda one: one[1])[:K]]


def _mistyped(text: str, rng: random.Random) -> str:
    """One letter of a longer word missing, doubled, another or before the next one; "" if there is none."""
    for word in text.split():
        if len(word) > 4:
            place = rng.randrange(1, len(word) - 2)
            before, letter, after = word[:place], word[place], word[place + 1 :]
            other = rng.choice(
                [
                    after,
                    letter + letter + after,
                    rng.choice(string.ascii_lowercase) + after,
                    after[0] + letter + after[1:],
                ]
            )
            changed = before + other
            return text.replace(word, changed, 1) if changed != word else ""
    return ""


def _from_second(text: str) -> str:
    first, _, rest = text.partition(" ")
    return rest if len(first) > 2 else ""


if __name__ == "__main__":
    if len(sys.argv) > 1:
        letters_needed(sys.argv[1])
    else:
        run()
