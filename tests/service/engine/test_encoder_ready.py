"""The encoder is there before the first request, and after a swap; what a request encodes is its own query, once."""

from collections.abc import Callable

import pytest
from small_shop import Shop

from searec.pipeline.pipeline import Pipeline
from searec.pipeline.types import Request, Response
from searec.store.event_store import EventStore
from searec.text import encoder


def test_no_request_loads_the_encoder(
    shop: Shop, engines: Callable[..., Pipeline], store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, encoded = encoder._forward, []

    def counted(model: object, texts: list[str]) -> object:
        encoded.extend(texts)
        return forward(model, texts)  # type: ignore[arg-type]

    monkeypatch.setattr(encoder, "_forward", counted)
    encoder._model.cache_clear()
    user = shop.data.users.texts[0]
    new = [{"item_id": f"new-{number}", "title": f"astrolabe of the {number}th kind"} for number in range(30)]
    for opening in range(3):  # at the start, with new items that came meanwhile, and after a swap with the same
        if opening == 1:
            store.put_items(new)
        engine = engines(("event-transformer",), ("bm25", "dense"), events=store)
        loads = encoder._model.cache_info().misses
        assert (loads, encoder._model.cache_info().currsize) == (1, 1)
        titles = [text for text in encoded if text.startswith("astrolabe of")]
        assert len(titles) == len(set(titles)) == (len(new) if opening == 1 else 0), "kept for the swap"
        encoded.clear()
        query = f"brass astrolabe {opening}"
        for name in (user, None):
            [response] = engine.search([Request(user=name, query=query, spelling=False)])
            assert isinstance(response, Response) and not response.left_out
        engine.recommend([Request(user=user)])
        assert encoded == [query]
        assert encoder._model.cache_info().misses == loads
        assert ("new-0" in {item.item for item in response.items}) == (opening > 0)
        encoded.clear()
