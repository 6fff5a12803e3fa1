"""Items that came after the training, under a model that scores them by what is said of them."""

import numpy as np
import torch
from small_shop import Shop

from searec.data.user_history import UserHistory, batch_of
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.run import read_run
from searec.pipeline.types import Request, Response
from searec.store.event_store import EventStore

NEW = [("fresh-1", "plain", []), ("fresh-2", "a twin of another", ["no such category"])]


def feed(engine: Pipeline, user: str) -> list[str]:
    (answer,) = engine.recommend([Request(user=user, k=300)])
    assert isinstance(answer, Response), answer
    return [shown.item for shown in answer.items]


def test_a_new_item_stands_where_the_score_of_its_text_puts_it(shop: Shop, engines, store: EventStore) -> None:  # type: ignore[no-untyped-def]
    engine = engines(("event-transformer",), events=store, diversity=0.0)
    data, model = shop.data, read_run(shop.runs["event-transformer"], shop.data).model
    number = int(np.diff(data.click_history.offsets).argmax())
    user = data.users.texts[number - 1]
    before = feed(engine, user)
    title = str(data.item_table["title"][0])
    new = [(item, f"{text} {title}", categories) for item, text, categories in NEW]
    store.put_items([{"item_id": item, "title": text, "categories": names} for item, text, names in new])
    after = feed(engine, user)
    assert [item for item in after if not item.startswith("fresh")] == before, "known items keep their order"

    history = UserHistory.of(data, number, newest=512)
    batch = batch_of(data, [history], model.needs, "recommend")
    texts = [" ".join([text, *names]) for _, text, names in new]
    with torch.no_grad():
        known = model.score(batch)[0]
        scores = model.score_new(batch, model.describe_items(texts, torch.zeros(2, 1, dtype=torch.long)))[0]
    rank = known[data.items.to_internal(before).astype(np.int64)]
    assert len({int((rank > score).sum()) for score in scores}) == 2, "the two differ"
    for (item, _, _), score in zip(new, scores, strict=True):
        others = int((scores > score).sum())
        assert after.index(item) == int((rank > score).sum()) + others
