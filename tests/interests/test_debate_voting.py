"""Ballots of a debate: candidates in order, shares, and the edges that follow."""

import pytest

from searec.interests.debate_rounds import Debate
from searec.interests.debate_voting import Ballot, concluded, mean_edge
from searec.interests.interest_graph import Edge
from searec.interests.profile import Profile
from searec.interests.two_hop import Seat


def edge(target: str, confidence: float, source: str = "camping") -> Edge:
    return Edge(source=source, target=target, relation="hyponym", confidence=confidence)


def ballot() -> Ballot:
    debate = Debate(Profile("u", 9))
    debate.present = ["a", "b"]
    debate.last = {"a": (edge("tent", 0.4), edge("stoves", 0.9)), "b": (edge("tents", 0.8),)}
    return Ballot.of(debate)


def test_candidates_are_distinct_and_ordered_by_confidence() -> None:
    assert [(one.number, one.text, sorted(one.edges)) for one in ballot().candidates] == [
        (1, "stoves", ["a"]),
        (2, "tents", ["a", "b"]),
    ]


def test_a_merged_interest_has_the_voters_of_all_its_names() -> None:
    one = ballot()
    one.voters = ["a", "b"]
    one.candidates[0].yes, one.candidates[1].yes = {"a"}, {"b"}
    for candidate in one.candidates:
        candidate.outcome = "kept"
    assert [one.share(candidate) for candidate in one.candidates] == [0.5, 0.5]
    apart = {each.target: each.confidence for each in concluded(one, {})}
    assert apart == pytest.approx({"stoves": 0.45, "tents": 0.3})
    [together] = concluded(one, {1: 2})
    assert (together.target, together.confidence) == ("tents", pytest.approx((0.9 + 0.8) / 2))


def test_equal_edges_have_the_mean_confidence_of_the_surest_words() -> None:
    assert mean_edge([edge("tent", 0.2), edge("tents", 0.6)]) == edge("tents", 0.4)


def test_a_persona_stands_above_each_question() -> None:
    assert Seat("sceptic", None, "You doubt.\n").question("What?") == "You doubt.\n\nWhat?"  # type: ignore[arg-type]
    assert Seat("plain", None).question("What?") == "What?"  # type: ignore[arg-type]
