"""The table of query variants: how a query is typed, what is expected of its first results, and what they are.

`python tests/query_variants.py` writes the column `actual` anew; read what it changes before you commit it.
"""

import csv
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import searec
from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import Deployment
from searec.pipeline.executors import Inline
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.types import Request, Response
from searec.search.rules import SearchRules, write_rules
from small_catalogue import catalogue

TABLE = Path(__file__).with_suffix(".csv")
YELP = Path(os.environ.get("SEAREC_SHARED_DATA", Path(__file__).parents[2] / "shared/data")) / "yelp"
FIRST = 3
RULES = SearchRules([["phone cover", "phone case"], ["hairdresser", "hair salon"], ["trainers", "sneakers"]])
CATALOGUES: Mapping[str, list[str]] = {
    "en": [
        "Sony WF-1000XM5 earbuds",
        "Sony WH-1000XM4 headphones",
        "Samsung 32 inch TV",
        "Samsung 55 inch TV",
        "Car battery 12 V",
        "Car battery 24 V",
        "Drill DCD771C2 20V max",
        "Hose 1/2 in. x 50 ft.",
        "Hose 1/2 in. x 25 ft.",
        "Canon EOS R5 camera",
        "Canon EOS R6 camera",
    ],
    "de": ["Winterjacke rot", "Jacke", "Jacke für den Winter", "Häuser aus Holz", "Straßenschuhe", "Schuhe", "Straße"],
    "sv": ["Vinterjacka", "Jacka", "Vinter", "Köksstol", "Stol", "Lampa till kök"],
    "fr": ["Crème brûlée", "Chaussures de randonnée", "Chaussure de course"],
    "zh": ["电动自行车", "山地自行车", "红色连衣裙", "运动鞋"],
    "ja": ["ワイヤレスイヤホン", "赤いドレス", "電動自転車"],
    "ko": ["무선 이어폰", "빨간 드레스", "전기자전거"],
    "th": ["รองเท้าวิ่งสีแดง", "กระเป๋าเดินทาง", "เสื้อกันฝน"],
    "hi": ["हिंदी किताब", "लाल जूते", "बच्चों की किताबें", "मोबाइल फ़ोन १२८"],
    "ar": ["كتاب الطبخ", "حذاء رياضي أحمر", "كُتُب الأطفال"],
}


@contextmanager
def served(name: str, folder: Path) -> Iterator[Pipeline]:
    """Search by words over the sample, yelp, or a catalogue in a language.

    Args:
        name: of the catalogue.
        folder: for what is made.
    """
    data = {"sample": searec.sample_folder(), "yelp": YELP}.get(name, folder / name)
    if name in CATALOGUES:
        catalogue(data, CATALOGUES[name], language=name if name in ("en", "de", "sv", "fr") else "none")
    digest = write_rules(RULES, folder / "rules.json")
    rules = {"search_rules": str(folder / "rules.json"), "search_rules_digest": digest}
    pipeline = open_pipeline(Deployment(data=str(data), seconds=60.0, **rules), executor=Inline)
    try:
        yield pipeline
    finally:
        pipeline.close()


def read_table() -> list[dict[str, str]]:
    """The rows.

    catalogue, kind, query; searched: the text after correction; first: number of first results that must match the
    pattern `expected` by title or category, or all if there are fewer; actual: titles of the first results.
    """
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def answer(pipeline: Pipeline, query: str) -> tuple[str, list[str], list[str]]:
    """The searched text, the titles of the first results, and their titles with categories.

    Args:
        pipeline: of the catalogue.
        query: as typed.
    """
    [response] = pipeline.search([Request(query=query, k=FIRST)])
    assert isinstance(response, Response), response
    assert response.query is not None
    titles = [item.title for item in response.items]
    texts = [" / ".join((item.title, *item.categories)) for item in response.items]
    return response.query.text, titles, texts


def is_expected(row: Mapping[str, str], texts: list[str]) -> bool:
    """Whether the first results are as expected; where 0 are, whether there is none.

    Args:
        row: of the table.
        texts: of the first results.
    """
    first = int(row["first"])
    matches = [re.search(row["expected"], text, re.IGNORECASE) is not None for text in texts[:first]]
    return all(matches) and bool(texts) == (first > 0)


def rewrite() -> None:
    """Write the actual results into the table and print the rows that are not as expected."""
    rows = read_table()
    with tempfile.TemporaryDirectory() as folder:
        for name in dict.fromkeys(row["catalogue"] for row in rows):
            with served(name, Path(folder)) as pipeline:
                for row in rows:
                    if row["catalogue"] == name:
                        searched, titles, texts = answer(pipeline, row["query"])
                        row["actual"] = " | ".join(titles)
                        if not is_expected(row, texts) or searched != row["searched"]:
                            print(f"{name}: {row['query']!r} searched as {searched!r}: {texts}")
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    rewrite()
