"""User codes: each user's discrete preferences on the recommendation and the search side."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searec.data.schema import TASKS
from searec.errors import DataError

SIDES = TASKS
"""Axis of the two sides: "recommend" is 0, "search" is 1; each has codebooks of its own."""
NONE = -1
"""In place of a code where a user has no history on that side."""


@dataclass(frozen=True)
class UserCodes:
    """Codes [U + 1, 2, L] int16 of every user on both sides, one of `size` codes at each of L levels.

    Row 0 is padding. A user has L codes on a side or none (`NONE` at every level).
    about: how they were made (texts, encoder, settings, cut-off), JSON-ready.

    Raises:
        DataError: on construction, if a code is out of range or a side is only partly coded.
    """

    codes: NDArray[np.int16]
    size: int
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        codes = self.codes
        if codes.ndim != 3 or codes.shape[1] != len(SIDES):
            raise DataError("user codes have the wrong shape", got=codes.shape, expected="[users + 1, 2, levels]")
        is_code = codes != NONE
        wrong = (codes < NONE) | (codes >= self.size) | (is_code != is_code[:, :, :1])
        wrong[0] |= is_code[0]
        if wrong.any():
            row, side, level = (int(place[0]) for place in np.nonzero(wrong))
            raise DataError(
                "bad user code",
                where=f"user {row}, {SIDES[side]} side, level {level}",
                got=codes[row, side].tolist(),
                expected=f"each level 0 to {self.size - 1}, or {NONE} at all of them; none for user 0",
            )

    @property
    def levels(self) -> int:
        """L."""
        return int(self.codes.shape[2])

    @property
    def users(self) -> int:
        """U."""
        return len(self.codes) - 1

    def has(self) -> NDArray[np.bool_]:
        """[U + 1, 2] whether a user has codes on a side."""
        return self.codes[:, :, 0] != NONE  # type: ignore[no-any-return]
