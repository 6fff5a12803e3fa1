"""The dense channel: masks, changed items and the encoder's work, with an encoder of which all calls are counted."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from searec.data.dataset import Dataset, load
from searec.data.synthetic.simulate import World, simulate
from searec.pipeline import changed_vectors, dense_channel
from searec.pipeline.catalog_snapshot import CatalogBase, CatalogSnapshot
from searec.pipeline.channels import RequestBatch
from searec.pipeline.dense_channel import DenseChannel
from searec.pipeline.histories import Histories
from searec.pipeline.least_similarity import least_similarity
from searec.pipeline.ranking import DenseScorer
from searec.search.query import parse
from searec.store.events import ItemChange

WIDTH = 24


class CountingEncoder:
    """The mean of one random vector for each word."""

    def __init__(self) -> None:
        self.encoded: Counter[str] = Counter()
        self.threads: set[str] = set()
        self.gate: threading.Event | None = None
        self.error: Exception | None = None

    def encode_now(self, texts: Sequence[str]) -> np.ndarray:
        self.threads.add(threading.current_thread().name)
        if self.gate is not None and threading.current_thread().name == "searec-changed-items":
            assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        self.encoded.update(texts)
        vectors = np.stack(
            [sum((_word(word) for word in text.lower().split()), np.full(WIDTH, 1e-3)) for text in texts]
        )
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    encode = encode_now


def _word(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest())
    return np.random.default_rng(seed).normal(size=WIDTH)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    world = World(users=40, items=200, clicks=8.0, searches=12.0, families=2, types=3, seed=5)
    return load(simulate(tmp_path_factory.mktemp("shop") / "shop", world))


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def channel(data: Dataset, encoder: CountingEncoder) -> DenseChannel:
    vectors = torch.from_numpy(encoder.encode_now(data.item_texts()))
    model = SimpleNamespace(item_vectors=torch.cat((torch.zeros(1, WIDTH), vectors)), text_encoder=encoder)
    made = DenseChannel(SimpleNamespace(model=model, data=data, label="dense"))  # type: ignore[arg-type]
    encoder.encoded.clear()
    return made


def batch(
    catalog: CatalogSnapshot, query: str, allowed: Sequence[int] | None = None, excluded: Sequence[int] = ()
) -> RequestBatch:
    data = catalog.base.data
    mask = None
    if allowed is not None:
        mask = np.zeros(catalog.size + 1, dtype=bool)
        mask[list(allowed)] = True
        mask &= ~catalog.unavailable
    nobody = Histories(data).context(None, (), catalog)
    parsed = [parse(query, data.analyser)]
    return RequestBatch(catalog, [nobody], [query], [mask], [np.array(excluded, dtype=np.int64)], parsed=parsed)


def found(channel: DenseChannel, *request: Any, k: int = 10) -> list[int]:
    [candidates] = channel.retrieve(batch(*request), k)["dense"]
    return [int(item) for item in candidates.items]


def nearest(encoder: CountingEncoder, catalog: CatalogSnapshot, query: str, permitted: Sequence[int]) -> list[int]:
    """The permitted items by the product of the words that they have now."""
    vectors = encoder.encode_now([_text(catalog, item) for item in permitted])
    scores = vectors @ encoder.encode_now([query])[0]
    return [permitted[row] for row in np.argsort(-scores, kind="stable")]


def _text(catalog: CatalogSnapshot, item: int) -> str:
    return changed_vectors.item_words(catalog.attributes(item))


def test_hidden_removed_excluded_and_filtered_items_take_no_places(
    channel: DenseChannel, encoder: CountingEncoder, data: Dataset
) -> None:
    query = str(data.queries.texts[0])
    base = CatalogSnapshot(CatalogBase(data))
    every = list(range(1, data.sizes.items + 1))
    best = nearest(encoder, base, query, every)
    assert found(channel, base, query) == best[:10]
    ids = data.items.to_external(np.array(best))
    catalog = base.with_changes([ItemChange(ids[0], hidden=True), ItemChange(ids[1], removed=True)])
    assert found(channel, catalog, query) == best[2:12]
    assert found(channel, catalog, query, None, best[2:5]) == best[5:15]
    passing = best[::3]
    assert found(channel, catalog, query, passing) == [item for item in passing if item not in best[:2]][:10]
    assert found(channel, catalog, query, passing, best[3:7]) == [x for x in passing if x not in best[:7]][:10]


def test_new_and_reworded_items_are_found_by_their_words_of_now(
    channel: DenseChannel, encoder: CountingEncoder, data: Dataset
) -> None:
    query = "zither festival"
    known = str(data.items.texts[6])
    changes = [
        ItemChange("fresh", {"title": "zither festival"}),
        ItemChange(known, {"title": "zither"}),
        ItemChange("other", {"title": "nothing alike"}),
    ]
    catalog = CatalogSnapshot(CatalogBase(data)).with_changes(changes)
    every = list(range(1, catalog.size + 1))
    assert found(channel, catalog, query) == nearest(encoder, catalog, query, every)[:10]
    assert found(channel, catalog, query)[:2] == [data.sizes.items + 1, 7]
    before = data.item_texts()[6]
    assert found(channel, CatalogSnapshot(CatalogBase(data)), before)[0] == 7
    assert found(channel, catalog, before) == nearest(encoder, catalog, before, every)[:10], "not by the words it had"
    [scores] = DenseScorer("dense", channel).score(batch(catalog, query), [np.array(every)])
    assert scores is not None
    assert (np.argsort(-scores, kind="stable")[:10] + 1).tolist() == found(channel, catalog, query)
    hidden = catalog.with_changes([ItemChange("fresh", {"title": "zither festival"}, hidden=True)])
    assert found(channel, hidden, query)[0] == 7
    assert found(channel, catalog, query, None, [7, data.sizes.items + 1])[0] not in (7, data.sizes.items + 1)
    again = catalog.with_changes([ItemChange("fresh", {"title": "nothing alike"})])
    assert found(channel, again, query)[0] == 7


def test_no_text_of_an_item_is_encoded_twice(channel: DenseChannel, encoder: CountingEncoder, data: Dataset) -> None:
    catalog = CatalogSnapshot(CatalogBase(data))
    for number in range(12):
        catalog = catalog.with_changes([ItemChange(f"new-{number}", {"title": f"title {number}"})])
        for _ in range(3):
            assert catalog.size in found(channel, catalog, f"title {number}")
    same = catalog.with_changes([ItemChange("new-3", {"title": "title 3"}), ItemChange("copy", {"title": "title 4"})])
    assert same.size in found(channel, same, "title 4")
    items = {text: count for text, count in encoder.encoded.items() if text.startswith("title")}
    assert items == {f"title {number}": 2 for number in range(12)}, "once as an item, once as a query"


def test_many_new_items_are_encoded_beside_the_requests(
    channel: DenseChannel, encoder: CountingEncoder, data: Dataset
) -> None:
    """Meanwhile known items are found, and reworded ones not by the words that they had."""
    reworded = str(data.items.texts[6])
    before = str(data.item_table["title"][6])
    encoder.gate = threading.Event()
    changes = [ItemChange(reworded, {"title": "zither zither"})]
    changes += [ItemChange(f"new-{number}", {"title": f"zither {number}"}) for number in range(200)]
    catalog = CatalogSnapshot(CatalogBase(data)).with_changes(changes)
    first = found(channel, catalog, before, k=500)
    assert sorted(first) == [item for item in range(1, data.sizes.items + 1) if item != 7]
    assert 7 in found(channel, CatalogSnapshot(CatalogBase(data)), before)
    [scores] = DenseScorer("dense", channel).score(batch(catalog, before), [np.array([7, 8])])
    assert scores is not None and np.isneginf(scores[0]) and np.isfinite(scores[1])
    encoder.gate.set()
    deadline = time.monotonic() + 20
    while len(found(channel, catalog, "zither", k=500)) < catalog.size:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found(channel, catalog, "zither")[0] == 7
    texts = [text for text in encoder.encoded if text.startswith("zither ")]
    assert len(texts) == 201 and all(encoder.encoded[text] == 1 for text in texts)
    assert "searec-changed-items" in encoder.threads


def test_an_encoder_that_fails_is_not_called_by_every_request(
    channel: DenseChannel, encoder: CountingEncoder, data: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    changes = [ItemChange(f"new-{number}", {"title": f"zither {number}"}) for number in range(50)]
    catalog = CatalogSnapshot(CatalogBase(data)).with_changes(changes)
    query = str(data.queries.texts[0])  # encoded already
    encoder.error = RuntimeError("out of memory")
    for _ in range(5):
        assert len(found(channel, catalog, query)) == 10
        thread = channel._changed._thread
        assert thread is not None
        thread.join()
    assert sum("cannot be encoded: out of memory" in one.getMessage() for one in caplog.records) == 1
    encoder.error = None
    later = catalog.with_changes([ItemChange("new-50", {"title": "zither 50"})])
    found(channel, later, query)
    thread = channel._changed._thread
    assert thread is not None
    thread.join()
    assert found(channel, later, "zither 50")[0] == later.size


def test_requests_of_a_snapshot_do_not_read_every_new_item(
    channel: DenseChannel, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [ItemChange(f"new-{number}", {"title": f"zither {number}"}) for number in range(300)]
    catalog = CatalogSnapshot(CatalogBase(data)).with_changes(changes)
    channel.encode_items(catalog)
    found(channel, catalog, "zither")

    def refuse(*_: object) -> None:
        raise AssertionError("a new item was read")

    monkeypatch.setattr(changed_vectors, "item_words", refuse)
    monkeypatch.setattr(changed_vectors, "_changed", refuse)
    monkeypatch.setattr(CatalogSnapshot, "attributes", refuse)
    assert len(found(channel, catalog, "zither 5")) == 10


def test_queries_are_encoded_once_and_the_oldest_forgotten(
    channel: DenseChannel, encoder: CountingEncoder, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = CatalogSnapshot(CatalogBase(data))
    for _ in range(2):
        found(channel, catalog, str(data.queries.texts[0]))
        found(channel, catalog, "never seen before")
    assert encoder.encoded == {"never seen before": 1}
    monkeypatch.setattr(dense_channel, "_QUERIES", 2)
    for query in ("a", "b", "a", "c", "a", "b"):
        channel.encoded([query])
    assert [encoder.encoded[query] for query in "abc"] == [1, 2, 1]
    assert channel.encoded(["x", "y", "z", "x"]).shape == (4, WIDTH), "more than are remembered"


def test_random_letters_are_no_match_and_real_words_are() -> None:
    titles = [f"{a} {b}" for a in ("steel", "wooden", "copper") for b in ("kettle", "spoon", "basket", "ladder")]

    def encode(texts: Sequence[str]) -> np.ndarray:
        """Similarity by shared words, and a little by shared letters."""
        words = sorted({word for title in titles for word in title.split()})
        rows = [
            [float(word in text.split()) for word in words] + [0.1 * (letter in text) for letter in "abcdefgh"]
            for text in texts
        ]
        vectors = np.array(rows, dtype=np.float32) + 1e-3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    items = encode(titles)
    items[:, -8:] *= 0.5

    def best(vectors: np.ndarray) -> np.ndarray:
        return (vectors @ items.T).max(axis=1)

    for queries in (["copper kettle", "spoon", "ladder wooden"], []):
        least = least_similarity(queries, titles, encode, best)
        assert (best(encode(["kettle", "steel basket"])) >= least).all()
        assert (best(encode(["gfhqe", "xyzzy abde", "cafe"])) < least).all()
    assert least_similarity([], ["a", "b c"], encode, best) == -1.0, "no words to shuffle"
