"""Interests of a dataset: which reasoner is taken, that nobody is asked twice.

And what happens where some are left without.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from searec.artifacts.interests import InferredInterests, reasoner_for
from searec.config import configure
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.errors import ChatError, RunError, SearecError, SettingsError
from searec.interests.interest_config import InterestSettings
from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.profile import Profile
from searec.interests.reasoner import ReasoningResult

TASKS: Any = ("recommend",)


@pytest.fixture(scope="module")
def split(small_world: Dataset) -> Split:
    return Split(small_world)


class Counting:
    """Has one idea for everybody, but for those it refuses."""

    name, version = "counting", "1"

    def __init__(self, *refused: str) -> None:
        self.asked = 0
        self._refused = refused

    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        self.asked += len(profiles)
        return [
            ReasoningResult(one, None, "no words")
            if one.user in self._refused
            else ReasoningResult(one, self._graph(one))
            for one in profiles
        ]

    def _graph(self, profile: Profile) -> InterestGraph:
        up = Edge(source="q", target="d", relation="hypernym", signal="query")
        return InterestGraph(
            profile.user, profile.at, (up, Edge(source="d", target="quite new", relation="co-hyponym", confidence=0.5))
        )


def test_offline_is_what_the_settings_make_it(split: Split) -> None:
    plain = reasoner_for(InterestSettings(), split, TASKS)
    assert plain.name == "offline" and plain.version == reasoner_for(InterestSettings(), split, TASKS).version
    for changed in ({"interests": 3}, {"near": 0.9}):
        assert reasoner_for(configure(InterestSettings, changed), split, TASKS).version != plain.version


def test_chat_and_debate_take_models_by_name(split: Split, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("openai")
    monkeypatch.setenv("SEAREC_CACHE", str(tmp_path))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    one: Any = reasoner_for(InterestSettings(reasoner="chat", chat_model="a", interests=4), split, TASKS)
    chat = one.reasoner
    assert (one.name, chat.chat.config.model, chat.config.interests) == ("chat", "a", 4)
    several: Any = reasoner_for(InterestSettings(reasoner="debate", chat_model="a,b"), split, TASKS)
    assert several.name == "debate" and [seat.chat.config.model for seat in several.reasoner.seats] == ["a", "b", "a"]
    for kind in ("chat", "debate"):
        with pytest.raises(SettingsError, match="chat_model=NAME"):
            reasoner_for(configure(InterestSettings, {"reasoner": kind}), split, TASKS)


def test_a_student_needs_its_folder(split: Split, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="model=RUN"):
        reasoner_for(InterestSettings(reasoner="student"), split, TASKS)
    with pytest.raises(SearecError, match="nothing"):
        reasoner_for(InterestSettings(reasoner="student", student=str(tmp_path / "nothing")), split, TASKS)


def test_nobody_is_asked_twice_and_failures_are_named(
    split: Split, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEAREC_CACHE", str(tmp_path))
    with pytest.raises(
        ChatError,
        match=r"\d+ of \d+ profiles are left without a graph; where: u1: no words; u1: no words; u1: no words",
    ):
        InferredInterests.make(split, TASKS, InterestSettings(), reasoner=Counting("u1"))
    first = Counting()
    made = InferredInterests.make(split, TASKS, InterestSettings(), reasoner=first)
    assert first.asked > split.data.sizes.users
    again = Counting()
    same = InferredInterests.make(split, TASKS, InterestSettings(), reasoner=again)
    assert again.asked == 0 and same.folder == made.folder
    assert made.table.texts == ["quite new"] and set(made.table.graphs) <= set(split.data.users.texts.to_list())
    (made.folder / "graphs.parquet").write_bytes(b"broken")
    with pytest.raises(RunError, match="cannot read the interests"):
        InferredInterests.make(split, TASKS, InterestSettings(), reasoner=again)
