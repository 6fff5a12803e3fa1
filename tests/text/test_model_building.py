"""Models of the library `transformers` are built one at a time."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from searec.config import configure
from searec.models.gensar.paper import GenSARPaper
from searec.models.gensar.t5 import new_t5
from searec.text import encoder
from searec.text.model_building import BUILDING
from searec.text.tokenizer import loading


def seq2seq() -> Any:
    return new_t5(configure(GenSARPaper.Config, {"width": 16, "inner": 16, "layers": 1}), 20, start=10)


def sentence_encoder() -> Any:
    return encoder._model.__wrapped__(encoder.DEFAULT, "cpu")


def checkpoint() -> None:
    with loading(Path("a checkpoint")):
        pass


@pytest.mark.parametrize("build", [seq2seq, sentence_encoder, checkpoint])
def test_a_model_waits_until_another_one_is_built(build: Callable[[], Any]) -> None:
    build()  # imports are over with
    built = threading.Event()

    def work() -> None:
        build()
        built.set()

    with BUILDING:
        thread = threading.Thread(target=work)
        thread.start()
        assert not built.wait(1.0)
    assert built.wait(60.0)
    thread.join()
