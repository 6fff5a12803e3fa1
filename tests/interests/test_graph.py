"""Graphs: paths, rules, merging over time, and the way to JSON and back."""

import math

import pytest

from searec.data.schema import DAY
from searec.errors import DataError
from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.novelty import NOVEL
from searec.interests.profile import Profile, ProfileClick, ProfileQuery

UP = Edge(
    source="nike air max",
    target="sports shoes",
    relation="hypernym",
    signal="query",
    evidence="a brand of them",
    confidence=0.8,
    time=5,
)
UP2 = Edge(source="hoodie", target="streetwear", relation="hypernym", signal="query", confidence=0.5)
TEE = Edge(source="streetwear", target="graphic tees", relation="hyponym", confidence=0.9)
CAP = Edge(source="streetwear", target="vintage caps", relation="co-hyponym", confidence=0.6)
SOCK = Edge(source="sports shoes", target="running socks", relation="co-hyponym", confidence=0.7)
GRAPH = InterestGraph("u1", 10 * DAY, (UP, UP2, TEE, CAP, SOCK), {"reasoner": "test", "version": "1"})


def test_interests_go_by_their_best_path() -> None:
    found = GRAPH.interests()
    assert [one.text for one in found] == ["running socks", "graphic tees", "vintage caps"]
    assert [one.confidence for one in found] == pytest.approx([0.8 * 0.7, 0.5 * 0.9, 0.5 * 0.6])
    assert found[0].reason == "because you looked for “nike air max” → sports shoes → running socks"
    stronger = InterestGraph(
        "u1",
        0,
        (*GRAPH.edges, Edge(source="sports shoes", target="Graphic Tee", relation="co-hyponym", confidence=1.0)),
    )
    assert [one.confidence for one in stronger.interests()] == pytest.approx([1 - 0.2 * 0.55, 0.56, 0.3])
    assert stronger.interests()[0].demand == "sports shoes"
    assert GRAPH.demands == {"sports shoes": 0.8, "streetwear": 0.5}
    assert GRAPH.signals == {"nike air max": "query", "hoodie": "query"}


def test_json_and_back() -> None:
    assert InterestGraph.from_json(GRAPH.to_json()) == GRAPH
    assert InterestGraph.from_json(InterestGraph("ü 1", 0).to_json()) == InterestGraph("ü 1", 0)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{}", "format"),
        ("[]", "object"),
        ("no json", "JSON"),
        (GRAPH.to_json().replace('"format":1', '"format":2'), "format"),
        (GRAPH.to_json().replace("co-hyponym", "friend"), "relation"),
        (GRAPH.to_json().replace('"confidence":0.8', '"confidence":"high"'), "confidence"),
    ],
)
def test_what_is_no_graph_is_refused_by_name(text: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        InterestGraph.from_json(text)


@pytest.mark.parametrize(
    ("edge", "problem"),
    [
        (Edge(source="hats", target="caps", relation="hyponym"), "demand nothing leads to"),
        (Edge(source="x", target="hats", relation="hypernym"), "starts from a signal"),
        (Edge(source="streetwear", target="caps", relation="hyponym", signal="query"), "starts from a signal"),
        (Edge(source="streetwear", target="caps", relation="hyponym", confidence=0.0), "confidence"),
        (Edge(source="streetwear", target="caps", relation="hyponym", confidence=math.nan), "confidence"),
        (Edge(source="streetwear", target="caps", relation="hyponym", confidence=1.1), "confidence"),
        (Edge(source="streetwear", target=" ", relation="hyponym"), "empty"),
        (Edge(source="streetwear", target="cap " * 50, relation="hyponym"), "longer"),
        (Edge(source="streetwears", target="Tees graphic", relation="hyponym"), "twice"),
    ],
)
def test_edges_that_break_a_rule_are_refused(edge: Edge, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        InterestGraph("u1", 0, (*GRAPH.edges, edge))


def test_merging_fades_what_is_old_and_strengthens_what_is_said_again() -> None:
    again = Edge(source="Streetwear", target="Graphic Tee", relation="hyponym", confidence=0.5, evidence="new words")
    newer = InterestGraph("u1", 40 * DAY, (UP2, again), {"reasoner": "newer"})
    merged = GRAPH.merged(newer, half_life=30)
    by = {edge.target: edge for edge in merged.edges}
    assert by["vintage caps"].confidence == pytest.approx(0.3)
    assert by["sports shoes"].confidence == pytest.approx(0.4)
    assert by["Graphic Tee"].confidence == pytest.approx(1 - 0.5 * (1 - 0.45))
    assert by["Graphic Tee"].evidence == "new words"
    assert by["streetwear"].confidence == pytest.approx(1 - 0.5 * 0.75)
    assert merged.origin == {"reasoner": "newer"}
    assert merged.at == 40 * DAY
    gone = GRAPH.merged(InterestGraph("u1", 400 * DAY), half_life=30)
    assert gone.edges == ()
    with pytest.raises(DataError, match="follow on"):
        newer.merged(GRAPH)
    with pytest.raises(DataError, match="follow on"):
        GRAPH.merged(InterestGraph("u2", 40 * DAY))


def test_an_interest_goes_when_its_demand_has_faded() -> None:
    weak = InterestGraph(
        "u1",
        0,
        (
            Edge(source="q", target="d", relation="hypernym", signal="query", confidence=0.06),
            Edge(source="d", target="i", relation="hyponym"),
        ),
    )
    assert weak.merged(InterestGraph("u1", 30 * DAY)).edges == ()


def test_what_the_history_holds_goes_by_rule() -> None:
    profile = Profile(
        "u1",
        10 * DAY,
        queries=(ProfileQuery("graphic tee", 1),),
        clicks=(ProfileClick("Red cap", ("Caps",), 1),),
        earlier=("socks for running",),
    )
    assert [one.text for one in GRAPH.novel(profile).interests()] == ["vintage caps"]
    assert GRAPH.novel(profile, lowest=NOVEL).demands == GRAPH.demands
    assert [one.text for one in GRAPH.top(1).interests()] == ["running socks"]
