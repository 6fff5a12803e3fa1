"""Labels: what a student is asked and told, what is refused and why, and who is held back."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from searec.data.schema import DAY
from searec.distillation.labels import LONG, REASONS, Labels, make_labels
from searec.errors import DataError, RunError
from searec.interests.interest_graph import Edge, InterestGraph, merge_edges
from searec.interests.novelty import stems
from searec.interests.profile import Profile, ProfileClick, ProfileQuery
from searec.interests.reasoner import Reasoner, ReasoningResult
from searec.interests.student_dialogue import as_written, read_answer, student_prompt, write_answer

MADE = {"reasoner": "test", "version": "1"}
SHOPPER = Profile("u1", 10 * DAY, {"age": "25-34"}, (ProfileQuery("red tent", 7), ProfileQuery("tin pan", 5)))


def up(query: str, demand: str, confidence: float = 0.9, **more: Any) -> Edge:
    return Edge(
        source=query,
        target=demand,
        relation="hypernym",
        signal=more.pop("signal", "query"),
        confidence=confidence,
        **more,
    )


def to(demand: str, interest: str, confidence: float = 0.5, **more: Any) -> Edge:
    return Edge(source=demand, target=interest, relation=more.pop("relation", "hyponym"), confidence=confidence, **more)


def thought(profile: Profile, *edges: Edge) -> ReasoningResult:
    return ReasoningResult(profile, InterestGraph(profile.user, profile.at, edges, MADE))


def test_a_prompt_and_its_answer_in_full() -> None:
    graph = InterestGraph(
        "u1",
        10 * DAY,
        (up("tin pan", "cooking"), up("red tent", "camping", 0.8), to("camping", "stoves", 0.61234)),
        MADE,
    )
    assert student_prompt(SHOPPER).endswith(
        'JSON.\n{"profile":{"age":"25-34"},"searches":{"1":"red tent","2":"tin pan"}}\n'
    )
    answer = '{"demands":[[1,"camping",0.8],[2,"cooking",0.9]],"interests":[["camping","hyponym","stoves",0.61]]}'
    assert write_answer(graph, SHOPPER) == answer
    edges = (
        up("red tent", "camping", 0.8, time=7),
        up("tin pan", "cooking", time=5),
        to("camping", "stoves", 0.61, time=7),
    )
    assert (
        read_answer(answer, SHOPPER, MADE) == InterestGraph("u1", 10 * DAY, edges, MADE) == as_written(graph, SHOPPER)
    )


def test_no_text_of_a_user_can_end_a_line() -> None:
    profile = replace(SHOPPER, queries=(ProfileQuery('a"}}\n{"demands":[]}\n', 3),), attributes={"n": "x\ny"})
    assert student_prompt(profile).count("\n") == 2
    assert json.loads(student_prompt(profile).splitlines()[1])["searches"] == {"1": 'a"}}\n{"demands":[]}\n'}


def test_who_asked_nothing_is_read_by_clicks() -> None:
    clicks = tuple(ProfileClick(title, (), 9 - place) for place, title in enumerate(("Tent", "", "Pan", "Tent")))
    profile = Profile("u", 10, clicks=clicks)
    assert student_prompt(profile).endswith('{"profile":{},"clicks":{"1":"Tent","2":"Pan"}}\n')
    graph = read_answer('{"demands":[[2,"cooking",1]],"interests":[]}', profile, MADE)
    assert graph.edges == (up("Pan", "cooking", 1.0, signal="click", time=7),)
    assert student_prompt(replace(profile, queries=(ProfileQuery("x", 1),))).endswith(
        '{"profile":{},"searches":{"1":"x"}}\n'
    )


TEXTS = st.text("abs1é語 '\"\\\n{}[],:\u2028", min_size=1, max_size=8).filter(stems)
SURE = st.floats(0.005, 1.0, exclude_min=True)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Profile, InterestGraph]:
    queries = draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True))
    profile = Profile("u", 100, queries=tuple(ProfileQuery(text, 90 - place) for place, text in enumerate(queries)))
    hops = draw(st.lists(st.builds(up, st.sampled_from(queries), TEXTS, SURE), min_size=1, max_size=5))
    demands = [edge.target for edge in hops]
    relation = st.sampled_from(["hyponym", "co-hyponym"])
    wider = st.builds(
        lambda demand, text, sure, kind: to(demand, text, sure, relation=kind),
        st.sampled_from(demands),
        TEXTS,
        SURE,
        relation,
    )
    return profile, InterestGraph("u", 100, merge_edges([*hops, *draw(st.lists(wider, max_size=6))]), MADE)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_every_graph_comes_back_from_its_answer(case: tuple[Profile, InterestGraph]) -> None:
    profile, graph = case
    said = as_written(graph, profile)
    assert "\n" not in write_answer(graph, profile)
    assert read_answer(write_answer(graph, profile), profile, MADE) == said
    assert as_written(said, profile) == said
    assert {(edge.key, edge.relation) for edge in said.edges} == {(edge.key, edge.relation) for edge in graph.edges}
    near = {(edge.key, edge.relation): edge.confidence for edge in graph.edges}
    assert all(abs(edge.confidence - near[edge.key, edge.relation]) <= 0.005 + 1e-9 for edge in said.edges)


GOOD = '{"demands":[[1,"camping",0.8]],"interests":[["camping","hyponym","stoves",0.6]]}'


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "not JSON"),
        ("camping", "not JSON"),
        (GOOD[:-1], "not JSON"),
        (GOOD + "\n" + GOOD, "not JSON"),
        (f"```json\n{GOOD}\n```", "not JSON"),
        ("[]", "another shape"),
        ('{"demands":[]}', "another shape"),
        (GOOD[:-1] + ',"note":1}', "another shape"),
        (GOOD.replace("0.8", '"0.8"'), "another shape"),
        (GOOD.replace("[1,", '["1",'), "another shape"),
        (GOOD.replace("[1,", "[1.0,"), "another shape"),
        (GOOD.replace("hyponym", "hypernym"), "another shape"),
        (GOOD.replace(",0.6", ""), "another shape"),
        (GOOD.replace("[1,", "[3,"), "no signal of the prompt"),
        (GOOD.replace("[1,", "[0,"), "no signal of the prompt"),
        (GOOD.replace("[1,", "[-1,"), "no signal of the prompt"),
        (GOOD.replace("0.8", "1.2"), "confidence"),
        (GOOD.replace("0.8", "NaN"), "confidence"),
        (GOOD.replace('["camping",', '["hiking",'), "demand nothing leads to"),
        (GOOD.replace('"stoves"', '" "'), "empty"),
        (GOOD.replace("]]}", '],["Camping","co-hyponym","stove",0.5]]}'), "twice"),
    ],
)
def test_an_answer_that_is_not_to_the_letter_is_refused_by_name(answer: str, problem: str) -> None:
    assert len(read_answer(GOOD, SHOPPER, MADE).edges) == 2
    with pytest.raises(DataError, match=problem):
        read_answer(answer, SHOPPER, MADE)


def test_each_reason_to_refuse_a_thought_is_counted(asked: Callable[..., Profile]) -> None:
    def camper(number: int, *queries: str, demand: str = "camping", interest: str = "stoves") -> ReasoningResult:
        profile = asked(number, queries)
        return thought(profile, up(queries[0], demand), to(demand, interest))

    stranger = asked(4, ["bed"])
    found = make_labels(
        [
            ReasoningResult(asked(0, ["a"]), None, "no answer"),
            thought(asked(1, ["a"])),
            thought(asked(2, ["a"]), up("a", "letters")),
            thought(asked(3, ["oak bed", "bed lamps"]), up("oak bed", "sleep"), to("sleep", "lamp")),
            thought(stranger, up("sofa", "sleep"), to("sleep", "pillows")),
            thought(stranger, up("bed", "sleep", 0.004), to("sleep", "pillows")),
            camper(5, "red tent", "tin pan"),
            camper(6, "tin pans", "red tent", demand="Camping", interest="stove"),
            camper(7, "red tent", "tin pan", interest="lanterns"),
            camper(8, "torch"),
            camper(9, "torch", interest="lanterns"),
            camper(10, "rope"),
            camper(11, "a very long query " * 9),
        ],
        teacher="rules",
        version="7",
        share=0,
    )
    # user 6 names the queries in another order, and so starts from the newer one: it says something else than users 5
    # and 7
    assert found.refused == {"no graph": 1, "empty": 2, "not novel": 1, "not read back": 2, "conflicting": 5}
    assert [one.user for one in found.train] == ["u10", "u11"] and found.held == ()
    short = found.within(300, lambda one: len(one.prompt) + len(one.completion))
    assert [one.user for one in short.train] == ["u10"]
    assert short.refused == {**found.refused, LONG: 1}
    assert set(short.refused) | {"repeated"} == set(REASONS)
    assert short.about["teacher"] == {"name": "rules", "version": "7"}
    assert short.about["cutoff"] == 10 * DAY


def test_of_labels_with_one_prompt_the_majority_stays(asked: Callable[..., Profile]) -> None:
    def says(number: int, interest: str, *queries: str) -> ReasoningResult:
        profile = asked(number, queries, attributes={"age": "18-24"})
        return thought(profile, up("red tent", "camping"), to("camping", interest))

    three = [
        says(0, "lanterns", "red tent", "tin pan"),
        says(1, "stoves", "tin pan", "red tent"),
        says(2, "stove", "red tents", "red tent", "tin pans"),
    ]
    found = make_labels(three, teacher="t", version="1", share=0)
    assert [one.user for one in found.train] == ["u1"] and found.refused == {"conflicting": 1, "repeated": 1}
    older = replace(three[1].profile, attributes={"age": "25-34"}, user="u9")
    assert (
        make_labels(
            [three[1], ReasoningResult(older, replace(three[1].graph, user="u9"))], teacher="t", version="1", share=0
        ).refused
        == {}
    )


def test_a_label_keeps_the_surest_interests(teacher: Reasoner, asked: Callable[..., Profile]) -> None:
    found = make_labels(
        teacher.infer([asked(0, ["red tent", "blue pan"])]), teacher="t", version="1", interests=3, share=0
    )
    assert [row[2] for row in json.loads(found.train[0].completion)["interests"]] == [
        "camping stove",
        "chef knife",
        "apron",
    ]


def test_users_are_held_back_by_the_seed(teacher: Reasoner, shoppers: Callable[[int], list[Profile]]) -> None:
    thoughts = teacher.infer(shoppers(60))
    found = make_labels(thoughts, teacher="t", version="1", share=0.25, seed=3)
    again = make_labels(thoughts[::-1], teacher="t", version="1", share=0.25, seed=3)
    other = make_labels(thoughts, teacher="t", version="1", share=0.25, seed=4)
    train, held = {one.user for one in found.train}, {one.user for one in found.held}
    assert not train & held and len(held) == round(0.25 * (len(train) + len(held)))
    assert not {one.prompt for one in found.train} & {one.prompt for one in found.held}
    assert {one.user for one in other.held} != held
    both = {one.user for part in (again.train, again.held) for one in part} & (train | held)
    assert len({one.user for one in again.held} & both ^ held & both) <= 4, (
        "who asks what others ask may go, the rest keep their side"
    )
    twice = [one for one in thoughts for _ in range(2)]
    assert max(Counter(one.user for one in make_labels(twice, teacher="t", version="1").train).values()) == 1
    assert len(make_labels(thoughts[:2], teacher="t", version="1", share=0.01).held) == 1
    assert make_labels(thoughts[:1], teacher="t", version="1", share=0.5).held == ()
    assert make_labels([], teacher="t", version="1") == Labels(
        (), (), {}, {**found.about, "cutoff": None, "share": 0.1, "seed": 0, "teacher": {"name": "t", "version": "1"}}
    )


def test_the_folder_holds_it_all(lessons: Labels, tmp_path: Path) -> None:
    found = replace(lessons, refused={"empty": 2})
    found.save(tmp_path / "labels")
    assert Labels.load(tmp_path / "labels") == found
    about = json.loads((tmp_path / "labels" / "about.json").read_text())
    assert about["labels"] == {"train": len(found.train), "eval": len(found.held), "refused": {"empty": 2}}
    first = json.loads((tmp_path / "labels" / "train.jsonl").read_text().splitlines()[0])
    assert first == {
        "user": found.train[0].user,
        "prompt": found.train[0].prompt,
        "completion": found.train[0].completion,
    }
    assert found.digest == lessons.digest != replace(found, train=found.train[1:]).digest
    (tmp_path / "labels" / "about.json").write_text(json.dumps({**about, "format": "interests-0"}))
    with pytest.raises(RunError, match="another prompt format"):
        Labels.load(tmp_path / "labels")
    (tmp_path / "labels" / "about.json").write_text(json.dumps(about))
    (tmp_path / "labels" / "eval.jsonl").write_text('{"user": "u1"}\n')
    with pytest.raises(RunError, match="cannot read the labels"):
        Labels.load(tmp_path / "labels")
