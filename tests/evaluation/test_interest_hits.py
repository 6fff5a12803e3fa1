"""Interests against later clicks: hits counted by hand, fair controls, agents of a debate alone, and labels."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from searec.cli.interest_quality import debate_verdict
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.errors import DataError
from searec.evaluation.interest_hits import POPULAR, RANDOM, NovelClick, interest_hits, novel_clicks
from searec.evaluation.interest_labels import KEY, SHEET, agreement, labelled_interests, write_labels
from searec.interests.category_index import CategoryIndex
from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.novelty import NEAR, History
from searec.interests.profile import Profile
from searec.interests.reasoner import ReasoningResult


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


def encode(texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.eye(len(texts), 4, dtype=np.float32)


@pytest.fixture(scope="module")
def catalogue(small_world: Dataset) -> CategoryIndex:
    return CategoryIndex(small_world, encode)


@pytest.fixture(scope="module")
def clicks(small_world: Dataset, catalogue: CategoryIndex) -> list[NovelClick]:
    return novel_clicks(Split(small_world), catalogue)


class Names:
    """Names categories to each user; as a debate, with what an agent says alone."""

    name, version = "names", "1"

    def __init__(
        self, say: Callable[[Profile], list[str]], alone: Callable[[Profile], list[str]] | None = None
    ) -> None:
        self._say, self._alone = say, alone

    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        return [ReasoningResult(one, self._graph(one), None, self._said(one)) for one in profiles]

    def _graph(self, profile: Profile) -> InterestGraph:
        up = Edge(source="a query", target="a demand", relation="hypernym", signal="query")
        down = [
            Edge(source="a demand", target=text, relation="hyponym", confidence=1 / (2 + rank))
            for rank, text in enumerate(self._say(profile))
        ]
        return InterestGraph(profile.user, profile.at, (up, *down))

    def _said(self, profile: Profile) -> tuple[object, ...]:
        if self._alone is None:
            return ()
        interests = [{"interest": text, "confidence": 0.5} for text in self._alone(profile)]
        return ({"kind": "proposal", "round": 0, "agent": "sceptic", "interests": interests},)


def test_clicks_are_new_to_their_users_by_touch_and_by_rule(clicks: list[NovelClick], catalogue: CategoryIndex) -> None:
    assert len(clicks) > 20
    for click in clicks:
        history = History.of(click.profile)
        touched = {catalogue.named(name) for one in click.profile.clicks for name in one.categories}
        assert click.categories <= set(click.untouched.tolist()) and not click.categories & touched
        assert all(history.grade(catalogue.taxonomy.name(int(one))) >= NEAR for one in click.untouched)


def test_hits_are_those_that_a_hand_counts(clicks: list[NovelClick], catalogue: CategoryIndex) -> None:
    name = catalogue.taxonomy.name
    answer = {one.profile.user: [name(category) for category in sorted(one.categories)][:1] for one in clicks}
    known = {one.profile.user: name(int(one.untouched[-1])) for one in clicks}
    half = {one.profile.user for one in clicks[::2]}
    found = interest_hits(
        clicks,
        {
            "all": Names(lambda profile: answer[profile.user]),
            "half": Names(lambda profile: answer[profile.user] if profile.user in half else []),
            "late": Names(lambda profile: [known[profile.user], *answer[profile.user]]),
        },
        catalogue,
        k=1,
    )
    assert found["all"].hit == 1.0 and found["all"].named == 1.0 and found["all"].p < 0.01
    assert found["half"].hit == pytest.approx(len(half) / len(clicks))
    assert found["late"].hit < 0.2, "the second of two is not among the first"
    popular = np.mean([int(one.untouched[0]) in one.categories for one in clicks])
    assert found[POPULAR].hit == pytest.approx(popular) and found[POPULAR].p == 1.0
    assert found["all"].difference == pytest.approx(1 - popular) and found[RANDOM].hit < 0.5


def test_a_debate_is_held_against_its_agents_alone(clicks: list[NovelClick], catalogue: CategoryIndex) -> None:
    name = catalogue.taxonomy.name
    answer = {one.profile.user: [name(category) for category in sorted(one.categories)] for one in clicks}
    for debate, alone, says in (([], answer, "is not better than"), (answer, [], "is better than")):
        say = [(lambda profile, of=part: of[profile.user] if of else []) for part in (debate, alone)]
        found = interest_hits(clicks, {"debate": Names(*say)}, catalogue)
        assert {found["debate"].hit, found["debate: sceptic alone"].hit} == {0.0, 1.0}
        assert says in debate_verdict(found)
    assert debate_verdict(interest_hits(clicks, {}, catalogue)) == ""


def test_labels_are_graded_by_what_comes_later(small_world: Dataset, catalogue: CategoryIndex, tmp_path: Path) -> None:
    pairs = labelled_interests(Split(small_world), catalogue, count=60)
    history, taxonomy = small_world.click_history, catalogue.taxonomy
    assert {one.grade for one in pairs} == {0, 1, 2} and len(pairs) <= 60
    for one in pairs:
        user = int(small_world.users.to_internal([one.profile.user])[0])
        span = slice(int(history.offsets[user]), int(history.offsets[user + 1]))
        later = set(taxonomy.narrow.take(history.item[span][history.time[span] >= one.profile.at])[0].tolist())
        category = catalogue.named(one.interest)
        assert (category in later) == (one.grade == 2 or (one.why == "in the history" and category in later))
        if one.grade == 1:
            assert taxonomy.parent[category] in {taxonomy.parent[other] for other in later}
    assert [one.interest for one in labelled_interests(Split(small_world), catalogue, count=60)] == [
        one.interest for one in pairs
    ]
    write_labels(pairs, tmp_path / "labels")
    sheet, key = tmp_path / "labels" / SHEET, tmp_path / "labels" / KEY
    rows = rows_of(sheet)
    assert len(rows) == len(pairs) and "grade" not in rows[0] and "user" not in rows[0]
    grades = [row["grade"] for row in rows_of(key)]
    for name, ratings in {"same": grades, "zero": ["0"] * len(grades), "bad": ["7", *grades[1:]]}.items():
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, rows[0])
            writer.writeheader()
            writer.writerows({**row, "rating": rating} for row, rating in zip(rows, ratings, strict=True))
    found = agreement(tmp_path / "labels", [tmp_path / "same.csv", tmp_path / "zero.csv"])
    assert found["key, same"] == {"pairs": len(pairs), "agree": 1.0, "kappa": 1.0}
    assert found["key, zero"]["agree"] == pytest.approx(grades.count("0") / len(grades))
    assert found["key, zero"]["kappa"] == pytest.approx(0.0)
    with pytest.raises(DataError, match="expected: 0, 1 or 2"):
        agreement(tmp_path / "labels", [tmp_path / "bad.csv"])
