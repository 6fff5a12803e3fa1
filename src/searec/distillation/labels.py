"""Labels: a teacher's results as validated, deduplicated prompts with answers, split by user."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from searec.data.leakage.cutoff import ABOUT as CUTOFF
from searec.data.leakage.cutoff import Cutoff
from searec.errors import DataError, RunError
from searec.files import fingerprint, replacing
from searec.interests.interest_graph import InterestGraph
from searec.interests.novelty import stems
from searec.interests.profile import Profile
from searec.interests.reasoner import ReasoningResult
from searec.interests.student_dialogue import FORMAT, Signals, as_written, read_answer, student_prompt, write_answer

NO_GRAPH, EMPTY, KNOWN, UNSAYABLE = "no graph", "empty", "not novel", "not read back"
REPEATED, CONFLICTING, LONG = "repeated", "conflicting", "too long"
REASONS = (NO_GRAPH, EMPTY, KNOWN, UNSAYABLE, REPEATED, CONFLICTING, LONG)
"""Why a result becomes no label, in the order of the checks.

no graph: the teacher had a problem. empty: no interests. not novel: some interest is in the user's history already.
not read back: its answer is not read as the same graph. repeated: another label has the same attributes and queries,
order and plural endings aside, and the same graph. conflicting: it has another graph, and this one has no majority. too
long: with its prompt it has more tokens than the model reads.
"""
SHOWN = 10
"""Interests of a label, the most confident ones."""


@dataclass(frozen=True)
class Label:
    """A prompt with its answer, and the user's external id."""

    user: str
    prompt: str
    completion: str


@dataclass(frozen=True)
class Labels:
    """Labels for training and, of other users, for a look after it.

    Attributes:
        train: for training.
        held: of other users and prompts, for evaluation.
        refused: how many results became no label, by reason.
        about: format, teacher (name, version), cutoff (microseconds since 1970: everything is older), seed, share,
            interests; JSON-ready.
        made_of: the events that the results rest on; None in a folder of an older version.
    """

    train: tuple[Label, ...]
    held: tuple[Label, ...]
    refused: Mapping[str, int] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    made_of: Cutoff | None = field(default=None, compare=False)

    @property
    def digest(self) -> str:
        """32 hex digits over all labels."""
        return fingerprint(
            *(json.dumps([one.user, one.prompt, one.completion]) for one in (*self.train, *self.held)),
            str(len(self.train)),
        )

    def within(self, limit: int, length: Callable[[Label], int]) -> "Labels":
        """Return the labels of at most `limit` tokens; the others are counted as too long.

        Args:
            limit: tokens.
            length: of a label, in tokens.
        """
        train = tuple(one for one in self.train if length(one) <= limit)
        held = tuple(one for one in self.held if length(one) <= limit)
        long = len(self.train) + len(self.held) - len(train) - len(held)
        refused = dict(self.refused) | ({LONG: self.refused.get(LONG, 0) + long} if long else {})
        return replace(self, train=train, held=held, refused=refused)

    def as_json(self) -> dict[str, Any]:
        """Return `about` with the counts."""
        counts = {"train": len(self.train), "eval": len(self.held), "refused": dict(self.refused)}
        return {**self.about, "labels": counts}

    def save(self, folder: Path | str) -> None:
        """Write train.jsonl, eval.jsonl (user, prompt, completion), about.json and the cut-off into a folder."""
        with replacing(folder) as beside:
            beside.mkdir()
            for name, part in (("train", self.train), ("eval", self.held)):
                lines = [
                    json.dumps({"user": one.user, "prompt": one.prompt, "completion": one.completion}) + "\n"
                    for one in part
                ]
                (beside / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
            (beside / "about.json").write_text(
                json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            if self.made_of is not None:
                self.made_of.save(beside)

    @classmethod
    def load(cls, folder: Path | str) -> "Labels":
        """Read what `save` wrote.

        Raises:
            RunError: it is missing, damaged, or of another prompt format.
            LeakError: the cut-off is damaged or was changed.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            train, held = (
                tuple(
                    Label(**json.loads(line))
                    for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
                )
                for name in ("train", "eval")
            )
            refused = about.pop("labels")["refused"]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(
                "cannot read the labels", where=folder, got=repr(error)[:200], remedy="make them again"
            ) from error
        if about.get("format") != FORMAT:
            raise RunError("labels of another prompt format", where=folder, got=about.get("format"), expected=FORMAT)
        return cls(train, held, refused, about, Cutoff.load(folder) if (folder / CUTOFF).is_file() else None)


def make_labels(
    thoughts: Iterable[ReasoningResult],
    *,
    teacher: str,
    version: str,
    interests: int = SHOWN,
    share: float = 0.1,
    seed: int = 0,
    made_of: Cutoff | None = None,
) -> Labels:
    """Return labels of the results that pass every check but the length, which `Labels.within` checks.

    Args:
        thoughts: the teacher's results.
        teacher: its name.
        version: its version.
        interests: the most confident ones of a label.
        share: of the held-out users, at least one of two; drawn by `seed` from their ids.
        seed: of the draw.
        made_of: the events that the results, and their teacher, rest on; those of the profiles by default.
    """
    refused: Counter[str] = Counter()
    passed: list[tuple[Label, _Key, _Sense]] = []
    at: dict[str, int] = {}
    for thought in thoughts:
        at[thought.profile.user] = max(thought.profile.at, at.get(thought.profile.user, thought.profile.at))
        graph, reason = _graph_to_learn(thought, interests)
        if graph is None:
            refused[reason] += 1
            continue
        profile = thought.profile
        passed.append(
            (Label(profile.user, student_prompt(profile), write_answer(graph, profile)), _key(profile), _sense(graph))
        )
    chosen = _settled(passed, refused)
    held = _drawn({one.user for one in chosen}, share, seed)
    about = {
        "format": FORMAT,
        "teacher": {"name": teacher, "version": version},
        "cutoff": max(at.values(), default=None),
        "seed": seed,
        "share": share,
        "interests": interests,
    }
    train, aside = (
        tuple(one for one in chosen if one.user not in held),
        tuple(one for one in chosen if one.user in held),
    )
    made_of = made_of or Cutoff.by_hand(list(at), list(at.values()))
    return Labels(train, aside, {reason: refused[reason] for reason in REASONS if refused[reason]}, about, made_of)


_Key = tuple[frozenset[tuple[str, str]], frozenset[frozenset[str]]]
_Sense = frozenset[Any]


def _graph_to_learn(thought: ReasoningResult, interests: int) -> tuple[InterestGraph | None, str]:
    """Return the graph of a result's label, or the reason for none."""
    profile, graph = thought.profile, thought.graph
    if graph is None:
        return None, NO_GRAPH
    graph = graph.top(interests)
    if not graph.interests():
        return None, EMPTY
    if len(graph.novel(profile).edges) < len(graph.edges):
        return None, KNOWN
    try:
        said = as_written(graph, profile)
        return (
            (said, "") if read_answer(write_answer(said, profile), profile, said.origin) == said else (None, UNSAYABLE)
        )
    except DataError:
        return None, UNSAYABLE


def _key(profile: Profile) -> _Key:
    """Equal for prompts of the same content."""
    return frozenset(profile.attributes.items()), frozenset(
        stems(text) or frozenset([text]) for text in Signals.of(profile).texts
    )


def _sense(graph: InterestGraph) -> _Sense:
    """Equal for labels of the same graph, confidences aside."""
    return frozenset((edge.relation, stems(edge.source), stems(edge.target)) for edge in graph.edges)


def _settled(passed: Sequence[tuple[Label, _Key, _Sense]], refused: Counter[str]) -> list[Label]:
    """Return one label a key: the first with the most frequent graph; none for a tie."""
    groups: dict[_Key, list[tuple[Label, _Sense]]] = defaultdict(list)
    for label, key, sense in passed:
        groups[key].append((label, sense))
    chosen = []
    for group in groups.values():
        votes = Counter(sense for _, sense in group).most_common(2)
        winner = votes[0][0] if len(votes) == 1 or votes[0][1] > votes[1][1] else None
        same = [label for label, sense in group if sense == winner]
        refused[CONFLICTING] += len(group) - len(same)
        refused[REPEATED] += max(0, len(same) - 1)
        chosen += same[:1]
    return chosen


def _drawn(users: set[str], share: float, seed: int) -> set[str]:
    """Draw the held-out users by seed and ids alone, so that few change as users are added."""
    count = min(len(users) - 1, max(1, round(share * len(users)))) if share > 0 and len(users) > 1 else 0
    ranked = sorted(users, key=lambda user: hashlib.blake2b(f"{seed}:{user}".encode(), digest_size=8).digest())
    return set(ranked[:count])
