"""Interests in words: new texts are encoded beside the requests.

And closing does not wait for those that nobody needs.
"""

import threading
from typing import Any

import numpy as np
import pytest
from small_shop import Shop

from searec.interests.user_interests import Interest, UserInterests
from searec.pipeline import user_interests
from searec.pipeline.run import read_run
from searec.pipeline.user_interests import InterestEncoder


@pytest.mark.parametrize("waiting", [1, 5, 200])
def test_closing_while_texts_wait(shop: Shop, monkeypatch: pytest.MonkeyPatch, waiting: int) -> None:
    """The mark of the end used to be taken for one of the texts, and closing, so a hot swap, then hung."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def encode(self, texts: list[str]) -> Any:
            begun.set()
            assert go_on.wait(30)
            return np.ones((len(texts), width), dtype=np.float32)

        def find(self, texts: list[str], **_: int) -> Any:
            return [()] * len(texts)

    monkeypatch.setattr(user_interests, "catalogue_of", lambda *_: Slow())
    interest_encoder = InterestEncoder(read_run(shop.runs["serendipity"], shop.data))
    width = len(interest_encoder._vectors[0])
    interest_encoder.encode([UserInterests("fresh", [Interest("first", 0.9, "why")])])
    assert begun.wait(30)
    interest_encoder.encode([UserInterests("fresh", [Interest(f"text {n}", 0.9, "why") for n in range(waiting)])])
    closing = threading.Thread(target=interest_encoder.close, daemon=True)
    closing.start()
    while not interest_encoder._closing.is_set():
        pass
    go_on.set()
    closing.join(30)
    assert not closing.is_alive()
