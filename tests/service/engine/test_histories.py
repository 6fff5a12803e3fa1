"""Histories: events since the dataset become what models read."""

import numpy as np
from small_shop import Shop

from searec.data.user_history import UserHistory
from searec.pipeline.catalog_snapshot import CatalogBase, CatalogSnapshot
from searec.pipeline.histories import Histories
from searec.store.event_store import EventStore
from searec.store.events import Event

START = 1_750_000_000_000_000


def test_clicks_go_to_their_search_or_to_the_feed(shop: Shop, store: EventStore) -> None:
    items = shop.data.items.texts.to_list()[:4]
    known = shop.data.queries.texts[0]
    store.append(
        [
            Event(event_id="s1", user="n", kind="search", time=START, query="never asked"),
            Event(event_id="c1", user="n", kind="click", time=START + 1, item=items[0], search="s1"),
            Event(event_id="c2", user="n", kind="click", time=START + 2, item=items[1]),
            Event(event_id="s2", user="n", kind="search", time=START + 3, query=known, clicked=(items[2],)),
            Event(event_id="c3", user="n", kind="click", time=START + 4, item=items[3], search="no such search"),
            Event(event_id="c4", user="n", kind="click", time=START + 5, item="no such item"),
        ]
    )
    histories = Histories(shop.data, store)
    events = histories.read(["n"])["n"]
    found = histories.context("n", events, CatalogSnapshot(CatalogBase(shop.data)))
    assert found.history.user == 0
    assert found.history.feed_item.tolist() == [2, 4]
    assert found.history.feed_time.tolist() == [START + 2, START + 4]
    assert found.history.search_query.tolist() == [0, 1]
    assert found.history.search_text == ("never asked",)
    assert [found.history.search_click.row(n).tolist() for n in range(2)] == [[1], [3]]
    assert found.history.click_item.tolist() == [1, 2, 3, 4]
    assert found.recent.tolist() == [4, 3, 2, 1]
    told = [
        (one.kind, one.item, one.query)
        for one in histories.listed("n", events, CatalogSnapshot(CatalogBase(shop.data)))
    ]
    assert ("click", items[0], "never asked") in told
    assert ("click", items[1], None) in told
    assert ("click", items[2], known) in told


def test_events_from_before_stand_where_they_belong(shop: Shop, store: EventStore) -> None:
    data = shop.data
    inside = int(np.argmax(np.diff(data.interactions.offsets)))
    user = data.users.to_external(np.array([inside]))[0]
    base = UserHistory.of(data, inside, newest=512)
    middle = int(base.feed_time[len(base.feed_time) // 2]) + 1
    store.append([Event(event_id="late", user=user, kind="click", time=middle, item=data.items.texts[0])])
    histories = Histories(data, store)
    past = histories.context(user, histories.read([user])[user], CatalogSnapshot(CatalogBase(data))).history
    assert len(past.feed_item) == len(base.feed_item) + 1
    assert (np.diff(past.feed_time) >= 0).all()
    assert past.feed_item[int(np.searchsorted(past.feed_time, middle))] == 1
    assert (np.diff(past.click_time) >= 0).all()


def test_exported_events_are_not_read_again(shop: Shop, store: EventStore) -> None:
    item = shop.data.items.texts[0]
    store.append([Event(event_id="old", user="n", kind="click", time=START, item=item)])
    after = store.last_number()
    store.append([Event(event_id="new", user="n", kind="click", time=START + 1, item=item)])
    histories = Histories(shop.data, store, after=after)
    assert [event.event_id for event in histories.read(["n"])["n"]] == ["new"]
