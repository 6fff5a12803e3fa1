"""A world of rules: what a query leads to stands in a table, so that a teacher.

A student and a count by hand must agree.
"""

import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from searec.data.schema import DAY
from searec.distillation.distil import DistilSettings, distil
from searec.distillation.labels import Labels, make_labels
from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.profile import Profile, ProfileQuery
from searec.interests.reasoner import Reasoner, ReasoningResult

RULES = {
    "tent": ("camping", ("camping stove", "sleeping bag")),
    "pan": ("cooking", ("chef knife", "apron")),
    "boots": ("hiking", ("trekking poles", "rain jacket")),
    "guitar": ("music", ("drum sticks", "piano stool")),
    "leash": ("pets", ("cat tree", "fish bowl")),
    "novel": ("reading", ("desk lamp", "bookmark")),
}
"""Last word of a query: its demand, and the interests that this leads to."""
KINDS = ("red", "blue", "green", "small", "large", "cheap")
TINY = DistilSettings(
    width=16,
    layers=1,
    heads=2,
    vocabulary=400,
    max_length=256,
    rank=2,
    alpha=4,
    dropout=0.1,
    batch=8,
    epochs=1,
    base_epochs=2,
    held=0.2,
    lr=1e-2,
)
"""Teaches nothing much, in a second."""


def user_of(number: int, queries: Sequence[str], **about: Any) -> Profile:
    """A user of this number who asked this, newest first."""
    return Profile(
        f"u{number}",
        10 * DAY,
        queries=tuple(ProfileQuery(text, 9 * DAY - place) for place, text in enumerate(queries)),
        **about,
    )


class RuleTeacher:
    """Reasons by `RULES`."""

    name, version = "rules", "1"

    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        return [ReasoningResult(profile, self.graph(profile)) for profile in profiles]

    def graph(self, profile: Profile) -> InterestGraph:
        edges: dict[str, Edge] = {}
        for asked in profile.queries:
            demand, interests = RULES[asked.text.split()[-1]]
            up = Edge(
                source=asked.text, target=demand, relation="hypernym", signal="query", confidence=0.9, time=asked.time
            )
            edges[asked.text] = up
            for place, text in enumerate(interests):
                wider = Edge(
                    source=demand,
                    target=text,
                    relation="co-hyponym",
                    confidence=round(0.8 - place / 10, 1),
                    time=asked.time,
                )
                edges.setdefault(text, wider)
        return InterestGraph(
            profile.user, profile.at, tuple(edges.values()), {"reasoner": self.name, "version": self.version}
        )


@pytest.fixture(scope="session")
def teacher() -> Reasoner:
    return RuleTeacher()


@pytest.fixture(scope="session")
def asked() -> Callable[..., Profile]:
    return user_of


@pytest.fixture(scope="session")
def shoppers() -> Callable[[int], list[Profile]]:
    """So many users who searched for two kinds of things, each."""

    def draw(count: int, seed: int = 0) -> list[Profile]:
        generator = random.Random(seed)
        queries = [
            [f"{generator.choice(KINDS)} {thing}" for thing in generator.sample(sorted(RULES), 2)] for _ in range(count)
        ]
        return [
            user_of(number, two, attributes={"age": generator.choice(["18-24", "25-34"])})
            for number, two in enumerate(queries)
        ]

    return draw


@pytest.fixture(scope="session")
def tiny() -> DistilSettings:
    return TINY


@pytest.fixture(scope="session")
def lessons(teacher: Reasoner, shoppers: Callable[[int], list[Profile]]) -> Labels:
    """40 labels or a few less, a fifth of them held back."""
    return make_labels(teacher.infer(shoppers(40)), teacher="rules", version="1", share=0.2)


@pytest.fixture(scope="session")
def tiny_student(lessons: Labels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a student that has learned next to nothing."""
    return distil(lessons, tmp_path_factory.mktemp("student") / "run", TINY)


@pytest.fixture(scope="session")
def checkpoint(lessons: Labels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model as transformers saves one, with a tokenizer that puts a token before every text."""
    import torch
    from tokenizers import processors
    from transformers import LlamaConfig, LlamaForCausalLM

    from searec.interests.causal_lm import small_tokenizer

    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = small_tokenizer([text for one in lessons.train for text in (one.prompt, one.completion)], 400)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    start = ("<s>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[start])
    with torch.random.fork_rng():
        torch.manual_seed(5)
        sizes = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
        }
        config = LlamaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=512, eos_token_id=1, bos_token_id=start[1], **sizes
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Whoever opens a connection, or asks where a host is, is noted here and fails."""
    tried: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        tried.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried
