"""Judging against numbers counted by hand."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from searec.data.dataset import Dataset
from searec.errors import DataError
from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.profile import Profile, ProfileQuery
from searec.interests.reasoner import ReasoningResult
from searec.interests.reasoner_evaluation import (
    RAW,
    TOKENS,
    Categories,
    Estimate,
    ReasoningMetrics,
    evaluate_reasoning,
    infer_timed,
)

AXES = {"caps": (1.0, 0.0), "hats": (0.8, 0.6), "socks": (0.0, 1.0), "Berets": (0.8, 0.6), "mugs": (-1.0, 0.0)}


def encode(texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([AXES[text] for text in texts], dtype=np.float32)


def shopper(number: int, *queries: str) -> Profile:
    return Profile(f"u{number}", 100, queries=tuple(ProfileQuery(text, 9) for text in queries))


def thought(profile: Profile, *interests: str, said: dict[str, object] | None = None) -> ReasoningResult:
    up = Edge(source=profile.queries[0].text, target="demand", relation="hypernym", signal="query")
    edges = (up, *(Edge(source="demand", target=text, relation="hyponym") for text in interests))
    return ReasoningResult(profile, InterestGraph(profile.user, 100, edges), transcript=() if said is None else (said,))


USERS = [shopper(0, "red tent", "wool hats"), shopper(1, "pan"), shopper(2, "rope"), shopper(3, "lamp")]
OURS = [
    thought(USERS[0], "hat", "caps", "tent pegs", said={RAW: ["hat", "caps", "tent pegs", "tents"], TOKENS: 30}),
    thought(USERS[1], "socks", said={RAW: ["socks"], TOKENS: 10}),
    ReasoningResult(USERS[2], None, "cut off", ({TOKENS: 20},)),
    thought(USERS[3], "caps", "socks"),
]
THEIRS = [thought(USERS[0], "cap", "tent peg"), thought(USERS[1], "mugs"), thought(USERS[2], "caps"), thought(USERS[3])]


def value(found: ReasoningMetrics, name: str) -> float:
    return found.figures[name].value


def test_every_figure_is_what_a_hand_counts() -> None:
    found = evaluate_reasoning(OURS, teacher=THEIRS, catalogue=Categories(("Caps & Hats", "Tent pegs")), seconds=2.0)
    assert value(found, "answered") == 3 / 4
    assert value(found, "interests") == (3 + 1 + 0 + 2) / 4
    # before the rule: "hat" and "tents" are known, "tent pegs" half known (not more than half), "caps" and "socks" new
    assert [value(found, f"raw.{grade}") for grade in range(3)] == [2 / 5, 0, 3 / 5]
    assert [value(found, f"after.{grade}") for grade in range(3)] == [1 / 6, 0, 5 / 6]
    # two of three for the first, none of one for the second, no answer for the third; of the fourth the teacher says
    # nothing
    assert value(found, "precision") == pytest.approx((2 / 3 + 0) / 2)
    assert value(found, "recall") == pytest.approx((2 / 2 + 0 + 0) / 3)
    assert value(found, "f1") == pytest.approx((2 * (2 / 3) / (5 / 3)) / 3)
    assert value(found, "grounded") == 4 / 6, "hat, caps, tent pegs and caps, not socks and socks"
    assert found.problems == {"cut off": 1}
    told = found.as_json()
    assert (told["profiles"], told["profiles_per_second"], told["tokens_per_second"]) == (4, 2.0, 30.0)
    assert json.loads(json.dumps(told)) == told
    assert "soft.f1" not in found.figures


def test_half_known_and_more_than_half_known_are_graded_apart() -> None:
    found = evaluate_reasoning([thought(shopper(0, "trail shoe"), "trail shoe laces", "shoe polish", "trail shoes")])
    assert [value(found, f"after.{grade}") for grade in range(3)] == pytest.approx([1 / 3, 1 / 3, 1 / 3])


def test_an_encoder_sees_what_words_do_not() -> None:
    ours = [thought(USERS[0], "caps", "socks"), thought(USERS[1], "mugs"), ReasoningResult(USERS[2], None, "x")]
    theirs = [thought(USERS[0], "hats"), thought(USERS[1], "caps"), thought(USERS[2], "caps")]
    found = evaluate_reasoning(ours, teacher=theirs, encode=encode, catalogue=Categories(("Berets",)), close=0.7)
    # caps . hats = 0.8, socks . hats = 0.6; mugs . caps = -1, which is no agreement
    assert value(found, "soft.precision") == pytest.approx((0.7 + 0) / 2)
    assert value(found, "soft.recall") == pytest.approx((0.8 + 0 + 0) / 3)
    assert value(found, "soft.f1") == pytest.approx((2 * 0.7 * 0.8 / 1.5) / 3)
    assert value(found, "f1") == 0
    assert value(found, "grounded") == pytest.approx(1 / 3), "caps . Berets = 0.8 only"
    assert value(evaluate_reasoning(ours, catalogue=Categories(("Berets",))), "grounded") == 0
    assert value(evaluate_reasoning(ours, catalogue=Categories(()), encode=encode), "grounded") == 0


def test_intervals_are_those_of_users_drawn_again() -> None:
    some = [thought(shopper(number, "a"), *(["caps"] if number % 2 else [])) for number in range(100)]
    found = evaluate_reasoning(some, seed=1).figures["interests"]
    error = 0.5 / math.sqrt(100)
    assert found.value == 0.5
    assert found.low == pytest.approx(0.5 - 1.96 * error, abs=0.02) and found.high == pytest.approx(
        0.5 + 1.96 * error, abs=0.02
    )
    assert evaluate_reasoning(some, seed=1).figures["interests"] == found
    assert evaluate_reasoning([some[1]] * 5, seed=1).figures["interests"] == Estimate(1.0, 1.0, 1.0)


def test_nothing_to_count_is_null() -> None:
    found = evaluate_reasoning([ReasoningResult(USERS[0], None)], teacher=[thought(USERS[0])], catalogue=Categories(()))
    told = found.as_json()
    for name in ("raw.0", "after.2", "precision", "recall", "f1", "grounded"):
        assert told["figures"][name] == {"value": None, "low": None, "high": None}, name
    assert told["figures"]["answered"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found.problems == {"no reason given": 1}
    assert told["tokens_per_second"] is None
    assert evaluate_reasoning([]).as_json()["figures"]["answered"]["value"] is None


def test_a_teacher_of_others_is_refused() -> None:
    with pytest.raises(DataError, match="other profiles"):
        evaluate_reasoning(OURS, teacher=THEIRS[::-1])
    with pytest.raises(DataError, match="other profiles"):
        evaluate_reasoning(OURS, teacher=THEIRS[:-1])


def test_categories_are_those_of_the_items(make_data: Callable[..., Dataset]) -> None:
    items = {"a": {"title": "x", "categories": ["Home", "Tents"]}, "b": {"title": "y", "categories": ["Home"]}}
    assert Categories.of(make_data(items=items, users=["u"])) == Categories(("Home", "Tents"))
    assert Categories.of(make_data(items={"a": "x"}, users=["u"])) == Categories(())


def test_a_category_that_holds_all_words_grounds_an_interest() -> None:
    names = Categories(("Camping Stoves & Fuel", "Dog Beds", "Cat Trees"))
    told = names.holds(["stove", "fuel for stoves", "dog bed", "dog trees", "the", "dog bed"])
    assert told == {"stove": True, "fuel for stoves": True, "dog bed": True, "dog trees": False, "the": False}


def test_time_is_the_reasoners(teacher: Any) -> None:
    profiles = [shopper(0, "red tent")]
    thoughts, seconds = infer_timed(teacher, profiles)
    assert thoughts == teacher.infer(profiles) and 0 < seconds < 60
