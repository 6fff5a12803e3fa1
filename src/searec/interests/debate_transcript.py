"""Format the transcript of a debate as text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from searec.interests.two_hop import printable

Entry = Mapping[str, Any]

_HEADLINES: Mapping[object, str] = {
    0: "Round 0: each alone",
    "vote": "Vote",
    "count": "Vote",
    "verdict": "Arbiter",
    "outcome": "Outcome",
    "problem": "No outcome",
}


def format_transcript(transcript: Sequence[object]) -> str:
    """Format a debate for people, in order.

    Args:
        transcript: of a `ReasoningResult` of `DebateReasoner`, or from JSON. Each entry is a mapping; by its kind it
            holds: opening (user, at, queries, agents with name, model and persona, arbiter);
            proposal (round, agent, demands, interests, left_out);
            revision (round, agent, challenges, interests, added with from, withdrawn with challenged_by, left_out);
            silence (round, agent, problem), for an answer that could not be used;
            round (round, interests, same, agreed); vote (agent, votes); count (interests with yes, voters, share,
            outcome); verdict (agent, verdicts, merges); outcome (interests with demand, query, confidence, agents,
            voters); problem (problem).

    Returns:
        Lines; control characters in what models and users wrote are blanks.
    """
    lines: list[str] = []
    stage = None
    for entry in transcript:
        if not isinstance(entry, Mapping) or entry.get("kind") not in _FORMATTERS:
            continue
        now = _stage(entry)
        if now is not None and now != stage:
            lines += ["", now]
            stage = now
        lines += _FORMATTERS[entry["kind"]](entry)
    return "\n".join(printable(line).rstrip() for line in lines).strip("\n") + "\n"


def _stage(entry: Entry) -> str | None:
    """Return the headline of an entry."""
    stage = entry.get("round", entry["kind"])
    return None if stage == "opening" else _HEADLINES.get(stage, f"Round {stage}")


def _opening(entry: Entry) -> Iterator[str]:
    yield f"user {entry['user']}, with queries {_quoted(entry['queries'])}"
    for agent in entry["agents"]:
        part = "" if agent["name"] == agent["persona"] else f" as {agent['persona']}"
        yield f"  {agent['name']}: {agent['model']}{part}"
    yield f"  arbiter: {entry['arbiter']}"


def _proposal(entry: Entry) -> Iterator[str]:
    yield f"  {entry['agent']}"
    for one in entry["demands"]:
        yield f"    {one['query']} → {one['demand']}  {one['confidence']:.2f}{_why(one['evidence'])}"
    yield from _interests(entry)


def _revision(entry: Entry) -> Iterator[str]:
    yield f"  {entry['agent']}"
    for one in entry["challenges"]:
        yield f"    challenges {one['agent']} on “{one['interest']}”{_why(one['reason'])}"
    for one in entry["withdrawn"]:
        by = one["challenged_by"]
        yield f"    withdraws “{one['interest']}”" + (f", convinced by {_names(by)}" if by else "")
    for one in entry["added"]:
        yield (
            f"    adopts “{one['interest']}” from {_names(one['from'])}"
            if one["from"]
            else f"    adds “{one['interest']}”"
        )
    yield from _interests(entry)


def _interests(entry: Entry) -> Iterator[str]:
    for one in entry["interests"]:
        step = f"{one['demand']} → {one['interest']} ({one['relation']})"
        yield f"    {step}  {one['confidence']:.2f}{_why(one['evidence'])}"
    for one in entry["left_out"]:
        yield f"    left out: “{one['text']}”, {one['why']}"


def _silence(entry: Entry) -> Iterator[str]:
    yield f"  {entry['agent']} is not heard: {entry['problem']}"


def _round(entry: Entry) -> Iterator[str]:
    ended = "; they agree" if entry["agreed"] else ""
    yield f"  on the table: {len(entry['interests'])} interests, {entry['same']:.0%} the same as before{ended}"


def _vote(entry: Entry) -> Iterator[str]:
    against = [one for one in entry["votes"] if one["vote"] == "no"]
    yield f"  {entry['agent']}: {len(entry['votes']) - len(against)} yes, {len(against)} no"
    for one in against:
        yield f"    no to “{one['interest']}”{_why(one['reason'])}"


def _count(entry: Entry) -> Iterator[str]:
    for one in entry["interests"]:
        yield f"  {one['yes']} of {one['voters']}  {one['outcome']:<9}  {one['interest']}"


def _verdict(entry: Entry) -> Iterator[str]:
    for one in entry["verdicts"]:
        yield f"  {'keeps' if one['keep'] else 'rejects'} “{one['interest']}”{_why(one['reason'])}"
    for one in entry["merges"]:
        yield f"  merges {_quoted(one['from'])} into “{one['into']}”{_why(one['reason'])}"


def _outcome(entry: Entry) -> Iterator[str]:
    for one in entry["interests"]:
        path = f"{one['query']} → {one['demand']} → {one['interest']}"
        yield f"  {one['confidence']:.2f}  {path}  ({_names(one['agents'])})"
    if not entry["interests"]:
        yield "  no interest is left"


def _problem(entry: Entry) -> Iterator[str]:
    yield f"  {entry['problem']}"


_FORMATTERS: Mapping[str, Callable[[Entry], Iterator[str]]] = {
    "opening": _opening,
    "proposal": _proposal,
    "revision": _revision,
    "silence": _silence,
    "round": _round,
    "vote": _vote,
    "count": _count,
    "verdict": _verdict,
    "outcome": _outcome,
    "problem": _problem,
}


def _why(text: str) -> str:
    return f": {text}" if text else ""


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(f"“{text}”" for text in texts)
