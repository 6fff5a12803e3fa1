"""The debate reasoner against a real server: what each agent says is worked out from what it is told."""

import dataclasses
import json
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from minds import GARDEN, SHOES, Reply, Thinker, agent_of, data_of, mind, stage_of, up, wide

from searec.errors import ChatError, SettingsError
from searec.interests.debate_reasoner import DebateReasoner
from searec.interests.debate_rounds import POINTLESS, DebateSettings
from searec.interests.debate_transcript import format_transcript
from searec.interests.profile import Profile, ProfileQuery
from searec.interests.reasoner import ReasoningResult
from searec.interests.two_hop import KNOWN, UNSAID
from searec.text.chat import Chat

Chats = Callable[..., Chat]
HOODIE = Profile(user="u1", at=100, queries=(ProfileQuery("hoodie", 60), ProfileQuery("beanie", 50)))

SURE = {"explorer": 0.9, "sceptic": 0.6, "shopkeeper": 0.9}
FIRST = {
    "explorer": [wide("street wear", "graphic tees", 0.9), wide("street wear", "quantum caps", 0.8)],
    "sceptic": [wide("street wear", "graphic tees", 0.6)],
    "shopkeeper": [wide("street wear", "vintage sneakers", 0.7, "co-hyponym")],
}


def hop1(data: dict[str, Any], question: str) -> Any:
    return {"demands": [up(data["queries"][0], "street wear", SURE[agent_of(question) or ""])]}


def hop2(data: dict[str, Any], question: str) -> Any:
    return {"interests": FIRST[agent_of(question) or ""]}


def mine(data: dict[str, Any]) -> list[dict[str, Any]]:
    """An agent's own list, as it would say it again."""
    return [{name: value for name, value in one.items() if name != "challenged"} for one in data["mine"]]


def stubborn(data: dict[str, Any], question: str) -> Any:
    return {"challenges": [], "interests": mine(data)}


def debater(data: dict[str, Any], question: str) -> Any:
    """The sceptic attacks quantum caps and takes up sneakers; the shopkeeper adds skateboards.

    Who is challenged gives way.
    """
    own = [
        {name: value for name, value in one.items() if name != "challenged"}
        for one in data["mine"]
        if not one["challenged"]
    ]
    challenges = []
    names = [one["interest"] for one in own]
    if agent_of(question) == "sceptic":
        seen = [(agent, one["interest"]) for agent, interests in data["others"].items() for one in interests]
        challenges = [
            {"agent": agent, "interest": text, "reason": "there is no such thing"}
            for agent, text in seen
            if "quantum" in text
        ]
        if "vintage sneakers" not in names and any("sneakers" in text for _, text in seen):
            own.append(wide("street wear", "Vintage Sneaker", 0.5))
    if agent_of(question) == "shopkeeper" and "skateboards" not in names:
        own.append(wide("street wear", "skateboards", 0.4))
    return {"challenges": challenges, "interests": own}


def ballots(no: Mapping[str, list[str]]) -> Thinker:
    """Everybody votes yes, except on these."""

    def vote(data: dict[str, Any], question: str) -> Any:
        against = no.get(agent_of(question) or "", [])
        votes = [(one["number"], any(text in one["interest"].lower() for text in against)) for one in data["interests"]]
        return {
            "votes": [
                {"number": number, "vote": "no" if no else "yes", "reason": "thin" if no else ""}
                for number, no in votes
            ]
        }

    return vote


def content(data: dict[str, Any], question: str) -> Any:
    """An arbiter that keeps all and merges nothing."""
    contested = [one["number"] for one in data["interests"] if one["status"] == "contested"]
    return {"verdicts": [{"number": number, "keep": True, "reason": "why not"} for number in contested], "merges": []}


CIVIL: Mapping[str, Thinker] = {"hop1": hop1, "hop2": hop2, "debate": stubborn, "vote": ballots({}), "arbiter": content}
LIVELY = {
    **CIVIL,
    "debate": debater,
    "vote": ballots({"explorer": ["skate"], "sceptic": ["skate"], "shopkeeper": ["sneaker"]}),
}


def interests(thought: ReasoningResult) -> dict[str, float]:
    assert thought.graph is not None, thought.problem
    return {one.text: round(one.confidence, 9) for one in thought.graph.interests()}


def entries(thought: ReasoningResult, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in thought.transcript if isinstance(entry, dict) and entry["kind"] == kind]


def test_proposals_challenges_votes_and_the_graph_that_follows(server: Any, chats: Chats) -> None:
    server.behave = mind(LIVELY)
    thought = DebateReasoner([chats()], DebateSettings(rounds=9)).infer([HOODIE])[0]
    # three rounds: in the third nothing changes any more
    assert Counter(map(stage_of, server.asked)) == {"hop1": 3, "hop2": 3, "debate": 9, "vote": 3, "arbiter": 1}
    # demand: mean of .9, .6 and .9; tees: mean of .9 and .6, 3 of 3 votes; sneakers: mean of .7 and .5, 2 of 3 votes;
    # skateboards: 1 of 3
    assert interests(thought) == {"graphic tees": round(0.8 * 0.75, 9), "vintage sneakers": round(0.8 * 0.6 * 2 / 3, 9)}
    assert thought.graph is not None and thought.graph.demands == {"street wear": pytest.approx(0.8)}
    assert [(edge.relation, edge.time) for edge in thought.graph.edges] == [
        ("hypernym", 60),
        ("hyponym", 60),
        ("co-hyponym", 60),
    ]
    made = thought.graph.origin
    assert (made["reasoner"], made["model"], made["rounds"], made["agents"]) == ("debate", "toy", 4, list(SURE))
    assert made["version"] == DebateReasoner([chats()], DebateSettings(rounds=9)).version and made["when"]


def test_an_agent_gives_way_to_a_challenge_and_the_transcript_says_to_whose(server: Any, chats: Chats) -> None:
    server.behave = mind(LIVELY)
    thought = DebateReasoner([chats()]).infer([HOODIE])[0]
    said = {(entry["round"], entry["agent"]): entry for entry in entries(thought, "revision")}
    assert said[1, "sceptic"]["challenges"] == [
        {"agent": "explorer", "interest": "quantum caps", "reason": "there is no such thing"}
    ]
    assert said[1, "sceptic"]["added"] == [{"interest": "Vintage Sneaker", "from": ["shopkeeper"]}]
    assert said[1, "explorer"]["withdrawn"] == []
    assert said[2, "explorer"]["withdrawn"] == [{"interest": "quantum caps", "challenged_by": ["sceptic"]}]
    assert said[1, "shopkeeper"]["added"] == [{"interest": "skateboards", "from": []}]
    asked = {(agent_of(question), number): data_of(question) for number, question in rounds_of(server)}
    assert asked["explorer", 2]["mine"][1]["challenged"] == [{"by": "sceptic", "reason": "there is no such thing"}]
    assert asked["explorer", 1]["mine"][1]["challenged"] == []
    assert set(asked["sceptic", 1]["others"]) == {"explorer", "shopkeeper"}, "all others, and not oneself"
    assert asked["sceptic", 1]["you"] == "sceptic"
    assert [one["interest"] for one in asked["sceptic", 1]["others"]["explorer"]] == ["graphic tees", "quantum caps"]
    rounds = [(entry["round"], entry["same"], entry["agreed"]) for entry in entries(thought, "round")]
    assert rounds == [(1, 0.75, False), (2, 0.75, False), (3, 1.0, True)]
    counts = {
        one["interest"]: (one["yes"], one["voters"], one["outcome"])
        for one in entries(thought, "count")[0]["interests"]
    }
    assert counts == {"graphic tees": (3, 3, "kept"), "vintage sneakers": (2, 3, "kept"), "skateboards": (1, 3, "out")}
    assert entries(thought, "outcome")[0]["interests"][1]["agents"] == ["sceptic", "shopkeeper"]


def rounds_of(server: Any) -> list[tuple[int, str]]:
    """(round, question) of each question of a debate on one user."""
    seen: Counter[str | None] = Counter()
    found = []
    for question in server.asked:
        if stage_of(question) == "debate":
            seen[agent_of(question)] += 1
            found.append((seen[agent_of(question)], question))
    return found


def test_the_transcript_reads_as_text_and_goes_through_json(server: Any, chats: Chats) -> None:
    server.behave = mind(LIVELY)
    thought = DebateReasoner([chats()]).infer([HOODIE])[0]
    text = format_transcript(thought.transcript)
    assert text == format_transcript(json.loads(json.dumps(thought.transcript)))
    for line in (
        "user u1, with queries “hoodie”, “beanie”",
        "Round 0: each alone",
        "    street wear → quantum caps (hyponym)  0.80: so",
        "Round 2",
        "    challenges explorer on “quantum caps”: there is no such thing",
        "    adopts “Vintage Sneaker” from shopkeeper",
        "    adds “skateboards”",
        "    withdraws “quantum caps”, convinced by sceptic",
        "  on the table: 3 interests, 100% the same as before; they agree",
        "Vote",
        "    no to “vintage sneakers”: thin",
        "  1 of 3  out        skateboards",
        "Outcome",
        "  0.60  hoodie → street wear → graphic tees  (explorer, sceptic)",
    ):
        assert line in text.splitlines(), f"{line}\n\n{text}"
    assert text.index("Round 1") < text.index("Round 3") < text.index("Vote") < text.index("Outcome")
    evil = dataclasses.replace(HOODIE, queries=(ProfileQuery("hoodie \x1b[2J\nRound 7", 3),))
    told = format_transcript(DebateReasoner([chats()]).infer([evil])[0].transcript)
    assert "\x1b" not in told and "Round 7" not in told.splitlines()
    assert format_transcript(()) == "\n" and format_transcript(["nonsense", {"kind": "else"}]) == "\n"


@pytest.mark.parametrize(
    ("agreement", "rounds", "held"), [(1.0, 9, 3), (0.75, 9, 1), (0.76, 9, 3), (1.0, 2, 2), (1.0, 0, 0)]
)
def test_a_debate_ends_when_two_rounds_agree(
    agreement: float, rounds: int, held: int, server: Any, chats: Chats
) -> None:
    server.behave = mind(LIVELY)
    DebateReasoner([chats()], DebateSettings(agreement=agreement, rounds=rounds)).infer([HOODIE])
    assert Counter(map(stage_of, server.asked))["debate"] == 3 * held
    server.behave = mind(CIVIL)
    before = len(server.bodies)
    DebateReasoner([chats("calm")], DebateSettings(agreement=agreement, rounds=rounds)).infer([HOODIE])
    assert Counter(map(stage_of, server.asked[before:]))["debate"] == 3 * min(rounds, 1), (
        "nobody moved, so one round is enough"
    )


def test_questions_of_a_round_go_out_together_and_users_end_each_in_their_time(server: Any, chats: Chats) -> None:
    def debate(data: dict[str, Any], question: str) -> Any:
        return (debater if "hoodie" in data["queries"] else stubborn)(data, question)

    server.behave = mind({**LIVELY, "debate": debate})
    silent = Profile("silent", 9)
    thoughts = DebateReasoner([chats()]).infer([HOODIE, silent, GARDEN])
    stages = [stage_of(question) for question in server.asked]
    assert stages == ["hop1"] * 6 + ["hop2"] * 6 + ["debate"] * (6 + 3 + 3) + ["vote"] * 6 + ["arbiter"] * 2
    assert [thought.profile.user for thought in thoughts] == ["u1", "silent", GARDEN.user]
    assert thoughts[1].graph is not None and not thoughts[1].graph and thoughts[1].transcript == ()
    assert set(interests(thoughts[2])) == {"graphic tees", "quantum caps", "vintage sneakers"}
    assert DebateReasoner([chats()]).infer([silent])[0].graph is not None


def test_agents_may_be_other_models(server: Any, chats: Chats) -> None:
    server.behave = mind(CIVIL)
    config = DebateSettings(agents=5, personas=("explorer", "sceptic"), rounds=0)
    reasoner = DebateReasoner([chats("big"), chats("small")], config, arbiter=chats("wise"))
    assert [(seat.name, seat.chat.config.model) for seat in reasoner.seats] == [
        ("explorer", "big"),
        ("sceptic", "small"),
        ("explorer 2", "big"),
        ("sceptic 2", "small"),
        ("explorer 3", "big"),
    ]
    FIRST.update({name: FIRST[name[:-2]] for name in ("explorer 2", "sceptic 2", "explorer 3")})
    SURE.update(dict.fromkeys(("explorer 2", "sceptic 2", "explorer 3"), 0.5))
    thought = reasoner.infer([HOODIE])[0]
    for name in ("explorer 2", "sceptic 2", "explorer 3"):
        del FIRST[name], SURE[name]
    assert set(interests(thought)) == {"graphic tees", "quantum caps"}
    models = Counter((body["model"], stage_of(body["messages"][0]["content"])) for body in server.bodies)
    assert models["big", "hop1"] == 3 and models["small", "vote"] == 2 and models["wise", "arbiter"] == 1
    assert thought.graph is not None and (thought.graph.origin["model"], thought.graph.origin["arbiter"]) == (
        "big + small",
        "wise",
    )


@pytest.mark.parametrize(
    ("quorum", "margin", "kept", "asked"),
    [
        (0.5, 0.1, {"graphic tees", "vintage sneakers"}, []),
        (0.3, 0.0, {"graphic tees", "vintage sneakers", "skateboards"}, []),
        (0.9, 0.0, {"graphic tees"}, []),
        (0.5, 0.2, {"graphic tees", "skateboards"}, ["vintage sneakers", "skateboards"]),
        (1.0, 0.0, {"graphic tees"}, ["graphic tees"]),
    ],
)
def test_what_is_close_goes_to_the_arbiter(
    quorum: float, margin: float, kept: set[str], asked: list[str], server: Any, chats: Chats
) -> None:
    """Of three voters, three want tees, two sneakers, one skateboards; this arbiter is for skateboards and tees."""

    def arbiter(data: dict[str, Any], question: str) -> Any:
        contested = [one for one in data["interests"] if one["status"] == "contested"]
        assert [one["interest"] for one in contested] == asked
        verdicts = [
            {"number": one["number"], "keep": "sneaker" not in one["interest"], "reason": "mine"} for one in contested
        ]
        return {"verdicts": verdicts, "merges": []}

    server.behave = mind({**LIVELY, "arbiter": arbiter})
    thought = DebateReasoner([chats()], DebateSettings(quorum=quorum, margin=margin)).infer([HOODIE])[0]
    assert set(interests(thought)) == kept
    if asked:
        assert {one["interest"]: one["keep"] for one in entries(thought, "verdict")[0]["verdicts"]} == {
            text: "sneaker" not in text for text in asked
        }
    assert entries(thought, "silence") == []


def test_what_nobody_wants_is_not_close_to_anything(server: Any, chats: Chats) -> None:
    server.behave = mind({**CIVIL, "vote": ballots({name: ["tees", "quantum"] for name in SURE})})
    thought = DebateReasoner([chats()], DebateSettings(quorum=0.1, margin=0.5)).infer([HOODIE])[0]
    assert set(interests(thought)) == {"vintage sneakers"}


def number_of(data: dict[str, Any], text: str) -> int:
    return {one["interest"]: one["number"] for one in data["interests"]}[text]


def test_near_duplicates_are_merged_with_their_support(server: Any, chats: Chats) -> None:
    def arbiter(data: dict[str, Any], question: str) -> Any:
        pair = {"into": number_of(data, "graphic tees"), "from": [number_of(data, "quantum caps")], "reason": "same"}
        return {"verdicts": [], "merges": [pair]}

    server.behave = mind(
        {
            **CIVIL,
            "arbiter": arbiter,
            "vote": ballots({"sceptic": ["tees"], "shopkeeper": ["quantum"], "explorer": ["quantum"]}),
        }
    )
    thought = DebateReasoner([chats()], DebateSettings(margin=0.2, quorum=0.3)).infer([HOODIE])[0]
    assert entries(thought, "silence"), "quantum caps is contested, and this arbiter gives no verdict"
    server.behave = mind({**CIVIL, "arbiter": arbiter, "vote": ballots({"sceptic": ["tees"]})})
    thought = DebateReasoner([chats("two")]).infer([HOODIE])[0]
    # explorer .9 for tees (.8 for caps counts no more), sceptic .6; all three voted for one of the two
    assert interests(thought) == {"graphic tees": round(0.8 * 0.75, 9), "vintage sneakers": round(0.8 * 0.7, 9)}
    assert entries(thought, "verdict")[0]["merges"] == [
        {"into": "graphic tees", "from": ["quantum caps"], "reason": "same"}
    ]
    won = entries(thought, "outcome")[0]["interests"][0]
    assert (won["agents"], won["voters"]) == (["explorer", "sceptic"], ["explorer", "sceptic", "shopkeeper"])
    assert "  merges “quantum caps” into “graphic tees”: same" in format_transcript(thought.transcript)


INVENTIONS: Mapping[str, Any] = {
    "a number that is not there": {"verdicts": [], "merges": [{"into": 1, "from": [99], "reason": ""}]},
    "a text of its own": {"verdicts": [], "merges": [{"into": "jet packs", "from": [1], "reason": ""}]},
    "a field of its own": {"verdicts": [], "merges": [], "interests": [wide("street wear", "jet packs")]},
    "a verdict nobody asked for": {"verdicts": [{"number": 1, "keep": False, "reason": ""}], "merges": []},
    "itself into itself": {"verdicts": [], "merges": [{"into": 1, "from": [1], "reason": ""}]},
    "a chain": {
        "verdicts": [],
        "merges": [{"into": 1, "from": [2], "reason": ""}, {"into": 2, "from": [3], "reason": ""}],
    },
}


@pytest.mark.parametrize("name", INVENTIONS)
def test_an_arbiter_that_invents_is_refused(name: str, server: Any, chats: Chats) -> None:
    server.behave = mind({**CIVIL, "arbiter": lambda data, question: INVENTIONS[name]})
    thought = DebateReasoner([chats()]).infer([HOODIE])[0]
    assert set(interests(thought)) == {"graphic tees", "quantum caps", "vintage sneakers"}
    assert [entry["agent"] for entry in entries(thought, "silence")] == ["arbiter"] and not entries(thought, "verdict")
    assert Counter(map(stage_of, server.asked))["arbiter"] == 2, "repaired once"
    assert "arbiter is not heard: " in format_transcript(thought.transcript)


def test_without_a_usable_arbiter_the_quorum_decides(server: Any, chats: Chats) -> None:
    server.behave = mind({**LIVELY, "arbiter": lambda data, question: "hm"})
    thought = DebateReasoner([chats()], DebateSettings(quorum=2 / 3, margin=0.4)).infer([HOODIE])[0]
    assert set(interests(thought)) == {"graphic tees", "vintage sneakers"}


def faulty(stage: str, agents: Mapping[str, int], base: Mapping[str, Thinker] = CIVIL) -> dict[str, Thinker]:
    """Minds in which these agents talk nonsense at a stage, in their first so many questions of it."""
    left = {agent: 2 * count for agent, count in agents.items()}

    def infer(data: dict[str, Any], question: str) -> Any:
        agent = agent_of(question) or ""
        if left.get(agent, 0) > 0:
            left[agent] -= 1
            return "nonsense"
        return base[stage](data, question)

    return {**base, stage: infer}


@pytest.mark.parametrize("stage", ["hop1", "hop2"])
def test_an_agent_without_a_proposal_is_named_and_the_others_go_on(stage: str, server: Any, chats: Chats) -> None:
    server.behave = mind(faulty(stage, {"explorer": 9}))
    thought = DebateReasoner([chats()], DebateSettings(rounds=0)).infer([HOODIE])[0]
    assert [(entry["agent"], entry["round"]) for entry in entries(thought, "silence")] == [("explorer", 0)]
    assert (
        "no JSON" in entries(thought, "silence")[0]["problem"]
        and "one repair" in entries(thought, "silence")[0]["problem"]
    )
    # the demand is the mean of .6 and .9; explorer votes too
    assert interests(thought) == {"graphic tees": round(0.75 * 0.6, 9), "vintage sneakers": round(0.75 * 0.7, 9)}
    assert "  explorer is not heard: " in format_transcript(thought.transcript)


def test_an_agent_that_misses_a_round_is_left_out_of_it_and_comes_back(server: Any, chats: Chats) -> None:
    server.behave = mind(faulty("debate", {"explorer": 1}))
    thought = DebateReasoner([chats()]).infer([HOODIE])[0]
    assert [entry["round"] for entry in entries(thought, "silence")] == [1]
    assert [entry["interests"] for entry in entries(thought, "round")] == [
        ["graphic tees", "vintage sneakers"],
        ["graphic tees", "quantum caps", "vintage sneakers"],
        ["graphic tees", "quantum caps", "vintage sneakers"],
    ]
    assert set(interests(thought)) == {"graphic tees", "quantum caps", "vintage sneakers"}
    second = [
        data for number, question in rounds_of(server) if (data := data_of(question)) and data["you"] == "sceptic"
    ][1]
    assert list(second["others"]) == ["shopkeeper"]


def test_an_agent_that_does_not_vote_is_no_voter(server: Any, chats: Chats) -> None:
    server.behave = mind(faulty("vote", {"shopkeeper": 9}, LIVELY))
    thought = DebateReasoner([chats()]).infer([HOODIE])[0]
    assert interests(thought)["vintage sneakers"] == round(0.8 * 0.6, 9), "two of two"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda votes: votes[1:],
        lambda votes: [*votes, votes[0]],
        lambda votes: [*votes[1:], votes[0] | {"number": 9}],
        lambda votes: [*votes[1:], votes[0] | {"vote": "perhaps"}],
        lambda votes: [*votes[1:], votes[0] | {"number": "1"}],
    ],
    ids=["one missing", "one twice", "one unknown", "neither yes nor no", "a number in words"],
)
def test_a_ballot_is_one_vote_for_each_interest(spoil: Callable[[Any], Any], server: Any, chats: Chats) -> None:
    def vote(data: dict[str, Any], question: str) -> Any:
        said = ballots({"sceptic": ["quantum"]})(data, question)
        return {"votes": spoil(said["votes"])} if agent_of(question) == "sceptic" else said

    server.behave = mind({**CIVIL, "vote": vote})
    thought = DebateReasoner([chats()], DebateSettings(rounds=0)).infer([HOODIE])[0]
    assert [(entry["agent"], entry["round"]) for entry in entries(thought, "silence")] == [("sceptic", "vote")]
    assert interests(thought)["quantum caps"] == round(0.8 * 0.8, 9), "two of two voters"
    assert Counter(map(stage_of, server.asked))["vote"] == 3 + 1, "repaired once"


@pytest.mark.parametrize(("stage", "where"), [("hop1", "round 0"), ("debate", "round 1"), ("vote", "vote")])
def test_one_agent_alone_is_a_named_problem_of_that_user(stage: str, where: str, server: Any, chats: Chats) -> None:
    base = faulty(stage, {"explorer": 99, "sceptic": 99})
    server.behave = mind(
        {
            **base,
            stage: lambda data, question: (CIVIL if "garden hose" in data["queries"] else base)[stage](data, question),
        }
    )
    bad, good = DebateReasoner([chats()]).infer([HOODIE, GARDEN])
    assert bad.graph is None and bad.problem is not None
    assert (
        f"user u1, {where}: only shopkeeper was heard" in bad.problem
        and "explorer: " in bad.problem
        and "sceptic: " in bad.problem
    )
    assert entries(bad, "problem") == [
        {"kind": "problem", "problem": bad.problem}
    ] and "No outcome" in format_transcript(bad.transcript)
    assert len(interests(good)) == 3
    asked = Counter(
        stage_of(question) for question in server.asked if "garden hose" not in data_of(question)["queries"]
    )
    assert asked["arbiter"] == 0 and (stage == "vote" or asked["vote"] == 0), "nothing more is asked for that user"


def test_a_server_that_is_down_costs_its_agents_their_say(server: Any, chats: Chats) -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        nowhere = f"http://127.0.0.1:{place.getsockname()[1]}/v1"
    server.behave = mind(CIVIL)
    down = chats("down", base_url=nowhere, failures=0)
    thought = DebateReasoner([chats(), down, chats()]).infer([HOODIE])[0]
    assert {entry["agent"] for entry in entries(thought, "silence")} == {"sceptic"}
    assert interests(thought)["graphic tees"] == round(0.9 * 0.9, 9)
    with pytest.raises(ChatError, match="too many questions failed"):
        DebateReasoner([down, chats("down too", base_url=nowhere, failures=0)]).infer([HOODIE])
    with pytest.raises(ChatError, match="too many questions failed"):
        DebateReasoner([chats()], arbiter=down).infer([HOODIE])


def test_rules_hold_in_every_round(server: Any, chats: Chats) -> None:
    def liar(data: dict[str, Any], question: str) -> Any:
        if agent_of(question) != "sceptic":
            return stubborn(data, question)
        lies = [
            wide("street wear", "Beanies", 1),
            wide("luxury", "gold watches", 1),
            wide("street wear", "a hoodie", 1),
        ]
        targets = [
            ("explorer", "jet packs"),
            ("sceptic", "graphic tees"),
            ("nobody", "graphic tees"),
            ("explorer", "Graphic tee"),
        ]
        challenges = [{"agent": agent, "interest": text, "reason": "no"} for agent, text in targets]
        return {"challenges": challenges, "interests": [*lies, *mine(data)]}

    server.behave = mind({**CIVIL, "debate": liar})
    thought = DebateReasoner([chats()]).infer([HOODIE])[0]
    said = next(entry for entry in entries(thought, "revision") if entry["agent"] == "sceptic")
    assert said["left_out"] == [
        {"text": "Beanies", "why": KNOWN},
        {"text": "gold watches", "why": UNSAID},
        {"text": "a hoodie", "why": KNOWN},
        {"text": "jet packs", "why": POINTLESS},
        {"text": "graphic tees", "why": POINTLESS},
        {"text": "graphic tees", "why": POINTLESS},
    ]
    assert said["challenges"] == [{"agent": "explorer", "interest": "graphic tees", "reason": "no"}]
    assert thought.graph is not None and thought.graph.origin["dropped"] == {KNOWN: 2, POINTLESS: 3, UNSAID: 1}
    assert set(interests(thought)) == {"graphic tees", "quantum caps", "vintage sneakers"}


def test_known_interests_do_not_come_in_by_a_vote(server: Any, chats: Chats) -> None:
    tees = dataclasses.replace(HOODIE, earlier=("tees with graphic print", "quantum cap"))
    server.behave = mind(CIVIL)
    thought = DebateReasoner([chats()]).infer([tees])[0]
    assert set(interests(thought)) == {"vintage sneakers"}
    assert not any(
        "tees" in one["interest"]
        for question in server.asked
        if stage_of(question) == "vote"
        for one in data_of(question)["interests"]
    )


def test_no_interest_is_no_vote(server: Any, chats: Chats) -> None:
    server.behave = mind({**CIVIL, "hop2": lambda data, question: {"interests": []}})
    thought = DebateReasoner([chats()]).infer([HOODIE])[0]
    assert thought.graph is not None and thought.graph.demands and not thought.graph.interests()
    assert Counter(map(stage_of, server.asked)) == {"hop1": 3, "hop2": 3, "debate": 3}
    assert "no interest is left" in format_transcript(thought.transcript)
    server.behave = mind({**CIVIL, "hop1": lambda data, question: {"demands": []}})
    before = len(server.bodies)
    assert not DebateReasoner([chats("mute")]).infer([HOODIE])[0].graph
    assert len(server.bodies) == before + 3, "without a demand there is nothing to debate"


def test_a_replay_gives_the_same_thoughts_bit_for_bit_and_asks_nothing(server: Any, chats: Chats) -> None:
    server.behave = mind(faulty("debate", {"explorer": 1}, LIVELY))
    online = DebateReasoner([chats("a"), chats("b")]).infer([HOODIE, SHOES, GARDEN])
    count = len(server.bodies)
    server.behave = lambda number, body: Reply("changed its mind")
    again = DebateReasoner([chats("a", offline=True), chats("b", offline=True)]).infer([HOODIE, SHOES, GARDEN])
    assert again == online and len(server.bodies) == count
    for one, other in zip(again, online, strict=True):
        assert one.graph is not None and other.graph is not None and one.graph.to_json() == other.graph.to_json()
        assert json.dumps(one.transcript) == json.dumps(other.transcript)
    with pytest.raises(ChatError, match="not cached"):
        DebateReasoner([chats("a", offline=True), chats("c", offline=True)]).infer([HOODIE])


def test_settings_that_cannot_be_are_errors(chats: Chats) -> None:
    with pytest.raises(SettingsError, match="4 chats"):
        DebateReasoner([chats()] * 4)
    with pytest.raises(SettingsError, match="0 chats"):
        DebateReasoner([])
    with pytest.raises(SettingsError, match=r"no such persona.*did you mean 'sceptic'"):
        DebateReasoner([chats()], DebateSettings(personas=("septic",)))


def test_the_version_tells_apart_whatever_changes_an_answer(chats: Chats) -> None:
    values = {
        "agents": 4,
        "rounds": 1,
        "agreement": 0.5,
        "quorum": 0.6,
        "margin": 0.0,
        "personas": ("friend", "curator"),
        "interests": 3,
    }
    versions = [DebateReasoner([chats()], DebateSettings(**{name: value})).version for name, value in values.items()]  # type: ignore[arg-type]
    versions += [DebateReasoner([chats("b")]).version, DebateReasoner([chats(), chats("b")]).version]
    versions += [DebateReasoner([chats()], arbiter=chats("b")).version]
    for name in ("hop2", "debate", "vote", "arbiter", "repair", "personas/explorer"):
        reworded = DebateReasoner([chats()])
        texts = reworded.wording.texts
        reworded.wording = dataclasses.replace(reworded.wording, texts=texts | {name: texts[name] + "!"})
        versions.append(reworded.version)
    assert len({DebateReasoner([chats()]).version, *versions}) == 1 + len(versions)


def test_the_command_shows_a_debate(
    server: Any, make_folder: Callable[..., Path], searec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("SEAREC_CHAT_RETRIES", "0")
    monkeypatch.setenv("SEAREC_CACHE", str(tmp_path / "cache"))
    shop = make_folder(
        items={"i1": "grey hoodie", "i2": "lamp"},
        users=["ann", "bob"],
        feed=[("bob", "i2", 3)],
        searches=[("ann", "hoodie", 5, ["i1"])],
    )
    server.behave = mind(LIVELY)
    command = ["interests", "debate", shop, "--chat-model", "m1", "--chat-model", "m2", "--rounds", "5"]
    code, out, error = searec(*command, "--user", "ann", "--json", tmp_path / "debate.json")
    assert code == 0, error
    assert "convinced by sceptic" in out and "m1: 13 requests" in out and "m2: 6 requests" in out
    told = json.loads((tmp_path / "debate.json").read_text())
    assert [edge["target"] for edge in told["graph"]["edges"]] == ["street wear", "graphic tees", "vintage sneakers"]
    assert out.startswith(format_transcript(told["transcript"])) and told["ledgers"]["m2"]["calls"] == 6
    code, out, _ = searec(*command, "--user", "ann", "--json", "-", "--set", "quorum=0.9")
    assert code == 0 and len(json.loads(out)["graph"]["edges"]) == 2, "the same answers, another rule"
    code, out, _ = searec(*command, "--user", "bob")
    assert code == 0 and "nothing to debate" in out
    server.behave = lambda number, body: Reply("hm")
    code, out, error = searec(*command[:3], "--chat-model", "dull", "--user", "ann")
    assert code == 1 and "nobody was heard" in error and "explorer is not heard" in out
    for wrong, named in (
        (["--user", "eve"], "unknown user id 'eve'"),
        (["--user", "ann", "--set", "quorun=1"], "'quorum'"),
    ):
        code, _, error = searec(*command, *wrong)
        assert code == 1 and named in error
    code, _, error = searec("interests", "debate", shop, "--user", "ann")
    assert code == 1 and "--chat-model" in error
