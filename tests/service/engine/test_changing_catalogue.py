"""Search of a catalogue that changes: at once, in every process, and after a restart."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small_shop import Shop

from searec.pipeline.pipeline import Pipeline
from searec.pipeline.types import Request, Response
from searec.search.changed_items import ChangedItems
from searec.store.store import Store


def results(engine: Pipeline, query: str) -> list[str]:
    (answer,) = engine.search([Request(query=query, k=20, spelling=False)])
    assert isinstance(answer, Response) and not answer.left_out
    return [one.item for one in answer.items]


def test_two_engines_and_a_later_one_find_items_as_they_are(
    engines: Callable[..., Pipeline], shop: Shop, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    title, known = shop.data.item_table.row(0, named=True)["title"], shop.data.items.texts[0]
    with Store(url) as first, Store(url) as second:
        one, other = (engines((), ("bm25",), events=store.events) for store in (first, second))

        def both(query: str) -> list[str]:
            listed = results(one, query)
            assert results(other, query) == listed
            return listed

        assert both("zyxquav") == []
        assert known in both(title)
        first.events.put_items([{"item_id": "new", "title": "Zyxquav lamps"}])
        assert both("zyxquav lamp")[0] == "new"
        second.events.put_items([{"item_id": known, "title": "zyxquav zyxquav"}])
        assert set(both("zyxquav")) == {known, "new"}
        assert known not in both(title)
        first.events.put_items([{"item_id": "new", "title": "Brontix lamps"}])
        assert both("zyxquav") == [known]
        assert both("brontix") == ["new"]
        first.events.hide_items([known], True)
        assert both("zyxquav") == []
        second.events.hide_items([known], False)
        assert both("zyxquav") == [known]
        second.events.remove_items(["new"])
        assert both("brontix") == []
    with Store(url) as again:
        later = engines((), ("bm25",), events=again.events)
        assert results(later, "zyxquav") == [known]
        assert results(later, "brontix") == []
        again.events.put_items([{"item_id": "new", "title": "Brontix lamps"}])
        assert results(later, "brontix") == ["new"]


def test_words_of_an_item_are_read_once_for_each_change(
    engines: Callable[..., Pipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that thousands of new items cost a search no more than known ones."""
    read: list[int] = []
    add = ChangedItems.add
    monkeypatch.setattr(ChangedItems, "add", lambda self, items: (read.append(len(items)), add(self, items))[1])
    with Store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        engine = engines((), ("bm25",), events=store.events)
        store.events.put_items([{"item_id": f"new{n}", "title": f"zyxquav lamp {n}"} for n in range(1_000)])
        for _ in range(5):
            assert len(results(engine, "zyxquav lamp 7")) == 20
        store.events.put_items([{"item_id": "more", "title": "zyxquav brontix", "price": 3}])
        assert results(engine, "brontix") == ["more"]
        store.events.put_items([{"item_id": "more", "title": "zyxquav brontix", "price": 4}])  # no new words
        assert results(engine, "brontix") == ["more"]
    assert read == [1_000, 1]
