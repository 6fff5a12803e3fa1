"""The reasoner without a model: what queries mean, where demands lead, and what it may not read."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.data.schema import DAY
from searec.data.split import Split
from searec.interests.category_index import CategoryIndex
from searec.interests.novelty import NEAR, History
from searec.interests.offline_reasoner import OfflineReasoner, OfflineSettings
from searec.interests.one_hop_reasoner import OneHopReasoner
from searec.interests.profile import Profile, ProfileClick, ProfileQuery, profiles

SECONDS = DAY / 1e6


def shop(*names: str) -> dict[str, Any]:
    return {f"{'/'.join(names)} {n}": {"title": f"{names[-1]} no {n}", "categories": list(names)} for n in range(3)}


ITEMS = {
    **shop("Pets", "Dogs", "Dog bed"),
    **shop("Pets", "Dogs", "Leash"),
    **shop("Pets", "Cats", "Cat toy"),
    **shop("Books", "Crime novel"),
    **shop("Books", "Travel guide"),
    **shop("Outdoor", "Tent"),
}
MEANING = {
    "dog bed": (1, 0),
    "leash": (1, 0.2),
    "cat toy": (0.8, 0.6),
    "crime novel": (0, 1),
    "travel guide": (0.1, 1),
    "tent": (-1, 0.3),
}
MEANING |= {"pets": (0.4, -0.9), "dogs": (0.5, -0.9), "cats": (0.3, -0.9), "books": (-0.1, 1), "outdoor": (-0.9, 0.9)}


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """Two dimensions, pets and books, by hand."""
    rows = np.array(
        [MEANING.get(text.lower(), (0.9, 0.1) if "puppy" in text else (-0.9, -1.0)) for text in texts], dtype=np.float32
    )
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


@pytest.fixture(scope="module")
def data(make_data: Callable[..., Dataset]) -> Dataset:
    """Twelve users who click dog beds and tents and look for "sleepy" and find dog beds.

    Their last two clicks are crime novels.
    """
    users = [f"u{n}" for n in range(12)]
    feed, searches = [], []
    for user in users:
        feed += [
            (user, "Pets/Dogs/Dog bed 0", 1 * SECONDS),
            (user, "Outdoor/Tent 0", 2 * SECONDS),
            (user, "Outdoor/Tent 1", 3 * SECONDS),
        ]
        feed += [(user, "Books/Crime novel 0", 8 * SECONDS), (user, "Books/Crime novel 1", 9 * SECONDS)]
        searches += [
            (user, "sleepy", 0.5 * SECONDS, ["Pets/Dogs/Dog bed 1"]),
            (user, "sleepy", 1.5 * SECONDS, ["Pets/Dogs/Dog bed 1"]),
        ]
        searches += [
            (user, "sleepy", 8.5 * SECONDS, ["Books/Crime novel 2"]),
            (user, "sleepy", 9.5 * SECONDS, ["Books/Crime novel 2"]),
        ]
    feed.sort(key=lambda event: event[2])
    searches.sort(key=lambda event: event[2])
    return make_data(items=ITEMS, users=users, feed=feed, searches=searches)


def reasoner(data: Dataset, **settings: Any) -> OfflineReasoner:
    return OfflineReasoner(Split(data), encode, OfflineSettings(**settings))


def asks(*texts: str, clicks: Sequence[ProfileClick] = ()) -> Profile:
    return Profile(
        "x", 100, queries=tuple(ProfileQuery(text, 50 + n) for n, text in enumerate(texts)), clicks=tuple(clicks)
    )


def infer(one: OfflineReasoner, profile: Profile) -> Any:
    thought = one.infer([profile])[0]
    assert thought.graph is not None
    return thought.graph


def test_a_query_means_what_was_clicked_after_it_in_training_alone(data: Dataset) -> None:
    """Held-out clicks after "sleepy" are crime novels; only the dog beds before them count."""
    graph = infer(reasoner(data), asks("sleepy"))
    first = [edge for edge in graph.edges if edge.relation == "hypernym"]
    assert [(edge.source, edge.target, edge.confidence, edge.evidence, edge.time) for edge in first] == [
        ("sleepy", "Dogs", 1.0, "24 of 24 clicks after it", 50)
    ]


@pytest.mark.parametrize(
    ("query", "demand", "how"),
    [
        ("leashes", "Dogs", "named"),
        ("my new tent pole", "Outdoor", "named in it"),
        ("puppy", "Dogs", "near in meaning"),
    ],
)
def test_other_queries_mean_what_they_name_or_are_near_to(data: Dataset, query: str, demand: str, how: str) -> None:
    graph = infer(reasoner(data, near=0.9), asks(query))
    first = [edge for edge in graph.edges if edge.relation == "hypernym"]
    assert first[0].target == demand
    assert first[0].evidence.endswith(how)


def test_interests_stand_below_a_demand_or_beside_it_and_are_untouched(data: Dataset) -> None:
    """From a leash to dogs: the dog bed stands below them, the tent is clicked by those who click dog things.

    What was clicked does not come back.
    """
    graph = infer(reasoner(data), asks("leash"))
    edges = {edge.target: edge for edge in graph.edges if edge.relation != "hypernym"}
    assert edges["Dog bed"].relation == "hyponym" and edges["Tent"].relation == "co-hyponym"
    assert {edge.source for edge in edges.values()} == {"Dogs"}
    assert edges["Tent"].evidence == "12 of 12 who clicked something of Dogs"
    assert "Leash" not in edges and "Crime novel" not in edges, "held-out clicks are not read"
    clicked = infer(reasoner(data), asks("leash", clicks=[ProfileClick("a bed", ("Pets", "Dogs", "Dog bed"), 5)]))
    assert "Dog bed" not in {edge.target for edge in clicked.edges}


def test_nothing_leads_to_what_nobody_clicks_with_a_demand_and_no_name_is_near(data: Dataset) -> None:
    found = {one.text for one in infer(reasoner(data, near=0.9), asks("dog bed")).interests()}
    assert "Tent" in found and not found & {"Travel guide", "Crime novel"}
    graph = infer(reasoner(data, near=0.9), asks("crime novel"))
    assert {edge.target: edge.evidence for edge in graph.edges if edge.signal is None} == {
        "Travel guide": "a kind of Books"
    }


def test_the_surest_interest_is_the_likeliest_click(data: Dataset) -> None:
    """The order of a graph is that of the model's chances, whichever demand leads there."""
    one = reasoner(data)
    profile = asks("leash", "tent", "sleepy")
    (meant,) = one._meant([profile])
    (chances,) = one.model.chances(one._signals([profile], [meant]))
    interests = infer(one, profile).interests()
    values = [chances[one.catalogue.named(interest.text)] for interest in interests]
    assert len(values) > 1 and values == sorted(values, reverse=True)


def test_clicks_stand_in_where_nothing_is_asked(data: Dataset) -> None:
    click = ProfileClick("Bed no 1", ("Pets", "Dogs", "Dog bed"), 7)
    graph = infer(reasoner(data), asks(clicks=[click]))
    first = [edge for edge in graph.edges if edge.relation == "hypernym"]
    assert [(edge.source, edge.signal, edge.target, edge.time) for edge in first] == [("Bed no 1", "click", "Dogs", 7)]
    assert graph.interests()[0].reason.startswith("because you clicked “Bed no 1” → Dogs → ")
    assert not infer(reasoner(data), asks())
    both = infer(reasoner(data), asks("tent", clicks=[click]))
    assert {edge.signal for edge in both.edges if edge.signal and edge.target == "Outdoor"} == {"query"}


def test_nothing_known_survives_and_no_more_than_asked_for(small_world: Dataset) -> None:
    split = Split(small_world)
    one = OfflineReasoner(split, encode, OfflineSettings(interests=5))
    users = np.arange(1, small_world.sizes.users + 1)
    everyone = list(profiles(small_world, users, split.visible(("recommend", "search"))[users]))
    thoughts = one.infer(everyone)
    some = 0
    for profile, thought in zip(everyone, thoughts, strict=True):
        assert thought.graph is not None
        interests = thought.graph.interests()
        history = History.of(profile)
        assert all(history.grade(interest.text) >= NEAR for interest in interests)
        assert len(interests) <= 5
        some += len(interests) > 0
    assert some > 0.9 * len(everyone)
    assert [a.graph for a in one.infer(everyone[:7])] == [b.graph for b in thoughts[:7]]


def test_version_goes_with_settings_and_data(data: Dataset, small_world: Dataset) -> None:
    assert reasoner(data).version == reasoner(data).version != reasoner(data, interests=3).version
    assert reasoner(data).version != OfflineReasoner(Split(small_world), encode).version


def test_catalogue_finds_by_name_then_words_then_meaning(data: Dataset) -> None:
    catalogue = CategoryIndex(data, encode)
    name = catalogue.taxonomy.name
    found = catalogue.find(["beds, dog", "red dog bed and leash", "puppy", "zzz", ""], near=0.9)
    assert [[(name(one.category), one.matched_by) for one in meanings] for meanings in found] == [
        [("Dog bed", "name")],
        [("Dog bed", "word"), ("Leash", "word")],
        [("Leash", "meaning"), ("Dog bed", "meaning")],
        [],
        [],
    ]
    assert catalogue.named("Crime Novels") == catalogue.find(["crime novel"])[0][0].category
    assert catalogue.named("novel") == 0


def test_one_hop_does_not_rank_by_demands(data: Dataset) -> None:
    """With equal weights, what stands below the demand of "leash" is likelier by two hops, and no likelier by one."""
    two, one = reasoner(data), OneHopReasoner(Split(data), encode)
    bed, novel = (two.catalogue.named(name) for name in ("Dog bed", "Crime novel"))

    def odds(of: OfflineReasoner, text: str) -> float:
        chances = of.model.chances(of._signals([asks(text)], of._meant([asks(text)])))[0]
        return float(chances[bed] / chances[novel])

    nothing = odds(one, "xyz unknown")
    assert odds(two, "leash") > 2 * nothing
    assert odds(one, "leash") == pytest.approx(nothing)
    assert one.version != two.version
