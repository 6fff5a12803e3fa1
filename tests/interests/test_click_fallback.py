"""Users without recent queries get interests from clicks, and their graphs say so."""

from collections.abc import Sequence

import pytest
from minds import GARDEN

from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.errors import SettingsError
from searec.interests.click_fallback import INSTEAD, ClickFallback
from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.profile import Profile, ProfileClick
from searec.interests.reasoner import ReasoningResult
from searec.interests.reasoner_registry import reasoner_named

READER = Profile("reader", 9, clicks=(ProfileClick("Red cap", ("Caps",), 5),))


class Names:
    """Says its own name of everybody with a query or a click."""

    version = "1"

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind, self.calls = name, kind, 0

    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        self.calls += 1
        return [ReasoningResult(one, self._graph(one)) for one in profiles]

    def _graph(self, profile: Profile) -> InterestGraph:
        if not (profile.queries if self.kind == "query" else profile.clicks):
            return InterestGraph(profile.user, profile.at, (), {"reasoner": self.name})
        up = Edge(source="signal", target="demand", relation="hypernym", signal=self.kind)  # type: ignore[arg-type]
        down = Edge(source="demand", target=self.name, relation="hyponym")
        return InterestGraph(profile.user, profile.at, (up, down), {"reasoner": self.name})


def test_clicks_stand_in_openly_where_nothing_was_searched() -> None:
    clicks = Names("offline", "click")
    one = ClickFallback(Names("chat", "query"), lambda: clicks)
    results = one.infer([GARDEN, Profile("silent", 9)])
    assert [len(result.graph.interests()) for result in results if result.graph is not None] == [1, 0]
    assert clicks.calls == 0, "it is not opened where nobody needs it"
    garden, reader = (result.graph for result in one.infer([GARDEN, READER]))
    assert garden is not None and reader is not None
    assert [path.text for path in garden.interests()] == ["chat"] and INSTEAD not in garden.origin
    assert [path.text for path in reader.interests()] == ["offline"]
    assert reader.origin == {"reasoner": "offline", INSTEAD: "chat"}
    assert reader.interests()[0].reason.startswith("because you clicked")
    assert one.name == "chat" and one.version != "1"


def test_chat_and_debate_have_it_unless_told_otherwise(small_world: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    split = Split(small_world)
    for name in ("chat", "debate"):
        options = {"chat_model": "toy"}
        assert isinstance(reasoner_named(name, split, ("recommend",), options), ClickFallback)
        alone = reasoner_named(name, split, ("recommend",), {**options, "fallback": "none"})
        assert not isinstance(alone, ClickFallback) and alone.name == name
        with pytest.raises(SettingsError, match="expected: offline or none"):
            reasoner_named(name, split, ("recommend",), {**options, "fallback": "some"})
