"""What a model must be given before it learns, made and handed over."""

from typing import Any

import numpy as np
import torch

from searec.artifacts.interests import Interests, interests
from searec.artifacts.item_identifiers import ItemCoder, item_codes
from searec.artifacts.user_codes import Coder, user_codes
from searec.data.split import Split
from searec.models.base import Model
from searec.models.gensar.model import GenSAR
from searec.models.gserec import GSERec
from searec.models.serendipity.model import Serendipity
from searec.text.encoder import Encoder

Made = Coder | ItemCoder | Interests


def prepare(kind: type[Model], config: Any, split: Split, seed: int) -> Made | None:
    """Make what a model of this kind needs from the training events, or take it from the cache; None if it needs nothing.

    Raises:
        SearecError: as `user_codes`, `item_codes` and `interests`.
    """
    if kind.artifact is None:
        return None
    if kind.artifact == "item_identifiers":
        return item_codes(split, config, seed=seed)
    if kind.artifact == "interests":
        return interests(split, kind.tasks, config)
    tasks = config.tasks if "tasks" in kind.Config.__dataclass_fields__ else kind.tasks
    return user_codes(split, tasks, config, seed=seed)


def give(model: Model, made: Made | None, split: Split) -> None:
    """Hand it to the model, which may draw weights that depend on it."""
    if made is None:
        return
    if isinstance(made, ItemCoder):
        assert isinstance(model, GenSAR)
        model.load_artifacts(made.identifiers, made.tokens, made.lessons(split.data.item_texts()), made.code_vectors())
        return
    if isinstance(made, Interests):
        assert isinstance(model, Serendipity)
        model.load_artifacts(made.table, made.category_vectors, split)
        return
    assert isinstance(model, GSERec)
    sentences = None
    if model.config.query == "sentence":
        vectors = Encoder(model.config.encoder).encode(split.data.queries.texts.to_list())
        sentences = torch.from_numpy(np.concatenate((np.zeros_like(vectors[:1]), vectors)))
    model.load_artifacts(made.codes, torch.from_numpy(split.known), sentences)
