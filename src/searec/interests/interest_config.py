"""Settings of the interests that a model reads."""

from typing import Annotated, Literal

from pydantic import Field

from searec.config import Count, Share, settings
from searec.interests.category_index import NEAR


@settings
class InterestSettings:
    """Profiles to graphs to vectors.

    reasoner: "offline", by the catalogue and without a model; "chat" or "debate", language models on a server;
        "student".
    chat_model: its name on the OpenAI-compatible server (address and key come from the environment); for a debate
        several with commas.
    student: its folder.
    interests: K of a user. days: of queries that are read.
    snapshots: graphs a user (S): the last one at the end of training, the others in even steps of the earlier events,
        so that a training example reads interests inferred before it.
    encoder: of texts, "minilm" or a sentence-transformers model by name or path.
    near: least cosine at which an interest means a category that it does not name.
    """

    reasoner: Literal["offline", "chat", "debate", "student"] = "offline"
    chat_model: str = ""
    student: str = ""
    interests: Count = 8
    days: Count = 30
    snapshots: Annotated[int, Field(ge=2)] = 3
    encoder: str = "minilm"
    near: Share = NEAR
