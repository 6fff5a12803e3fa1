"""Histories end before their cut-off; summaries say the telling thing, the same each time, and who wrote them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from searec.artifacts import summaries as module
from searec.artifacts.history_texts import BY_HAND, Histories, histories_of
from searec.artifacts.summaries import PROMPTS, Summaries, chat_summaries, offline_summaries
from searec.data.dataset import Dataset
from searec.data.split import NEVER, Split
from searec.errors import ChatError, DataError, RunError
from searec.files import fingerprint
from searec.text.chat import Chat, ChatSettings

START = 1_682_899_200_000_000  # 2023-05-01 in microseconds, as in the shared fixtures

ITEMS: dict[str, Any] = {
    "t1": {"title": "El Gallo Taqueria", "categories": ["Restaurants", "Mexican"]},
    "t2": {"title": "Gallo Grande", "categories": ["Restaurants", "Mexican"]},
    "s1": {"title": "Sakura 88", "categories": ["Restaurants", "Sushi Bars"]},
    "g1": {"title": "City Gym", "categories": ["Fitness"]},
    "d1": {"title": "1984", "categories": []},
}
RECORD = {
    "searches": [
        ("gym near me", [ITEMS["g1"]]),
        ("best tacos", [ITEMS["t1"], ITEMS["t2"]]),
        ("tacos", [ITEMS["t1"]]),
        ("sushi", []),
        ("tacos", []),
    ],
    "clicks": [ITEMS["s1"], ITEMS["t1"], ITEMS["t2"]],
}


@pytest.fixture(scope="module")
def data(make_data: Callable[..., Dataset]) -> Dataset:
    """ "taco" is RECORD, and has three later events; "ulf digits" clicked one title without a letter.

    "nobody" did nothing.
    """
    return make_data(
        items=ITEMS,
        users=["nobody", "taco", "ulf digits", "viv sushi", "walt gym"],
        feed=[
            *(("taco", item, 10.0 * n) for n, item in enumerate(["s1", "t1", "t2"], start=1)),
            ("taco", "g1", 100.0),
            ("ulf digits", "d1", 10.0),
            *(("viv sushi", "s1", 10.0 * n) for n in range(1, 4)),
            ("walt gym", "g1", 5.0),
        ],
        searches=[
            ("taco", "gym near me", 1.0, ["g1"]),
            ("taco", "best tacos", 2.0, ["t1", "t2"]),
            ("taco", "tacos", 3.0, ["t1"]),
            ("taco", "sushi", 4.0, []),
            ("taco", "tacos", 5.0, []),
            ("taco", "late gym", 100.0, ["g1"]),
            ("taco", "later gym", 101.0, ["g1"]),
            ("viv sushi", "sushi", 1.0, ["s1"]),
            ("walt gym", "gym", 1.0, ["g1"]),
        ],
    )


@pytest.fixture(scope="module")
def cutoff(data: Dataset) -> np.ndarray:
    limit = np.full(data.sizes.users + 1, NEVER, dtype=np.int64)
    limit[2] = START + 100 * 1_000_000
    return limit


def test_a_history_ends_strictly_before_its_cutoff_newest_first(data: Dataset, cutoff: np.ndarray) -> None:
    written = histories_of(data, cutoff).written()
    assert written["user"].to_list() == [2, 3, 4, 5], "nobody is left out"
    assert written.row(0) == (
        2,
        "Gallo Grande\nEl Gallo Taqueria\nSakura 88",
        "tacos\nsushi\ntacos: El Gallo Taqueria\nbest tacos: El Gallo Taqueria; Gallo Grande\ngym near me: City Gym",
    )
    cutoff = cutoff.copy()
    cutoff[2] += 1
    later = histories_of(data, cutoff).written()
    assert later["recommend"][0].startswith("City Gym\nGallo Grande")
    assert later["search"][0].startswith("late gym: City Gym\ntacos\n"), "the search a second later is still out"


def test_the_newest_events_and_the_first_clicks_of_a_session(data: Dataset, cutoff: np.ndarray) -> None:
    short = histories_of(data, cutoff, limit=2, clicks=1)
    assert short.written().row(0) == (2, "Gallo Grande\nEl Gallo Taqueria", "tacos\nsushi")
    assert (
        Histories.of([RECORD], limit=4, clicks=1).written().row(0)[2]
        == "tacos\nsushi\ntacos: El Gallo Taqueria\nbest tacos: El Gallo Taqueria"
    )


def test_no_event_at_or_after_the_cutoff_shows_in_any_split(small_world: Dataset) -> None:
    cutoff = Split(small_world).cutoff(("recommend", "search"))
    histories = histories_of(small_world, cutoff, limit=10**6, clicks=10**6)
    for events, stream in ((histories.clicks, small_world.interactions), (histories.searches, small_world.searches)):
        owners = np.repeat(np.arange(small_world.sizes.users + 1), np.diff(stream.offsets))
        before = np.bincount(owners[stream.time < cutoff[owners]], minlength=small_world.sizes.users + 1)
        np.testing.assert_array_equal(np.bincount(events["user"].to_numpy(), minlength=len(before)), before)
        assert 0 < before.sum() < len(stream.time)


def test_the_cutoff_has_a_digest(data: Dataset, cutoff: np.ndarray) -> None:
    moved = cutoff.copy()
    moved[2] += 1
    digests = [histories_of(data, times).cutoff for times in (cutoff, cutoff, moved)]
    assert digests[0] == digests[1] != digests[2]
    with pytest.raises(DataError, match="one cut-off a user"):
        histories_of(data, cutoff[1:])


def test_summaries_tell_what_stands_out(data: Dataset, cutoff: np.ndarray) -> None:
    summaries = offline_summaries(histories_of(data, cutoff))
    # N = 3 searchers. Users with a query word: tacos, best, near, me 1; gym, sushi 2; log(4 / 2.03) = 0.678, log(4 /
    # 3.03) = 0.278.
    # tacos in 3 sessions: 3 x 0.678 = 2.03; best tacos: (0.678 + 2.03) / 2 = 1.36; gym near me: (0.278 + 2 x 0.678) /
    # 3 = 0.54.
    # Found: Mexican 3 clicks of 1 user 2.03, Restaurants 3 of 2 0.83, Fitness 1 of 2 0.28. gallo 3 x, taqueria and el
    # 2 x.
    assert summaries.texts["search"][2] == (
        "Searches for tacos, best tacos, gym near me and sushi. Clicked mostly Mexican, Restaurants and Fitness. "
        "Titles mention gallo, el, taqueria, grande, city and gym."
    )
    # N = 4: Mexican 2 x log(5 / 2.04), Restaurants 3 x log(5 / 3.04), Sushi Bars 1 x log(5 / 3.04): 1.79, 1.49, 0.50
    assert summaries.texts["recommend"][2] == (
        "Clicked mostly Mexican, Restaurants and Sushi Bars. Titles mention gallo, el, grande, taqueria and sakura."
    )
    assert summaries.texts["recommend"][4] == "Clicked mostly Restaurants and Sushi Bars. Titles mention sakura."
    assert summaries.texts["search"][5] == "Searches for gym. Clicked mostly Fitness. Titles mention city and gym."


def test_an_empty_side_has_no_text_and_any_other_has_one(data: Dataset, cutoff: np.ndarray) -> None:
    summaries = offline_summaries(histories_of(data, cutoff))
    assert summaries.users == 5
    assert summaries.has().tolist() == [
        [False, False],
        [False, False],
        [True, True],
        [True, False],
        [True, True],
        [True, True],
    ]
    assert summaries.texts["recommend"][3] == "Clicked 1984."


def test_what_is_after_the_cutoff_changes_no_text(checkerboard: Any, rewritten: Dataset) -> None:
    both = [histories_of(data, Split(data).cutoff(("recommend", "search"))) for data in (checkerboard.data, rewritten)]
    texts = [offline_summaries(histories).texts for histories in both]
    assert texts[0].equals(texts[1])
    assert texts[0].drop_nulls().height > 0


def test_a_newcomer_with_the_same_history_gets_the_same_text(data: Dataset, cutoff: np.ndarray) -> None:
    known = offline_summaries(histories_of(data, cutoff))
    new = offline_summaries(Histories.of([{}, RECORD, {"clicks": ["Sakura 88"]}]), weights=known.weights)
    assert new.texts.row(2) == known.texts.row(2)
    assert new.texts.row(1) == (1, None, None)
    assert new.texts.row(3) == (3, "Titles mention sakura.", None)
    assert new.about["cutoff"] == BY_HAND


def test_a_word_nobody_has_used_stands_out_from_those_all_use(data: Dataset, cutoff: np.ndarray) -> None:
    weights = offline_summaries(histories_of(data, cutoff)).weights
    assert weights is not None
    assert weights.of("search", "query", pl.Series(["zither", "tacos", "gym"])).to_list() == [
        round(10_000 * np.log(4 / (1.03 + users))) for users in (0, 1, 2)
    ]


def test_texts_are_the_same_each_time_and_in_any_parts(small_world: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    histories = histories_of(small_world, Split(small_world).cutoff(("recommend", "search")))
    once = offline_summaries(histories)
    assert once.texts.equals(offline_summaries(histories).texts)
    monkeypatch.setattr(module, "USERS_AT_ONCE", 7)
    parts = offline_summaries(histories)
    assert once.texts.equals(parts.texts)
    assert once.weights is not None and parts.weights is not None
    assert once.weights.terms.equals(parts.weights.terms)


def test_texts_are_short_whatever_the_history() -> None:
    long = "a very long query about everything that one could possibly wish to find in any shop " * 3
    items = [
        {"title": f"word{n} " * 30, "categories": [f"category {n} with quite a long name of {n} words"]}
        for n in range(30)
    ]
    history = {"searches": [(f"{long} {n}", items) for n in range(30)], "clicks": items}
    texts = offline_summaries(Histories.of([history])).texts.row(1)
    assert all(10 < len(text.split()) < 60 for text in texts[1:])


def test_histories_by_hand_are_checked() -> None:
    with pytest.raises(DataError, match="empty query; where: record 1"):
        Histories.of([{}, {"searches": [(" ", [])]}])
    with pytest.raises(DataError, match="item without a title; where: record 0"):
        Histories.of([{"clicks": [{"categories": ["Mexican"]}]}])
    with pytest.raises(DataError, match="unknown part of a history"):
        Histories.of([{"click": []}])


def test_no_users_and_no_events_are_no_error() -> None:
    assert offline_summaries(Histories.of([])).texts.rows() == [(0, None, None)]
    assert offline_summaries(Histories.of([{}, {}])).has().sum() == 0


def test_summaries_come_back_as_saved(data: Dataset, cutoff: np.ndarray, tmp_path: Path) -> None:
    saved = offline_summaries(histories_of(data, cutoff, limit=7))
    saved.save(tmp_path / "summaries")
    back = Summaries.load(tmp_path / "summaries")
    assert back.texts.equals(saved.texts)
    assert back.about == saved.about
    assert (back.about["summariser"], back.about["limit"]) == ("offline", 7)
    assert back.weights is not None and saved.weights is not None
    assert offline_summaries(Histories.of([RECORD]), weights=back.weights).texts.equals(
        offline_summaries(Histories.of([RECORD]), weights=saved.weights).texts
    )
    saved.save(tmp_path / "summaries")
    pl.DataFrame({"user": [1], "recommend": ["x"], "search": ["y"]}).write_parquet(
        tmp_path / "summaries" / "texts.parquet"
    )
    with pytest.raises(RunError, match="summaries are damaged"):
        Summaries.load(tmp_path / "summaries")
    with pytest.raises(RunError, match="cannot read the summaries"):
        Summaries.load(tmp_path / "nowhere")


# By a chat server


@pytest.fixture
def chat(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("openai")
    with Chat(
        ChatSettings(model="toy", base_url=server.url, first_wait=0.01, attempts=2, concurrency=2), folder=tmp_path
    ) as own:
        yield own


def test_the_server_sees_one_whole_history_a_question(
    data: Dataset, cutoff: np.ndarray, server: Any, chat: Chat, reply: Any
) -> None:
    def behave(number: int, body: dict[str, Any]) -> Any:
        question = body["messages"][0]["content"]
        return reply(
            json.dumps({"preferences": "mexican" if "Gallo" in question else "other"})
            if "Titles:" in question
            else "plain words"
        )

    server.behave = behave
    summaries = chat_summaries(histories_of(data, cutoff), chat)
    assert summaries.texts["recommend"].to_list() == [None, None, "mexican", "other", "other", "other"]
    assert summaries.texts["search"].to_list() == [None, None, "plain words", None, "plain words", "plain words"]
    asked = next(question for question in server.asked if "best tacos" in question)
    assert asked.endswith(
        "tacos\nsushi\ntacos: El Gallo Taqueria\nbest tacos: El Gallo Taqueria; Gallo Grande\ngym near me: City Gym\n"
    )
    assert "late" not in "".join(question.partition("Searches:")[2] for question in server.asked)
    about = summaries.about
    assert {name: about[name] for name in ("summariser", "model", "prompts", "plain")} == {
        "summariser": "chat",
        "model": "toy",
        "prompts": PROMPTS,
        "plain": 3,
    }
    assert about["ledger"]["calls"] == 7
    json.dumps(about)
    assert chat_summaries(histories_of(data, cutoff), chat).texts.equals(summaries.texts)
    assert len(server.bodies) == 7


def test_users_left_without_an_answer_are_named_after_all_others_are_kept(
    data: Dataset, cutoff: np.ndarray, server: Any, chat: Chat, reply: Any
) -> None:
    server.behave = lambda number, body: reply("" if "1984" in body["messages"][0]["content"] else "likes it")
    with pytest.raises(
        ChatError, match=r"1 of 7 summaries are missing; where: user 3, recommend \(an answer that says nothing"
    ):
        chat_summaries(histories_of(data, cutoff), chat)
    assert len(server.bodies) == 6 + 2
    server.behave = lambda number, body: reply("a novel")
    assert chat_summaries(histories_of(data, cutoff), chat).texts["recommend"][3] == "a novel"
    assert len(server.bodies) == 9


def test_a_new_wording_has_a_new_name() -> None:
    """Changed the wording of a prompt? Put it into a folder of a new name, and pin that here."""
    folder = Path(module.__file__).parent / "prompts" / PROMPTS
    pinned = {"summary-1": "03c6b3161d1a44d8990699f78f819090"}
    assert fingerprint(*(folder / f"{side}.txt" for side in ("recommend", "search"))) == pinned[PROMPTS]
