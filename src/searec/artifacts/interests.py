"""Interests from a dataset: profiles to graphs to vectors (arXiv 2508.04032, Stage 1), a few snapshots a user.

Kept under `files.cache_folder()` by what they were made from.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from searec.artifacts.base import Artifact, cached_folder, own_settings
from searec.config import configure
from searec.data.dataset import Dataset
from searec.data.leakage.checks import bounds, read_late
from searec.data.leakage.cutoff import NOTHING, Cutoff
from searec.data.leakage.findings import Finding, when
from searec.data.ragged import Ints, first_not_before
from searec.data.schema import Task
from searec.data.split import NEVER, Split
from searec.errors import ChatError, RunError
from searec.files import fingerprint, replacing
from searec.interests.category_index import CategoryIndex
from searec.interests.interest_config import InterestSettings
from searec.interests.interest_graph import InterestGraph
from searec.interests.interest_table import MEANINGS, InterestTable
from searec.interests.novelty import stems
from searec.interests.profile import profiles
from searec.interests.reasoner import Reasoner
from searec.interests.reasoner_registry import reasoner_named
from searec.interests.student_reasoner import StudentReasoner
from searec.models.growth import Growth
from searec.progress import progress
from searec.text.encoder import Encoder

VERSION = "interests-3"
"""Changes with every change to what is made here from the same input."""
_PROFILES_AT_ONCE = 2_000
_SHOWN = 3
_CATEGORIES = "category_vectors.npy"


@dataclass(frozen=True)
class InferredInterests(Artifact):
    """The interests of every user, and the vectors of the catalogue's categories [C + 1, E] by the same encoder."""

    noun = "interest graphs"
    folder: Path
    table: InterestTable
    category_vectors: NDArray[np.float32]

    @classmethod
    @override
    def make(
        cls,
        split: Split,
        tasks: Sequence[Task],
        config: Any,
        *,
        seed: int = 0,
        reasoner: Reasoner | None = None,
    ) -> "InferredInterests":
        """Infer the interests of every user before every held-out event of `tasks`, or read them from the cache.

        Args:
            split: whose training events are read.
            tasks: those that the model learns.
            config: settings that hold `InterestSettings`.
            seed: not used; reasoners draw nothing.
            reasoner: what infers; by default the one that the settings name.

        Raises:
            ChatError: a reasoner left users without a graph.
            SearecError: as the reasoner.
        """
        chosen = own_settings(config, InterestSettings)
        settings = configure(InterestSettings, chosen)
        reasoner = reasoner or reasoner_for(settings, split, tasks)
        made_of = _made_of(split, tasks, reasoner)
        home = cached_folder("interests", VERSION, made_of.digest, reasoner.version, json.dumps(chosen, sort_keys=True))
        if not home.is_dir():
            catalogue = catalogue_of(split.data, settings)
            times = snapshots(split, tasks, settings.snapshots)
            graphs = _think(split, times, settings, reasoner)
            about = {
                "made": VERSION,
                "data": split.data.fingerprint,
                "unseen": split.unseen,
                "tasks": list(tasks),
                "settings": chosen,
                "reasoner": {"name": reasoner.name, "version": reasoner.version},
                "cutoff": made_of.digest,
            }
            table = tabulate(graphs, times, split, settings, catalogue, about)
            with replacing(home) as beside:
                table.save(beside)
                made_of.save(beside)
                np.save(beside / _CATEGORIES, catalogue.vectors)
        return cls.load(home)

    @classmethod
    @override
    def load(cls, folder: Path) -> "InferredInterests":
        """Open a folder of interests.

        Raises:
            RunError: it is missing or damaged.
        """
        table = InterestTable.load(folder)
        try:
            return cls(folder, table, np.load(folder / _CATEGORIES))
        except (OSError, ValueError) as error:
            raise RunError("cannot read the interests", where=folder, got=error, remedy="make them again") from error

    @override
    def attach(self, model: Any, split: Split) -> None:
        model.load_artifacts(self.table, self.category_vectors, split)

    @override
    def describe_new(self, growth: Growth, split: Split, model: Any) -> NDArray[np.float32]:
        """Return the vectors [C + 1, E] of all category names of the data that has grown."""
        return catalogue_of(growth.data, model.config).vectors

    @override
    def grown(
        self, growth: Growth, split: Split, tasks: Sequence[Task], described: NDArray[np.float32]
    ) -> "InferredInterests":
        data, source, table = growth.data, growth.source("users"), self.table
        made_of = self.grown_cutoff(growth, split, tasks)
        home = cached_folder("interests", VERSION, made_of.digest, *_digests(self.folder))
        if not home.is_dir():
            categories = growth.numbers("categories")[table.categories].astype(np.int32)
            rows = {name: getattr(table, name)[source] for name in ("times", "ids", "confidence")}
            graphs = {user: graph for user, graph in table.graphs.items() if user in data.users}
            about = {**table.about, "data": data.fingerprint, "cutoff": made_of.digest}
            with replacing(home) as beside:
                dataclasses.replace(table, categories=categories, graphs=graphs, about=about, **rows).save(beside)
                made_of.save(beside)
                np.save(beside / _CATEGORIES, described)
        return type(self).load(home)

    @override
    def findings(self, split: Split, tasks: Sequence[Task], cutoff: Cutoff, where: str) -> list[Finding]:
        """Return snapshots made after the cut-off, and graphs whose signals are newer."""
        data, read = split.data, bounds(split, tasks)[0]
        made_at = np.where(self.table.times == NEVER, NOTHING, self.table.times).max(axis=1)
        findings = []
        if len(made_at) != len(read):
            return [
                Finding(
                    "error",
                    "interests of other users",
                    where,
                    expected=f"{len(read) - 1} users",
                    remedy="train it again",
                )
            ]
        newest = np.full(len(read), NOTHING, dtype=np.int64)
        inside = data.users.to_internal(list(self.table.graphs))
        for user, graph in zip(inside.tolist(), self.table.graphs.values(), strict=True):
            newest[user] = max([graph.at, *(edge.time + 1 for edge in graph.edges)])
        for what, times in (("snapshots of interests were made", made_at), ("interest graphs rest on events", newest)):
            if (late := read_late(data, read, times)) is not None:
                users, user, row = late
                place = f"{where}, user {row.user!r}: {when(times[user])}"
                findings.append(
                    Finding(
                        "error",
                        f"{what} after the cut-off",
                        place,
                        (row,),
                        users,
                        f"nothing after {when(read[user])}",
                        "train it again",
                    )
                )
        return findings


def _digests(folder: Path) -> list[str]:
    return [fingerprint(path) for path in sorted(folder.iterdir())]


def reasoner_for(settings: InterestSettings, split: Split, tasks: Sequence[Task]) -> Reasoner:
    """Return the reasoner that the settings name.

    Args:
        settings: which, and its options.
        split: whose training events it learns from.
        tasks: whose training events.

    Raises:
        SearecError: it cannot be made.
    """
    options: dict[str, object] = {"interests": settings.interests}
    if settings.reasoner == "offline":
        options |= {"encoder": settings.encoder, "near": settings.near}
    elif settings.reasoner == "student":
        options["model"] = settings.student
    else:
        options["chat_model"] = settings.chat_model
    return reasoner_named(settings.reasoner, split, tasks, {name: str(value) for name, value in options.items()})


def _made_of(split: Split, tasks: Sequence[Task], reasoner: Reasoner) -> Cutoff:
    """What the interests rest on: what the split lets be read, and what a student has learned from."""
    made_of = Cutoff.of(split, tasks)
    if not isinstance(reasoner, StudentReasoner):
        return made_of
    if reasoner.made_of is None:
        return dataclasses.replace(made_of, about={**made_of.about, "student": None})
    return made_of.with_(reasoner.made_of, split.data, "student")


def catalogue_of(data: Dataset, settings: InterestSettings) -> CategoryIndex:
    """Return the index by which texts of interests become vectors and categories.

    Args:
        data: the dataset.
        settings: with the name of the sentence encoder.
    """
    return CategoryIndex(data, Encoder(settings.encoder).encode)


def snapshots(split: Split, tasks: Sequence[Task], count: int) -> Ints:
    """Return [U + 1, S] when each user's graphs are made, ascending.

    They are at even steps of the clicks before the cut-off, and at the cut-off.

    Where a user is not held out the last one is right after the last event; `NEVER` where there are no events.

    Args:
        split: that gives the cut-off.
        tasks: whose cut-off.
        count: S.
    """
    data = split.data
    users = np.arange(data.sizes.users + 1)
    cutoff = split.visible(tasks)
    first, last = data.click_history.offsets[users], data.click_history.offsets[users + 1]
    end = first_not_before(data.click_history.time, first, last, cutoff)
    times = np.full((len(users), count), NEVER, dtype=np.int64)
    for place in range(count - 1):
        at = first + (end - first) * (place + 1) // count
        exists = at < end
        times[exists, place] = data.click_history.time[at[exists]]
    search_end = first_not_before(
        data.searches.time, data.searches.offsets[users], data.searches.offsets[users + 1], cutoff
    )
    newest = np.maximum(
        _before(data.click_history.time, first, end),
        _before(data.searches.time, data.searches.offsets[users], search_end),
    )
    final = np.where(cutoff == NEVER, newest + 1, cutoff)
    times[:, -1] = np.where(newest >= 0, final, NEVER)
    times[0] = NEVER
    return np.sort(times, axis=1)


def _before(time: Ints, first: Ints, end: Ints) -> Ints:
    """[n] the newest time of each stretch, -1 where it is empty."""
    if not len(time):
        return np.full(len(first), -1, dtype=np.int64)
    return np.where(end > first, time[np.maximum(end - 1, 0)], -1)


def _think(
    split: Split, times: Ints, settings: InterestSettings, reasoner: Reasoner
) -> dict[tuple[int, int], InterestGraph]:
    """The graph of each user and snapshot."""
    users, places = np.nonzero(times != NEVER)
    graphs: dict[tuple[int, int], InterestGraph] = {}
    problems: list[str] = []
    with progress(f"{reasoner.name} reasoner", len(users)) as advance:
        for start in range(0, len(users), _PROFILES_AT_ONCE):
            rows = slice(start, start + _PROFILES_AT_ONCE)
            block = list(profiles(split.data, users[rows], times[users[rows], places[rows]], days=settings.days))
            for user, place, thought in zip(
                users[rows].tolist(), places[rows].tolist(), reasoner.infer(block), strict=True
            ):
                if thought.graph is None:
                    problems.append(f"{thought.profile.user}: {thought.problem}")
                else:
                    graphs[user, place] = thought.graph
            advance(len(block), "")
    if problems:
        raise ChatError(
            f"{len(problems)} of {len(users)} profiles are left without a graph",
            where="; ".join(problems[:_SHOWN]),
            remedy="run the same command again; answers are cached",
        )
    return graphs


def tabulate(
    graphs: dict[tuple[int, int], InterestGraph],
    times: Ints,
    split: Split,
    settings: InterestSettings,
    catalogue: CategoryIndex,
    about: dict[str, object],
) -> InterestTable:
    """Return graphs by user and snapshot as a table.

    Args:
        graphs: by user and snapshot.
        times: [U + 1, S] of the snapshots.
        split: of the dataset.
        settings: of the interests.
        catalogue: by which texts become vectors and categories.
        about: what the table was made from.
    """
    known: dict[frozenset[str], int] = {}
    texts: list[str] = []
    ids = np.zeros((*times.shape, settings.interests), dtype=np.int32)
    confidence = np.zeros(ids.shape, dtype=np.float32)
    for (user, place), graph in graphs.items():
        for rank, interest in enumerate(graph.interests()[: settings.interests]):
            number = known.setdefault(stems(interest.text), len(texts) + 1)
            if number > len(texts):
                texts.append(interest.text)
            ids[user, place, rank] = number
            confidence[user, place, rank] = interest.confidence
    width = catalogue.vectors.shape[1]
    vectors = np.zeros((len(texts) + 1, width), dtype=np.float32)
    categories = np.zeros((len(texts) + 1, MEANINGS), dtype=np.int32)
    if texts:
        vectors[1:] = catalogue.encode(texts)
    for row, meanings in enumerate(catalogue.find(texts, near=settings.near, most=MEANINGS), start=1):
        for place, meaning in enumerate(meanings):
            categories[row, place] = meaning.category
    newest = {user: graph for (user, _), graph in sorted(graphs.items())}
    names = split.data.users.to_external(np.array(list(newest), dtype=np.int64))
    last = dict(zip(names, newest.values(), strict=True))
    return InterestTable(texts, vectors, categories, times, ids, confidence, last, about)
