"""The lexical index at a million items beside tantivy alone and SQLite's FTS5: build, search, updates, memory.

python benchmarks/all.py --data DATA --only search, where DATA has queries. Each item has the first half of a real text
and the second half of another, so words are as frequent as in DATA. All three search the same terms, of our analyser,
and each runs in a process of its own.
"""

import itertools
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil  # type: ignore[import-untyped]

import bench_http
import bench_serve
import grown_shop
from searec.cli.serve import deploy
from searec.data.dataset import load
from searec.data.log import write_table
from searec.data.text_settings import TextSettings
from searec.pipeline.deployment import read_deployment
from searec.search import postings
from searec.search.lexical_index import LexicalIndex
from searec.search.query import parse
from timing import in_child, line

ITEMS = 1_000_000
QUERIES, DEPTH = 2_000, 10
SERVED = ("bm25", "dense")
EDITED, AT_ONCE = 5_000, 100
"""Items that are added, in commits of this many, each of which can be searched when it is done."""
LONGEST_MS = 20_000
"""Queries after this are left out."""
Search = Callable[[str], Sequence[Any]]
Add = Callable[[int, Sequence[str]], None]
Engine = tuple[Search, Add, Callable[[], dict[str, Any]]]


def run(data: Path, items: int = ITEMS) -> None:
    """Print a line for each index.

    Args:
        data: the dataset folder.
        items: of the catalogue that is made of it.
    """
    with tempfile.TemporaryDirectory() as room:
        shop, queries = _catalogue(Path(data), Path(room) / "shop", items)
        frequent = _frequent(shop)
        for name, build in (("searec", _searec), ("tantivy", _tantivy), ("fts5", _fts5)):
            figures, _, _ = in_child(_measure, build, shop, Path(room) / name, queries, frequent)
            line("search", data, {"index": name, "items": items, **figures})


def served(room: Path, *, rate: float = 50.0, seconds: float = 30.0) -> None:
    """Search over HTTP at a steady rate: words and vectors, fused as learned on the small shop.

    Args:
        room: for the shops; those of an earlier call are used again.
        rate: requests a second.
        seconds: of load.
    """
    small, large = room / "small", room / "large"
    if not (room / "small.json").is_file():
        shop = grown_shop.small_shop(small, SERVED)
        grown_shop.grow(shop, small / "runs", large, SERVED)
        deploy(str(shop), [], search=[small / "runs" / model for model in SERVED], out=room / "small.json")
    runs = tuple(str(large / "runs" / model) for model in SERVED)
    both = replace(read_deployment(room / "small.json"), data=str(large / "shop"), search=runs, labels={})
    words = replace(both, search=runs[:1], fusion="", fusion_digest="")
    paths = bench_serve.paths_of(large / "shop")
    with bench_http.server(bench_http.theirs) as bare:
        for name, deployment in (("words", words), ("words and vectors", both)):
            with bench_serve.service(deployment, f"sqlite:///{room / 'store.db'}", 1) as port:
                bench_serve.in_process(port, paths["/v1/search"][: bench_serve.WARM], 20.0)
                figures = bench_serve.in_process(port, paths["/v1/search"][bench_serve.WARM :], rate, seconds)
                beside = bench_serve.in_process(bare, paths["/v1/recommend"], rate, seconds / 3)
            ratio = round(figures["p50_ms"] / beside["p50_ms"], 1)
            figures |= {"bare_p50_ms": beside["p50_ms"], "bare_p99_ms": beside["p99_ms"], "p50_to_bare": ratio}
            line(f"search over HTTP by {name}", large, figures)


def _catalogue(source: Path, folder: Path, items: int) -> tuple[Path, list[str]]:
    data = load(source)
    rng = np.random.default_rng(0)
    titles = data.item_table.select(title=pl.concat_str("title", _text(data.item_table), separator=" "))["title"]
    words = titles.str.split(" ")
    mixed = pl.DataFrame({name: words.gather(rng.integers(0, len(words), items)) for name in ("first", "second")})
    first, second = pl.col("first").list, pl.col("second").list
    halves = pl.concat_list(first.head(first.len() // 2 + 1), second.slice(second.len() // 2))
    title = mixed.select(halves.list.join(" ")).to_series()
    folder.mkdir()
    write_table(pl.DataFrame({"item_id": [f"i{n}" for n in range(items)], "title": title}), folder / "items.parquet")
    write_table(pl.DataFrame({"user_id": ["u"]}), folder / "users.parquet")
    for name in ("interactions", "searches"):
        write_table(pl.read_parquet(source / f"{name}.parquet").head(0), folder / f"{name}.parquet")
    TextSettings(data.analyser.language).write(folder)
    texts = data.queries.texts.sample(min(QUERIES, len(data.queries.texts)), seed=0).to_list()
    return folder, texts


def _text(items: pl.DataFrame) -> pl.Expr:
    return pl.col("description").fill_null("") if "description" in items.columns else pl.lit("")


def _frequent(shop: Path) -> list[str]:
    """Single words and pairs of the most frequent terms."""
    data = load(shop)
    counts = np.bincount(data.item_words.values, minlength=data.sizes.words + 1)
    terms = list(data.word_index)
    words = [terms[at - 1] for at in np.argsort(-counts)[:20] if terms[at - 1] not in data.analyser.stop_terms]
    return [*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))]


def _measure(
    build: Callable[[Path, Path], Engine], shop: Path, room: Path, queries: list[str], frequent: list[str]
) -> dict[str, Any]:
    data = load(shop)
    _ = data.word_index
    room.mkdir()
    process = psutil.Process()
    before = process.memory_full_info().uss
    started = time.perf_counter()
    search, add, more = build(shop, room)
    figures: dict[str, Any] = {"build_s": round(time.perf_counter() - started, 1)}
    for name, texts in (("query", queries), ("frequent", frequent * 10)):
        for text in texts[:50]:
            search(text)
        figures |= {f"{name}_{key}_ms": value for key, value in _latency(search, texts).items()}
    titles = data.item_table["title"].head(EDITED).to_list()
    started = time.perf_counter()
    for first in range(0, EDITED, AT_ONCE):
        add(first, titles[first : first + AT_ONCE])
    figures["added_per_s"] = round(EDITED / (time.perf_counter() - started))
    started = time.perf_counter()
    add(EDITED, ["quixotic zyzzyva lamp"])
    found = len(search("zyzzyva"))
    figures |= {"one_added_ms": round(1e3 * (time.perf_counter() - started), 2), "one_found": found}
    figures |= {f"after_{key}_ms": value for key, value in _latency(search, queries).items()}
    figures["memory_mib"] = round((process.memory_full_info().uss - before) / 2**20)
    return {**figures, **more()}


def _latency(search: Search, texts: Sequence[str]) -> dict[str, float]:
    times: list[float] = []
    for text in texts:
        if sum(times) > LONGEST_MS:
            break
        started = time.perf_counter()
        search(text)
        times.append(1e3 * (time.perf_counter() - started))
    return {"p50": round(float(np.percentile(times, 50)), 2), "p99": round(float(np.percentile(times, 99)), 2)}


def _searec(shop: Path, room: Path) -> Engine:
    data = load(shop)
    state = [LexicalIndex.of(data)]

    def search(text: str) -> Sequence[Any]:
        items: list[int] = state[0].best(parse(text, data.analyser), DEPTH)[0].tolist()
        return items

    def add(first: int, titles: Sequence[str]) -> None:
        start = data.sizes.items + 1 + first
        state[0] = state[0].with_items({start + at: {"title": title} for at, title in enumerate(titles)})

    def more() -> dict[str, Any]:
        texts = data.item_table["title"].str.split(" ").list.head(3).list.join(" ").sample(300, seed=1).to_list()
        cut = [search(text) for text in texts]
        most, postings.MOST_POSTINGS = postings.MOST_POSTINGS, 1 << 40
        shared = [len(set(search(text)) & set(one)) / max(1, len(one)) for text, one in zip(texts, cut, strict=True)]
        postings.MOST_POSTINGS = most
        files = [path for folder in data.folder.glob("postings-*") for path in folder.iterdir()]
        return {
            f"same_of_{DEPTH}": round(float(np.mean(shared)), 4),
            "mapped_mib": round(sum(path.stat().st_size for path in files) / 2**20),
        }

    return search, add, more


def _tantivy(shop: Path, room: Path) -> Engine:
    import tantivy

    data = load(shop)
    schema = (
        tantivy.SchemaBuilder().add_text_field("terms", tokenizer_name="whitespace").add_integer_field("n", stored=True)
    )
    index = tantivy.Index(schema.build(), path=str(room))
    writer = index.writer(heap_size=256 << 20, num_threads=1)
    for number, terms in enumerate(_terms(data), start=1):
        writer.add_document(tantivy.Document(terms=terms, n=number))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    writer = index.writer(heap_size=64 << 20, num_threads=1)

    def search(text: str) -> Sequence[Any]:
        terms = [
            (tantivy.Occur.Should, tantivy.Query.term_query(index.schema, "terms", term))
            for term in data.analyser.terms(text)
        ]
        return index.searcher().search(tantivy.Query.boolean_query(terms), DEPTH, count=False).hits

    def add(first: int, titles: Sequence[str]) -> None:
        for at, title in enumerate(titles, start=first):
            writer.add_document(tantivy.Document(terms=" ".join(data.analyser.terms(title)), n=at))
        writer.commit()
        index.reload()

    return search, add, lambda: {"mapped_mib": round(sum(path.stat().st_size for path in room.iterdir()) / 2**20)}


def _fts5(shop: Path, room: Path) -> Engine:
    data = load(shop)
    table = sqlite3.connect(room / "items.sqlite")
    table.execute("PRAGMA journal_mode=WAL")
    table.execute("CREATE VIRTUAL TABLE items USING fts5(terms, content='', tokenize='unicode61')")
    with table:
        table.executemany("INSERT INTO items(rowid, terms) VALUES (?, ?)", enumerate(_terms(data), start=1))
    size = data.sizes.items + 1

    def search(text: str) -> Sequence[Any]:
        terms = " OR ".join(f'"{term}"' for term in data.analyser.terms(text))
        ranked = "SELECT rowid FROM items WHERE items MATCH ? ORDER BY rank LIMIT ?"
        return table.execute(ranked, (terms, DEPTH)).fetchall() if terms else []

    def add(first: int, titles: Sequence[str]) -> None:
        rows = ((size + first + at, " ".join(data.analyser.terms(title))) for at, title in enumerate(titles))
        with table:
            table.executemany("INSERT INTO items(rowid, terms) VALUES (?, ?)", rows)

    return search, add, lambda: {"mapped_mib": round((room / "items.sqlite").stat().st_size / 2**20)}


def _terms(data: Any) -> Iterator[str]:
    """The terms of each item as one text."""
    terms = ["", *data.word_index]
    words = data.item_words
    for row in range(1, data.sizes.items + 1):
        yield " ".join([terms[word] for word in words.row(row).tolist()])
