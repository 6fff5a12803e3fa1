"""The audit of gserec runs: connectivity, codes, embeddings, and how ablations and depths compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from searec.artifacts.user_codes import UserCoder
from searec.data.split import Split
from searec.errors import SettingsError
from searec.evaluation.compare import Comparison
from searec.evaluation.slices import SPARSE_BELOW, membership
from searec.models.capabilities import EmbedsUserSides, supports
from searec.pipeline.run import Run
from searec.pipeline.run_folder import ARTIFACTS
from searec.progress import progress
from searec.reports.connectivity import Reach, connectivity, likeness
from searec.reports.sampled_users import SampledUser, sample_users
from searec.reports.user_embeddings import Sides, sides, tsne
from searec.semantic_ids.codebook_usage import LevelUse, code_use
from searec.semantic_ids.user_code_table import SIDES, UserCodes

_SHOWN_EVENTS = 8


@dataclass(frozen=True)
class RunAudit:
    """What is found in one gserec run.

    about: how the codes were made, as in artifacts/about.json. use: of the codes, by side. places: t-SNE of `sides`,
        [n, 2, 2].
    rich: [n] which of the users in `sides` are rich searchers.
    """

    label: str
    seed: int
    about: Mapping[str, Any]
    reach: list[Reach]
    use: Mapping[str, list[LevelUse]]
    likeness: Mapping[str, Mapping[str, float]]
    users: list[SampledUser]
    sides: Sides
    places: NDArray[np.float64]
    rich: NDArray[np.bool_]

    @property
    def author(self) -> str:
        """Who wrote the texts, so that nobody takes one for the other."""
        summaries = self.about["summaries"]
        return (
            f"the chat model {summaries['model']}"
            if summaries["summariser"] == "chat"
            else "the offline summariser (no language model)"
        )

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "label": self.label,
            "seed": self.seed,
            "texts_by": self.author,
            "encoder": self.about["settings"]["encoder"],
            "cutoff": self.about["cutoff"],
            "connectivity": {reach.side: reach.as_json() for reach in self.reach},
            "use": {side: [use.as_json() for use in uses] for side, uses in self.use.items()},
            "likeness": {side: dict(audits) for side, audits in self.likeness.items()},
            "sides": {"users": len(self.sides.users), "agree": self.sides.agree, "differ": self.sides.differ},
            "users": [user.as_json() for user in self.users],
        }


@dataclass(frozen=True)
class Audit:
    """Audits of runs, and their comparison if there are several; `depths` is K of each label, of gserec runs."""

    runs: list[RunAudit]
    comparison: Comparison | None
    depths: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        compared = None if self.comparison is None else self.comparison.as_json()
        return {"runs": [run.as_json() for run in self.runs], "comparison": compared, "depths": dict(self.depths)}


def audit(
    runs: Sequence[Run], comparison: Comparison | None = None, *, users: int = 100, points: int = 1_000, seed: int = 0
) -> Audit:
    """Look into gserec runs; runs that share their codes are looked into once.

    Args:
        runs: of one dataset; those of other models are in the comparison only.
        comparison: of all of them, from `evaluation.compare`.
        users: how many are shown with codes and history.
        points: users in the t-SNE.
        seed: of both draws.

    Raises:
        SettingsError: none of the runs is a gserec run.
    """
    coded = [run for run in runs if supports(run.model, EmbedsUserSides)]
    if not coded:
        raise SettingsError(
            "nothing to audit", got=", ".join(run.model.name for run in runs), expected="a gserec run at least"
        )
    audits: list[RunAudit] = []
    seen: set[str] = set()
    with progress("Auditing", len(coded)) as advance:
        for run in coded:
            coder = UserCoder.load(run.folder / ARTIFACTS)
            key = coder.codes.codes.tobytes().hex()
            if key not in seen:
                audits.append(_run_audit(run, coder, users, points, seed))
                seen.add(key)
            advance(1, run.label)
    depths = {run.label: int(run.model.config.layers) for run in coded}
    return Audit(audits, comparison, depths)


def searchers(split: Split) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sparse and rich searchers (internal ids) among the users of the test requests."""
    requests = split.held_out("recommend", "test")
    sessions = requests.search_end - split.data.searches.offsets[requests.user]
    return requests.user[sessions < SPARSE_BELOW].astype(np.int64), requests.user[sessions >= SPARSE_BELOW].astype(
        np.int64
    )


def tastes(split: Split) -> scipy.sparse.csr_matrix:
    """[U + 1, C + 1] how often each user clicked each category in training."""
    data = split.data
    user, item, _ = split.train_clicks(("recommend",))
    clicks = scipy.sparse.csr_matrix(
        (np.ones(len(user)), (user, item)), shape=(data.sizes.users + 1, data.sizes.items + 1)
    )
    return clicks @ membership(data.item_categories, data.sizes.categories)


def use_by_side(codes: UserCodes) -> dict[str, list[LevelUse]]:
    """How the codes of each side are used, over the users who have some."""
    here = codes.has()
    return {side: code_use(codes.codes[here[:, place], place], codes.size) for place, side in enumerate(SIDES)}


def _run_audit(run: Run, coder: UserCoder, users: int, points: int, seed: int) -> RunAudit:
    assert supports(run.model, EmbedsUserSides)
    split, codes = run.split, coder.codes
    sparse, rich = searchers(split)
    both = np.flatnonzero(codes.has().all(axis=1))
    drawn = np.sort(np.random.default_rng(seed).choice(both, size=min(points, len(both)), replace=False))
    embedded = sides(run.model, drawn)
    return RunAudit(
        label=run.label,
        seed=int(run.config["seed"]),
        about=codes.about,
        reach=connectivity(codes, sparse, rich, seed=seed),
        use=use_by_side(codes),
        likeness=likeness(codes, tastes(split), seed=seed),
        users=sample_users(split, codes, coder.summaries, users, limit=_SHOWN_EVENTS, seed=seed),
        sides=embedded,
        places=tsne(embedded, seed=seed) if len(drawn) > 1 else np.zeros((len(drawn), 2, 2)),
        rich=np.isin(drawn, rich),
    )
