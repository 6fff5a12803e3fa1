"""Ragged: rows of different lengths in two flat arrays, the shape of every history."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Number = TypeVar("Number", bound=np.number[Any])


@dataclass(frozen=True)
class Ragged:
    """CSR rows: row r is `values[offsets[r]:offsets[r + 1]]`. Either array may be memory-mapped.

    >>> rows = Ragged(np.array([0, 2, 2, 5]), np.array([7, 8, 1, 2, 3]))
    >>> rows.lengths.tolist(), rows.pad(np.array([0, 2]), width=2).tolist()
    ([2, 0, 3], [[7, 8], [1, 2]])
    """

    offsets: Ints
    values: Ints

    @classmethod
    def of(cls, rows: Sequence[Ints]) -> "Ragged":
        """Return rows given one by one; the values are int64 if there is none."""
        values = np.concatenate(rows) if len(rows) else np.zeros(0, dtype=np.int64)
        return cls(np.cumsum([0, *map(len, rows)]), values)

    @classmethod
    def joined(cls, parts: Sequence["Ragged"]) -> "Ragged":
        """Return the rows of several, end to end."""
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *(part.lengths for part in parts)])
        values = [part.values for part in parts if len(part.values)]
        return cls(np.cumsum(lengths), np.concatenate(values) if values else np.zeros(0, dtype=np.int64))

    def at(self, rows: Ints) -> "Ragged":
        """Return the given rows in that order."""
        return Ragged(np.cumsum([0, *self.lengths[rows]]), self.take(rows)[0])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        """[rows] how many values each row holds."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Ints:
        """[values] the row each value belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def row(self, index: int) -> Ints:
        """The values of one row."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def pad(self, rows: Ints, width: int | None = None) -> Ints:
        """Return [..., W] the first `width` values of each row, 0 where a row is shorter.

        Args:
            rows: [...] row numbers.
            width: W; the longest of the rows if None.
        """
        first = np.asarray(self.offsets[rows])
        length = np.asarray(self.offsets[np.asarray(rows) + 1]) - first
        if width is not None:
            length = np.minimum(length, width)
        return gather_windows(self.values, first, length)

    def take(self, rows: Ints) -> tuple[Ints, Ints]:
        """The values of many rows end to end, and for each value the position in `rows` it came from."""
        first = np.asarray(self.offsets[rows])
        length = np.asarray(self.offsets[np.asarray(rows) + 1]) - first
        origin = np.repeat(np.arange(len(first)), length)
        within = np.arange(len(origin)) - np.repeat(np.cumsum(length) - length, length)
        return self.values[np.repeat(first, length) + within], origin


@dataclass(frozen=True)
class Windows:
    """Stretches `first : first + length` of flat arrays, laid out once and then read from as many arrays as needed.

    position: [..., W] places in the arrays, 0 outside; mask: [..., W] bool, true inside. W is the longest window, at
        least 1.
    """

    position: Ints
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, first: Ints, length: Ints) -> "Windows":
        """Return the windows that begin at `first` and hold `length` values.

        Args:
            first: [...] positions.
            length: [...] numbers of values.
        """
        step = np.arange(max(1, int(length.max(initial=0))))
        mask = step < length[..., None]
        position = first[..., None] + step
        position *= mask
        return cls(position, mask)

    def gather(self, values: NDArray[Number]) -> NDArray[Number]:
        """[..., W] the values in each window, 0 outside, in one indexing call."""
        if len(values) == 0:
            return np.zeros(self.mask.shape, dtype=values.dtype)
        picked: NDArray[Number] = values.take(self.position)
        picked *= self.mask
        return picked


def gather_windows(values: Ints, first: Ints, length: Ints) -> Ints:
    """Return [..., W] the values of every window, padded with 0 at the end; W as in `Windows`.

    Args:
        values: a flat array.
        first: [...] where each window begins.
        length: [...] its number of values.
    """
    return Windows.of(first, length).gather(values)


def group(owner: Ints, values: Ints, rows: int) -> Ragged:
    """Return rows from parallel arrays that are sorted by owner.

    Args:
        owner: row of each value, 0..rows-1.
        values: the values.
        rows: number of rows.
    """
    counts = np.bincount(owner, minlength=rows)
    return Ragged(np.concatenate(([0], np.cumsum(counts))), values)


def first_not_before(values: Ints, first: Ints, end: Ints, limit: Ints) -> Ints:
    """Return for each segment [first, end) the first position whose value is >= `limit`.

    A binary search over all segments at once: log2(longest) vector steps.

    Args:
        values: ascending within each segment.
        first: where segments begin.
        end: where they end.
        limit: one for each segment.
    """
    low, high = np.array(first, dtype=np.int64), np.array(end, dtype=np.int64)
    while True:
        open_ = low < high
        if not open_.any():
            return low
        middle = (low + high) // 2
        below = open_ & (values[np.where(open_, middle, 0)] < limit)
        low = np.where(below, middle + 1, low)
        high = np.where(open_ & ~below, middle, high)
