"""Learned fusion: the model of a task that orders the candidates of all channels by their features, and its file."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from searec.config import NonNegative, Positive, as_dict, configure, settings
from searec.data.schema import Task
from searec.errors import SettingsError, installation
from searec.files import fingerprint, write_json
from searec.pipeline.fusion_features import Matrix

VERSION = 1
Kind = Literal["rank", "single", "linear", "lambdamart"]
_REMEDY = "'searec deploy' learns it again"


@settings
class LearnedFusion:
    """The fusion of one task.

    Attributes:
        kind: "rank" leaves rank fusion, "single" orders by the score of one run, "linear" by a weighted sum of scaled
            features, "lambdamart" by LightGBM trees on top of that sum.
        parts: runs and groups of features that it reads.
        features: names of the columns.
        mean: [F] subtracted from each column.
        scale: [F] each column is divided by.
        weights: [F] of the scaled columns; a missing value counts 0.
        trees: a LightGBM model in its text format; empty for the other kinds.
        sharpness: of the softmax that makes chances of a click of its scores.
        novelty: premium on novel items of the feed, in chances of a click.
        report: how it was chosen: figures, gains, importance; for people.
    """

    kind: Kind
    parts: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    trees: str = ""
    sharpness: Positive = 1.0
    novelty: NonNegative = 0.0
    report: dict[str, Any] = field(default_factory=dict)

    def model(self) -> "FusionModel":
        """Return what scores by it.

        Raises:
            SettingsError: its parts do not fit together, or LightGBM, which it needs, is not installed.
        """
        count = 0 if self.kind == "single" else len(self.features)
        lengths = {len(self.mean), len(self.scale), len(self.weights)}
        if lengths != {count} or not self.features or bool(self.trees) != (self.kind == "lambdamart"):
            raise SettingsError("the learned fusion is damaged", got=f"{self.kind}, lengths {lengths}", remedy=_REMEDY)
        linear = Linear(np.array(self.mean), np.array(self.scale), np.array(self.weights)) if count else None
        return FusionModel(linear, booster(self.trees) if self.trees else None, len(self.features), self.sharpness)


@dataclass(frozen=True)
class Linear:
    """A weighted sum of scaled columns."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]

    def scores(self, matrix: Matrix) -> NDArray[np.float64]:
        """Return the scores [E] of rows [E, F]."""
        scaled = (matrix - self.mean) / self.scale
        return np.asarray(np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0) @ self.weights)


class FusionModel:
    """Scores rows of features; threads share it.

    Args:
        linear: the weighted sum; None to order by the first column.
        trees: a LightGBM booster that adds to the sum; None without.
        width: number of columns.
        sharpness: of the softmax of its scores, as of `LearnedFusion`.
    """

    def __init__(self, linear: Linear | None, trees: Any | None, width: int, sharpness: float = 1.0) -> None:
        self._linear, self._trees, self.sharpness = linear, trees, sharpness
        if trees is not None and trees.num_feature() != width:
            raise SettingsError(
                "the learned fusion is damaged", got=f"trees over {trees.num_feature()} features", expected=width
            )

    def scores(self, matrix: Matrix) -> NDArray[np.float64]:
        """Return the scores [E] of rows [E, F]; -inf where it cannot score."""
        if self._linear is None:
            return np.nan_to_num(matrix[:, 0].astype(np.float64), nan=-np.inf)
        scores = self._linear.scores(matrix)
        if self._trees is not None and len(matrix):
            scores += self._trees.predict(matrix, raw_score=True, num_threads=1)
        return scores


def booster(text: str) -> Any:
    """Return the LightGBM model of a text.

    Raises:
        SettingsError: LightGBM is not installed, or the text is damaged.
    """
    try:
        import lightgbm
    except ImportError:
        raise SettingsError(
            "the deployment's fusion needs LightGBM", remedy=installation("fusion") + ", or deploy with --fusion linear"
        ) from None
    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise SettingsError("the trees of the learned fusion are damaged", got=error, remedy=_REMEDY) from None


def write_fusion(path: Path, by_task: Mapping[Task, LearnedFusion]) -> str:
    """Write the fusion of the tasks to a file and return its digest.

    Args:
        path: of the file.
        by_task: the fusions.
    """
    write_json(path, {"version": VERSION, **{task: as_dict(learned) for task, learned in by_task.items()}})
    return fingerprint(path)


def read_fusion(path: Path, digest: str) -> dict[Task, LearnedFusion]:
    """Read what `write_fusion` wrote.

    Args:
        path: of the file.
        digest: what it returned.

    Raises:
        SettingsError: the file is missing, another one, or of another version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            "the learned fusion cannot be read", where=path, got=error.strerror, remedy=_REMEDY
        ) from None
    if fingerprint(path) != digest:
        raise SettingsError(
            "the learned fusion is not the one that was deployed",
            where=path,
            got=f"digest {fingerprint(path)}",
            expected=digest,
            remedy=_REMEDY,
        )
    values = json.loads(content)
    if values.pop("version", None) != VERSION:
        raise SettingsError("the learned fusion is of another version", where=path, expected=VERSION, remedy=_REMEDY)
    return {task: configure(LearnedFusion, one, where=f"{path}, {task}") for task, one in values.items()}


@functools.cache
def has_lightgbm() -> bool:
    """Return whether LightGBM can be imported."""
    try:
        import lightgbm  # noqa: F401
    except ImportError:
        return False
    return True
