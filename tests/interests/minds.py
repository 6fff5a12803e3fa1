"""What a chat server thinks of the reasoners' questions: replies worked out from what it is asked."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from chat_server import Reply
from searec.data.schema import DAY
from searec.interests.profile import Profile, ProfileClick, ProfileQuery

FORMS = {
    "hop1": '{"demands"',
    "hop2": '{"interests"',
    "debate": '{"challenges"',
    "vote": '{"votes"',
    "arbiter": '{"verdicts"',
}
"""How the line begins that shows the form of an answer."""
Thinker = Callable[[dict[str, Any], str], Any]
"""(what the question gives as data, the whole question) -> the answer, as text or JSON-ready."""

SHOES = Profile(
    user="secret-id-7",
    at=40 * DAY,
    attributes={"gender": "f", "email": "a@b.example"},
    queries=(ProfileQuery("hoodie", 39 * DAY), ProfileQuery("nike air max", 38 * DAY)),
    clicks=(ProfileClick("Red cap", ("Clothing", "Caps"), 37 * DAY),),
    earlier=("winter boots",),
)
GARDEN = Profile(user="other-id-8", at=50 * DAY, queries=(ProfileQuery("garden hose", 49 * DAY),))


def stage_of(question: str) -> str:
    """Of the line that ends the question; in a repair, of the question that it repeats."""
    return next(
        (name for name, form in FORMS.items() if any(line.startswith(form) for line in question.splitlines())), "none"
    )


def data_of(question: str) -> dict[str, Any]:
    """What stands between <data> and </data>."""
    return json.loads(re.search(r"^<data>\n(.*)\n</data>$", question, re.M)[1])  # type: ignore[index]


def is_repair(question: str) -> bool:
    return "could not be used" in question


def agent_of(question: str) -> str | None:
    """Whom the question speaks to."""
    found = re.search(r"^You are ([a-z]+(?: \d)?)\. ", question, re.M)
    return found[1] if found else None


def mind(thinkers: Mapping[str, Thinker]) -> Callable[[int, dict[str, Any]], Reply]:
    """A `Server.behave` of one thinker a stage."""

    def behave(number: int, body: dict[str, Any]) -> Reply:
        question = body["messages"][0]["content"]
        said = thinkers[stage_of(question)](data_of(question), question)
        return said if isinstance(said, Reply) else Reply(said if isinstance(said, str) else json.dumps(said))

    return behave


def up(query: str, demand: str, confidence: float = 0.5, evidence: str = "so") -> dict[str, Any]:
    return {"query": query, "demand": demand, "confidence": confidence, "evidence": evidence}


def wide(
    demand: str, interest: str, confidence: float = 0.5, relation: str = "hyponym", evidence: str = "so"
) -> dict[str, Any]:
    return {
        "demand": demand,
        "interest": interest,
        "relation": relation,
        "confidence": confidence,
        "evidence": evidence,
    }


def hop1(data: dict[str, Any], question: str) -> Any:
    known = {
        "nike air max": [
            up("nike air max", "sports shoes", 0.8, "a brand of them"),
            up("nike air max", "Street wear", 0.5),
        ],
        "hoodie": [up("hoodie", "street wear", 0.9)],
        "garden hose": [up("garden hose", "gardening", 1)],
    }
    return {"demands": [one for query in data["queries"] for one in known[query]]}


def hop2(data: dict[str, Any], question: str) -> Any:
    known = {
        "street wear": [
            wide("street wear", "graphic tees", 0.9),
            wide("street wear", "skateboards", 0.6, "co-hyponym"),
        ],
        "sports shoes": [wide("sports shoes", "running socks", 0.5, "co-hyponym")],
        "gardening": [wide("gardening", "watering cans", 0.7)],
    }
    return {"interests": [one for demand in data["demands"] for one in known[demand.lower()]]}


SOUND: Mapping[str, Thinker] = {"hop1": hop1, "hop2": hop2}
