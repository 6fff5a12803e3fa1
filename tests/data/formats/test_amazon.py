"""Amazon reviews in the shapes of 2014, 2018 and 2023, and the product-search queries of Ai et al. (2017)."""

import ast
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imported import table, utc
from searec.data.formats.base import ImportOptions
from searec.data.formats.markup import opening, plain_text
from searec.data.formats.objects import FAULT, object_lines, scan_objects
from searec.data.formats.queries import draw, path_query
from searec.data.importing import ImportReport, import_folder
from searec.data.log import load_log
from searec.errors import DataError, SettingsError


def review(user: str, asin: str, day: int, **more: Any) -> dict[str, Any]:
    """A line of reviews_CATEGORY_5.json.gz; times are midnights, UTC."""
    time = 1400803200 + 86400 * day
    head = {
        "reviewerID": user,
        "asin": asin,
        "reviewerName": 'O\'Neil "N"',
        "helpful": [0, 0],
        "reviewText": "good\nreally",
        "overall": 4.0,
    }
    return {**head, "summary": "ok", "unixReviewTime": time, "reviewTime": "05 23, 2014", **more}


REVIEWS = [
    review("A30TL5EWN6DFXT", "120401325X", 0),
    review("ASY55RVNIL0UD", "120401325X", 1),
    review("A30TL5EWN6DFXT", "B000S5Q9CA", 2),
    review("A30TL5EWN6DFXT", "B000NOMETA", 3),
    review("ASY55RVNIL0UD", "B000NOTITL", 4),
    review("ASY55RVNIL0UD", "B000NOTITL", 4),
]
META = [
    {
        "asin": "120401325X",
        "related": {"also_viewed": ["B00530RXK0"]},
        "title": "Lifeproof &quot;Case&quot; &amp; Strap\u00e9",
        "price": 7.69,
        "salesRank": {"Cell Phones & Accessories": 117057},
        "imUrl": "http://ecx.images-amazon.com/images/I/42.jpg",
        "categories": [["Cell Phones &amp; Accessories", "Accessories", "Cases", "Basic Cases"], ["Clothing"]],
    },
    {
        "asin": "B000S5Q9CA",
        "title": "Charger",
        "brand": "Nokia",
        "description": "It's a <b>charger</b>.\nFor cars.",
        "categories": [
            ["Cell Phones & Accessories", "Accessories", "Chargers"],
            ["Electronics", "Accessories & Supplies", "Chargers"],
        ],
    },
    {
        "asin": "B000NOTITL",
        "description": "A holder for the dashboard of any car, truck, bus or van, in black or white",
        "categories": [["Phones"]],
    },
    {"asin": "B000UNREAD", "title": "Nobody reviews me", "categories": [["Phones", "Cases"]]},
    {"asin": "B000S5Q9CA", "title": "Charger again", "categories": [["X", "Y"]]},
]


def packed(path: Path, lines: list[str]) -> None:
    data = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def amazon_2014(src: Path, reviews: list[Any] = REVIEWS, meta: list[Any] = META) -> Path:
    """Reviews as JSON, items as Python literals, both packed; the name of the phone category of Ai et al."""
    src.mkdir()
    packed(
        src / "reviews_Cell_Phones_and_Accessories_5.json.gz",
        [line if isinstance(line, str) else json.dumps(line) for line in reviews],
    )
    packed(
        src / "meta_Cell_Phones_and_Accessories.json.gz",
        [line if isinstance(line, str) else repr(line) for line in meta],
    )
    return src


def product_search(src: Path, train: list[str], test: list[str], texts: list[str]) -> None:
    packed(src / "query_text.txt.gz", texts)
    packed(src / "train.qrels.gz", train)
    packed(src / "test.qrels.gz", test)


def imported(src: Path, drop_bad: bool = False, **options: Any) -> tuple[ImportReport, Path]:
    out = src.parent / "out"
    return import_folder("amazon", src, out, ImportOptions(**options), drop_bad=drop_bad), out


def test_2014_with_queries_by_the_rule(tmp_path: Path) -> None:
    report, out = imported(amazon_2014(tmp_path / "src"))
    assert report.rejects.is_empty()
    assert report.written == {"items": 4, "users": 2, "interactions": 5, "searches": 3}
    assert report.notes == (
        "1 reviewed item is not in meta_Cell_Phones_and_Accessories.json.gz: titled 'item' and the item's id",
        "no query_text.txt.gz: queries are built from the items' categories by the rule of Ai et al. (2017)",
        "3 reviews with a query stand as an interaction and as a search",
        "1 row of interactions occurs in the source more than once: written once",
    )
    items = table(out, "items").to_dicts()
    assert [item["item_id"] for item in items] == ["120401325X", "B000S5Q9CA", "B000NOTITL", "B000NOMETA"]
    assert items[0]["title"] == 'Lifeproof "Case" & Strapé'
    assert items[0]["categories"] == ["Cell Phones & Accessories", "Accessories", "Cases", "Basic Cases", "Clothing"]
    assert items[0]["price"] == "7.69"
    assert items[1]["categories"] == [
        "Cell Phones & Accessories",
        "Accessories",
        "Chargers",
        "Electronics",
        "Accessories & Supplies",
    ]
    assert (items[1]["title"], items[1]["brand"], items[1]["description"]) == (
        "Charger",
        "Nokia",
        "It's a charger . For cars.",
    )
    assert items[2]["title"] == "A holder for the dashboard of any car, truck, bus or van, in"
    assert (items[3]["title"], items[3]["categories"]) == ("item B000NOMETA", None)
    assert table(out, "interactions").row(0) == ("A30TL5EWN6DFXT", "120401325X", utc(2014, 5, 23), "review")
    searches = table(out, "searches")
    # "accessories" stands in two levels: the broader one goes. "Clothing" and "Phones" have one level and make no
    # query.
    assert searches.rows()[:2] == [
        (
            "A30TL5EWN6DFXT-120401325X-1400803200",
            "A30TL5EWN6DFXT",
            "cell phones accessories basic cases",
            utc(2014, 5, 23),
            ["120401325X"],
        ),
        (
            "ASY55RVNIL0UD-120401325X-1400889600",
            "ASY55RVNIL0UD",
            "cell phones accessories basic cases",
            utc(2014, 5, 24),
            ["120401325X"],
        ),
    ]
    assert searches["query"][2] in ("cell phones accessories chargers", "electronics accessories supplies chargers")
    assert load_log(out).searches.height == 3


def test_both_paths_of_an_item_are_asked_for(tmp_path: Path) -> None:
    """300 reviews of an item with two paths: each path's query is drawn about half the time.

    45 is five standard deviations.
    """
    reviews = [review(f"A{number:09d}", "B000S5Q9CA", number) for number in range(300)]
    _, out = imported(amazon_2014(tmp_path / "src", reviews))
    counts = dict(table(out, "searches")["query"].value_counts().iter_rows())
    assert set(counts) == {"cell phones accessories chargers", "electronics accessories supplies chargers"}
    assert abs(counts["cell phones accessories chargers"] - 150) < 45


def test_published_queries(tmp_path: Path) -> None:
    src = amazon_2014(tmp_path / "src")
    # As published: a blank after the label; the user before the last underscore; train and test apart; label 0 is no
    # purchase.
    train = ["A30TL5EWN6DFXT_2 0 120401325X 1 ", "ASY55RVNIL0UD_0 0 120401325X 0 ", "A_GONE_1 0 120401325X 1 "]
    test = ["ASY55RVNIL0UD_1 0 B000NOTITL 1 ", "ASY55RVNIL0UD_9 0 B000NOTITL 1 ", "garbage"]
    product_search(
        src,
        train,
        test,
        ["cell phone accessory battery charger case", "cell phone accessory signal booster", "basic case"],
    )
    report, out = imported(src, drop_bad=True)
    assert sorted(report.rejects.rows()) == [
        ("test.qrels.gz", 2, "unknown query", "ASY55RVNIL0UD_9 0 B000NOTITL 1 "),
        ("test.qrels.gz", 3, "not a line of qrels", "garbage"),
    ]
    assert "queries are those of query_text.txt.gz (src), for the users and items of the qrels" in report.notes
    assert "1 pair of user and item in the qrels without a review: no search is made of it" in report.notes
    assert table(out, "searches").select("user_id", "query", "timestamp", "clicked").rows() == [
        ("A30TL5EWN6DFXT", "basic case", utc(2014, 5, 23), ["120401325X"]),
        ("ASY55RVNIL0UD", "cell phone accessory signal booster", utc(2014, 5, 27), ["B000NOTITL"]),
    ]
    assert report.written["interactions"] == 5


def test_half_of_the_query_files(tmp_path: Path) -> None:
    src = amazon_2014(tmp_path / "src")
    product_search(src, [], [], [])
    (src / "test.qrels.gz").unlink()
    with pytest.raises(DataError, match=r"missing file; where: .*test\.qrels\.gz"):
        imported(src)


def test_2018(tmp_path: Path) -> None:
    src = tmp_path / "src"
    src.mkdir()
    head = {
        "overall": 5.0,
        "verified": True,
        "reviewTime": "10 20, 2014",
        "reviewerName": "NARH",
        "reviewText": "x",
        "summary": "y",
    }
    lines = [
        {**head, "vote": "3", "reviewerID": "A1D4G1SNUZWQOT", "asin": asin, "unixReviewTime": 1413763200}
        for asin in ("7106116521", "B00X")
    ]
    packed(src / "AMAZON_FASHION_5.json.gz", [json.dumps(line) for line in lines])
    shoes = {
        "category": ["Clothing, Shoes &amp; Jewelry", "Women", "Women's Shoes"],
        "tech1": "",
        "description": ["Soft.", "<p>Red</p>"],
        "title": "Slip-On",
        "also_buy": [],
        "brand": "Sal's",
        "feature": ["Leather"],
        "rank": "9,654 in X (",
        "details": {"ASIN: ": "7106116521"},
        "main_cat": "<img src='x'>",
        "price": "$24.00",
        "asin": "7106116521",
    }
    script = "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0"
    meta = [shoes, {"category": [], "description": [], "title": script, "rank": [">#1"], "asin": "B00X"}]
    packed(src / "meta_AMAZON_FASHION.json.gz", [json.dumps(line) for line in meta])
    report, out = imported(src)
    assert report.rejects.is_empty()
    first, second = table(out, "items").to_dicts()
    assert first["categories"] == ["Clothing, Shoes & Jewelry", "Women", "Women's Shoes"]
    assert (first["title"], first["brand"], first["description"], first["price"]) == (
        "Slip-On",
        "Sal's",
        "Soft. Red",
        "$24.00",
    )
    assert second["title"] == "item B00X"
    assert table(out, "searches").rows() == [
        (
            "A1D4G1SNUZWQOT-7106116521-1413763200",
            "A1D4G1SNUZWQOT",
            "clothing jewelry women womens shoes",
            utc(2014, 10, 20),
            ["7106116521"],
        )
    ]


META_2023 = [
    {
        "main_category": "All Beauty",
        "title": "Howard LC0008 Brush",
        "average_rating": 4.8,
        "rating_number": 10,
        "features": ["Soft", "Round"],
        "description": [],
        "price": None,
        "images": [{"thumb": "https://x"}],
        "videos": [],
        "store": "Howard Products",
        "categories": ["Beauty & Personal Care", "Tools", "Brushes"],
        "details": {"Package Dimensions": "7.1 x 5.5"},
        "parent_asin": "B01CUPMQZE",
        "bought_together": None,
    },
    {
        "main_category": "All Beauty",
        "title": "",
        "features": [],
        "description": [],
        "categories": [],
        "store": None,
        "parent_asin": "B076WQZGPM",
    },
]
_HEAD_2023 = {"rating": 5.0, "title": "Nice", "text": "ok", "images": [], "asin": "B00YQ6X8EO"}
REVIEWS_2023 = [
    {
        **_HEAD_2023,
        "parent_asin": "B01CUPMQZE",
        "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
        "timestamp": 1588687728923,
        "helpful_vote": 0,
    },
    {
        **_HEAD_2023,
        "parent_asin": "B076WQZGPM",
        "user_id": "AGKASBHYZPGTEPO6LWZPVJWB2BVA",
        "timestamp": 1588615855070,
        "helpful_vote": 1,
    },
]


def amazon_2023(src: Path, packing: str = ".gz") -> Path:
    src.mkdir()
    packed(src / f"meta_All_Beauty.jsonl{packing}", [json.dumps(line) for line in META_2023])
    packed(src / f"All_Beauty.jsonl{packing}", [json.dumps(line) for line in REVIEWS_2023])
    return src


@pytest.mark.parametrize("packing", ["", ".gz"])
def test_2023(tmp_path: Path, packing: str) -> None:
    report, out = imported(amazon_2023(tmp_path / "src", packing))
    assert report.rejects.is_empty()
    assert table(out, "items").to_dicts() == [
        {"item_id": "B01CUPMQZE", "title": "Howard LC0008 Brush", "description": "Soft Round",
         "brand": "Howard Products", "categories": ["Beauty & Personal Care", "Tools", "Brushes"], "price": None,
         "main_category": "All Beauty"},
        {"item_id": "B076WQZGPM", "title": "All Beauty", "description": None, "brand": None,
         "categories": ["All Beauty"], "price": None,
         "main_category": "All Beauty"},
    ]  # fmt: skip
    assert table(out, "interactions")["timestamp"].to_list() == [
        utc(2020, 5, 5, 14, 8, 48, 923000),
        utc(2020, 5, 4, 18, 10, 55, 70000),
    ]
    assert table(out, "searches")["query"].to_list() == ["beauty personal care tools brushes"]


RATINGS = {
    "ratings_All_Beauty.csv": "AGKHLEW2SOWHN,B01CUPMQZE,5.0,1588687728\n",
    "All_Beauty.csv": "B01CUPMQZE,AGKHLEW2SOWHN,5.0,1588687728\n",
    "All_Beauty.csv.gz": "user_id,parent_asin,rating,timestamp\nAGKHLEW2SOWHN,B01CUPMQZE,5.0,1588687728000\n",
}


@pytest.mark.parametrize("name", list(RATINGS))
def test_ratings_only(tmp_path: Path, name: str) -> None:
    src = amazon_2023(tmp_path / "src")
    (src / "All_Beauty.jsonl.gz").unlink()
    packed(src / name, RATINGS[name].splitlines())
    _, out = imported(src)
    assert table(out, "interactions").rows() == [("AGKHLEW2SOWHN", "B01CUPMQZE", utc(2020, 5, 5, 14, 8, 48), "review")]
    assert table(out, "items")["item_id"].to_list() == ["B01CUPMQZE"]


def test_broken_lines_are_rejects_where_they_stand(tmp_path: Path) -> None:
    reviews = [
        *REVIEWS[:2],
        "{'reviewerID': 'A1', 'asin': __import__('os')}",
        "",
        '{"asin": "B000S5Q9CA", "unixReviewTime": 1400803200}',
    ]
    reviews += [review("A9", "B000S5Q9CA", 0, unixReviewTime="soon"), repr(review("A9", "B000S5Q9CA", 1))]
    meta = [*META, "{'asin': 'B000CUT", "[1, 2]"]
    src = amazon_2014(tmp_path / "src", reviews, meta)
    name = "reviews_Cell_Phones_and_Accessories_5.json.gz"
    report, out = imported(src, drop_bad=True)
    assert sorted(report.rejects.select("file", "row", "rule").rows()) == [
        ("meta_Cell_Phones_and_Accessories.json.gz", 6, "neither JSON nor a Python literal"),
        ("meta_Cell_Phones_and_Accessories.json.gz", 7, "neither JSON nor a Python literal"),
        (name, 3, "neither JSON nor a Python literal"),
        (name, 5, "unknown user"),
        (name, 6, "no valid time"),  # as an interaction and as a search
        (name, 6, "no valid time"),
    ]
    assert table(out, "interactions")["user_id"].to_list() == ["A30TL5EWN6DFXT", "ASY55RVNIL0UD", "A9"]
    with pytest.raises(DataError, match=rf"{name} row 3: neither JSON nor a Python literal"):
        imported(src)


def test_literals_are_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    src = amazon_2014(tmp_path / "src", meta=[*META, f"{{'asin': open({str(trap)!r}, 'w').write('x')}}"])
    report, _ = imported(src, drop_bad=True)
    assert report.rejects["row"].to_list() == [6]
    assert not trap.exists()


def test_one_clear_error(tmp_path: Path) -> None:
    def message(src: Path, **options: Any) -> str:
        with pytest.raises(DataError) as caught:
            imported(src, **options)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    assert "no review file" in message(tmp_path / "none")
    src = amazon_2014(tmp_path / "src")
    reviews, meta = (
        src / "reviews_Cell_Phones_and_Accessories_5.json.gz",
        src / "meta_Cell_Phones_and_Accessories.json.gz",
    )
    whole = reviews.read_bytes()
    reviews.write_bytes(whole[:-30])
    assert "file is damaged; where: " + str(reviews) in message(src)
    packed(reviews, ['{"item": 1}'])
    assert "the first line is no review" in message(src)
    reviews.write_bytes(
        gzip.compress(json.dumps({**REVIEWS[0], "summary": "caf\u00e9"}, ensure_ascii=False).encode("latin-1"))
    )
    assert "not UTF-8; where: " + str(reviews) in message(src)
    reviews.write_bytes(whole)
    cut = meta.read_bytes()
    meta.write_bytes(cut[:-30])
    assert "file is damaged; where: " + str(meta) in message(src)
    meta.unlink()
    assert "no meta file" in message(src)
    packed(src / "ratings.csv", ["A1,B1,5.0"])
    assert "several review files" in message(src)
    meta.write_bytes(cut)
    assert "not a file of ratings" in message(src, mapping={"interactions": "ratings.csv"})
    _, out = imported(src, mapping={"interactions": reviews.name, "items": meta.name})
    assert table(out, "items").height == 4
    with pytest.raises(SettingsError, match="no use for the mapping 'searches'"):
        imported(src, mapping={"searches": "x"})


def test_command_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "searec",
        "import",
        "amazon",
        str(amazon_2014(tmp_path / "src")),
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "note: no query_text.txt.gz" in done.stdout
    assert "interactions: 5 of 6 rows kept" in done.stdout


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["asin", "title", "price", "other"]), VALUES), min_size=1, max_size=5),
    st.booleans(),
)
def test_literals_read_as_the_json_of_the_same_object(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, Any]], one_broken: bool
) -> None:
    """Whatever an object holds, its Python literal gives the columns that its JSON gives.

    A broken line harms no other.
    """
    folder = tmp_path_factory.mktemp("objects")
    fields = ("asin", "title", "price")
    tables = []
    for name, written in (("literal", repr), ("json", json.dumps)):
        packed(folder / name, [*(written(one) for one in objects), *(["{broken"] if one_broken else [])])
        tables.append(scan_objects(object_lines(folder / name), fields).collect())
    assert tables[0].height == len(objects) + one_broken
    for literal, other, one in zip(
        tables[0].iter_rows(named=True), tables[1].iter_rows(named=True), objects, strict=False
    ):
        for field in fields:
            value = one.get(field)
            for read in (literal[field], other[field]):
                assert (read if value is None or isinstance(value, str) else json.loads(read)) == value
    assert tables[0][FAULT].to_list() == [None] * len(objects) + ["{broken"] * one_broken


def test_the_published_example_of_the_rule() -> None:
    paths = [
        ["Camera, Photo", "Digital Camera Lenses"],
        ["The", "Of"],
        ["Home & Kitchen", "Kitchen & Dining", "Kitchen Utensils"],
    ]
    queries = pl.DataFrame({"path": paths}).select(path_query(pl.col("path"))).to_series().to_list()
    assert queries == ["photo digital camera lenses", None, "home dining kitchen utensils"]


def test_draws_are_splitmix() -> None:
    """The arithmetic in whole numbers, modulo 2**64."""

    def expected(row: int) -> int:
        state = row * 0x9E3779B97F4A7C15 % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        return state ^ (state >> 31)

    rows = [1, 2, 3, 999, 2**31]
    assert pl.DataFrame({"row": rows}).select(draw(pl.col("row"))).to_series().to_list() == [
        expected(row) for row in rows
    ]


def test_plain_text() -> None:
    texts = ["a &lt;b&gt; c", "Caf&eacute; &#8217;n&#x27; &#039;x&#039;", "1 < 2 > 0", "  ", None, "x<br/>y", "AT&T"]
    made = pl.DataFrame({"text": texts}).select(plain_text(pl.col("text"))).to_series().to_list()
    assert made == ["a c", "Café \u2019n' 'x'", "1 < 2 > 0", None, None, "x y", "AT&T"]
    cut = pl.DataFrame({"text": ["word " * 30, " \n"]}).select(opening(pl.col("text"))).to_series().to_list()
    assert cut == [("word " * 12).strip(), None]
    assert ast.literal_eval(repr(META[0])) == META[0]
