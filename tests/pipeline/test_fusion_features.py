"""Features of candidates against plain loops over the log."""

import itertools
import math

import numpy as np
import polars as pl
import pytest

from searec.data.dataset import FEED, SEARCH, Dataset, load
from searec.data.schema import TASKS
from searec.data.split import Split
from searec.data.synthetic.simulate import World, simulate
from searec.pipeline.catalog_snapshot import CatalogBase, CatalogSnapshot
from searec.pipeline.channels import Candidates, RequestBatch
from searec.pipeline.fusion_features import GROUPS, Features, ItemStatistics, groups_of, of_scores
from searec.pipeline.histories import Histories
from searec.pipeline.ranking import HistoryTextScorer
from searec.search.changed_items import field_text
from searec.search.query import parse
from searec.store.events import ItemChange
from searec.text.analysis import FIELDS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    world = World(users=40, items=200, clicks=12.0, searches=16.0, families=2, types=3, seed=5)
    folder = simulate(tmp_path_factory.mktemp("shop") / "shop", world)
    items = pl.read_parquet(folder / "items.parquet")
    prices = [None if row % 7 == 0 else 1.0 + row for row in range(items.height)]
    items.with_columns(pl.Series("price", prices)).write_parquet(folder / "items.parquet")
    return load(folder)


def batch_for(data: Dataset, users: list[int], queries: list[str], time: int) -> RequestBatch:
    catalog, histories = CatalogSnapshot(CatalogBase(data)), Histories(data)
    names = data.users.to_external(np.array(users))
    contexts = [histories.context(name, (), catalog, time) for name in names]
    parsed = [parse(query, data.analyser) for query in queries]
    return RequestBatch(catalog, contexts, queries, parsed=parsed)


def test_scores_in_standard_deviations_and_ranks() -> None:
    scores, owner = np.array([3.0, 1.0, 2.0, np.nan, 5.0, 5.0, -np.inf]), np.array([0, 0, 0, 0, 1, 1, 1])
    score, z, rank = of_scores(scores, owner, 2)
    deviation = math.sqrt(2 / 3)
    assert score == pytest.approx([3, 1, 2, np.nan, 5, 5, np.nan], nan_ok=True)
    assert z == pytest.approx([1 / deviation, -1 / deviation, 0, np.nan, 0, 0, np.nan], nan_ok=True)
    assert rank == pytest.approx([0, -math.log(3), -math.log(2), np.nan, 0, -math.log(2), np.nan], nan_ok=True)


def test_every_feature_is_what_a_loop_over_the_log_finds(data: Dataset) -> None:
    split = Split(data)
    statistics = ItemStatistics.of(split)
    groups = groups_of(statistics, data, "search")
    assert groups == list(GROUPS)
    features = Features(statistics, ["a"], ["listed"], groups)
    history = data.click_history
    time = int(np.median(history.time))
    users, queries = [1, 2, 7], [str(data.queries.texts[n]) for n in (0, 3, 5)]
    batch = batch_for(data, users, queries, time)
    pools = [np.array([1, 5, 9, 60]), np.array([3, 4]), np.arange(10, 40)]
    listed = [Candidates(np.array([9, 1])), Candidates(np.array([], dtype=np.int64)), Candidates(np.array([12]))]
    rng = np.random.default_rng(0)
    scores = [rng.random(len(pool)) for pool in pools]
    matrix = features.matrix(batch, pools, {"a": scores}, {"listed": listed})
    found = {name: matrix[:, column] for column, name in enumerate(features.names)}
    cutoff = split.cutoff(TASKS)
    owner = np.repeat(np.arange(len(history.offsets) - 1), np.diff(history.offsets))
    clicks = zip(owner, history.item, history.time, history.source, history.weight, strict=True)
    trained = [(int(i), int(t), int(s), float(w)) for u, i, t, s, w in clicks if t < cutoff[u]]
    usual = np.median([w for _, _, s, w in trained if s == FEED])
    end = max(t for _, t, _, _ in trained) + 1
    span = int(0.1 * (end - min(t for _, t, _, _ in trained)))
    narrow = batch.catalog.base.taxonomy.narrow
    prices, titles = (data.item_table[column].to_list() for column in ("price", "title"))
    catalog = batch.catalog
    fields = {
        item: [data.analyser.terms(field_text(about.get(name))) for name in FIELDS]
        for item, about in enumerate(data.item_table.iter_rows(named=True), start=1)
    }
    place = 0
    for row, pool in enumerate(pools):
        own = slice(*history.offsets[users[row] : users[row] + 2])
        clicked = [int(i) for i, t in zip(history.item[own], history.time[own], strict=True) if t < time]
        recent = list(dict.fromkeys(reversed(clicked)))
        touched = [set(narrow.row(item).tolist()) for item in recent]
        own_prices = [math.log(prices[item - 1]) for item in recent if prices[item - 1]]
        pool_prices = [math.log(prices[item - 1]) for item in pool if prices[item - 1]]
        for item in pool.tolist():
            times = sorted(t for i, t, _, _ in trained if i == item and t < time)
            searched = sum(i == item and s == SEARCH for i, _, s, _ in trained)
            mine = set(narrow.row(item).tolist())
            words = set(data.item_words.row(item).tolist())
            title = [data.word_index[term] for term in data.analyser.terms(titles[item - 1])]
            asked = {data.word_index[term] for term in data.analyser.terms(queries[row])}
            price = math.log(prices[item - 1]) if prices[item - 1] else math.nan
            share = [sum(one in categories for categories in touched) / len(recent) for one in mine]
            places = listed[row].items.tolist()
            expected = {
                "clicks": math.log1p(sum(w / usual if s == FEED else 1 for i, _, s, w in trained if i == item)),
                "search clicks": math.log1p(searched),
                "recent clicks": math.log1p(sum(t >= time - span for t in times)),
                "age": math.log1p((time - times[0]) / 86_400e6) if times else math.nan,
                "idle": math.log1p((time - times[-1]) / 86_400e6) if times else math.nan,
                "touched": sum(one > 0 for one in share) / len(mine),
                "affinity": max(share),
                "novel": float(not any(share)),
                "price to user": price - float(np.median(own_prices)),
                "price to pool": price - float(np.median(pool_prices)),
                "clicked": math.log1p(clicked.count(item)),
                "since click": math.log1p(recent.index(item)) if item in recent else math.nan,
                "coverage": len(asked & words) / len(asked),
                "title": len(asked & set(title)) / len(asked),
                "phrase": sum(
                    min(map(catalog.lexical.rarity, pair))
                    for pair in set(itertools.pairwise(data.analyser.terms(queries[row])))
                    if any(pair in itertools.pairwise(terms) for terms in fields[item])
                ),
                "listed rank": (
                    -math.log(places.index(item) + 1 if item in places else len(places) + 1) if places else math.nan
                ),
            }
            for name, value in expected.items():
                assert found[name][place] == pytest.approx(value, rel=1e-4, abs=1e-5, nan_ok=True), (name, row, item)
            place += 1
    assert place == len(matrix)


def test_nobody_and_new_items_have_missing_values_not_wrong_ones(data: Dataset) -> None:
    base = CatalogBase(data)
    change = ItemChange("new", {"title": str(data.queries.texts[0]), "price": "8"})
    catalog = CatalogSnapshot(base).with_changes([change])
    nobody = Histories(data).context(None, (), catalog)
    text = str(data.queries.texts[0])
    batch = RequestBatch(catalog, [nobody], [text], parsed=[parse(text, data.analyser)])
    statistics = ItemStatistics.of(Split(data))
    features = Features(statistics, ["a"], [], groups_of(statistics, data, "search"))
    matrix = features.matrix(batch, [np.array([1, catalog.size])], {}, {})
    found = {name: matrix[:, column] for column, name in enumerate(features.names)}
    for name in ("a score", "a z", "a rank", "touched", "affinity", "novel", "clicked", "since click", "price to user"):
        assert np.isnan(found[name]).all(), name
    assert found["coverage"][1] == found["title"][1] == 1 and found["clicks"][1] == 0
    assert found["price to pool"].tolist()[1] == 0  # the other has no price
    assert found["age"][1] == 0  # it has just come
    assert np.isnan(found["idle"][1])


def test_texts_of_the_newest_clicks_are_compared_with_those_of_candidates(data: Dataset) -> None:
    vectors = np.random.default_rng(1).normal(size=(data.sizes.items + 1, 4)).astype(np.float32)

    class Channel:
        def vectors_of(self, catalog: CatalogSnapshot, items: np.ndarray) -> np.ndarray:
            return vectors[items]

    batch = batch_for(data, [1], [], int(data.click_history.time.max()))
    nobody = Histories(data).context(None, (), batch.catalog)
    both = RequestBatch(batch.catalog, [*batch.users, nobody])
    pool = np.array([4, 9, 30])
    scorer = HistoryTextScorer("dense", Channel())  # type: ignore[arg-type]
    scores, none = scorer.score(both, [pool, pool])
    expected = [np.mean([vectors[item] @ vectors[one] for one in batch.users[0].recent[:10]]) for item in pool]
    assert scorer.name == "dense of history" and none is None
    assert scores == pytest.approx(expected, abs=1e-5)
