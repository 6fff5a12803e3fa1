"""Identifiers: for each item a few codes for search and a few for recommendation, and no two items with the same."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from searec.errors import DataError, RunError
from searec.files import replacing
from searec.semantic_ids.quantiser import balanced, distances
from searec.semantic_ids.trie import Trie
from searec.semantic_ids.user_code_table import SIDES

Codes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Identifiers:
    """Codes of every item for each task (`SIDES`); row 0 is padding.

    Raises:
        DataError: on construction, if a code is out of range or two items have the same.
    """

    codes: Codes  # [2, I + 1, K] of each task, item and place
    sizes: tuple[int, ...]  # K, codes at each place
    shared: int  # number of first places that mean the same in both
    one: bool = False  # whether both tasks have the same identifiers, in the same codebooks
    about: Mapping[str, Any] = field(default_factory=dict)  # settings, cut-off, collisions; JSON-ready

    def __post_init__(self) -> None:
        if self.codes.ndim != 3 or self.codes.shape[0] != len(SIDES) or self.codes.shape[2] != len(self.sizes):
            raise DataError(
                "identifiers have the wrong shape", got=self.codes.shape, expected=f"[2, items + 1, {len(self.sizes)}]"
            )
        wrong = (self.codes < 0) | (self.codes >= np.array(self.sizes))
        if wrong.any():
            side, item, place = (int(where[0]) for where in np.nonzero(wrong))
            raise DataError(
                "bad code in an identifier",
                where=f"item {item}, {SIDES[side]}, place {place}",
                got=int(self.codes[side, item, place]),
                expected=f"0 to {self.sizes[place] - 1}",
            )
        for side in range(len(SIDES)):
            if colliding(self.codes[side, 1:]).any():
                raise DataError("two items have one identifier", where=SIDES[side], remedy="make the identifiers again")

    @property
    def items(self) -> int:
        """I."""
        return int(self.codes.shape[1]) - 1

    @property
    def depth(self) -> int:
        """K."""
        return len(self.sizes)

    def trie(self, side: int) -> Trie:
        """Return all identifiers of a task."""
        return Trie.build(self.codes[side, 1:], np.arange(1, self.items + 1))

    def blocks(self, start: int) -> NDArray[np.int64]:
        """Return the first token of each place's codebook for each task, [2, K]; codes begin at `start`."""
        first = np.concatenate(([0], np.cumsum(self.sizes)))[:-1] + start
        second = first.copy()
        if not self.one:
            second[self.shared :] += sum(self.sizes[self.shared :])
        return np.stack((first, second))

    @property
    def books(self) -> tuple[int, ...]:
        """Codes in each codebook, in the order of `blocks`: of the first side, then the second's specific ones."""
        return self.sizes if self.one else (*self.sizes, *self.sizes[self.shared :])

    @property
    def tokens(self) -> int:
        """Distinct codes, each of which is a token."""
        return sum(self.books)

    def with_items(self, codes: Codes) -> "Identifiers":
        """Return these and the identifiers [2, n, K] of more items, numbered from I + 1."""
        return replace(self, codes=np.concatenate((self.codes, codes), axis=1))

    def save(self, path: Path) -> None:
        """Write one compact file: a byte or two a code."""
        small = self.codes.astype(np.uint8 if max(self.sizes) <= 1 << 8 else np.uint16)
        rows = {"codes": small[:1] if self.one else small}
        header = {"sizes": list(self.sizes), "shared": self.shared, "one": self.one, "about": dict(self.about)}
        with replacing(path) as beside:
            save_file(rows, beside, metadata={"searec": json.dumps(header, ensure_ascii=False)})

    @classmethod
    def load(cls, path: Path) -> "Identifiers":
        """Read what `save` wrote.

        Raises:
            RunError: there is no such file, or it is damaged.
        """
        try:
            with safe_open(path, framework="np") as file:
                header = json.loads(file.metadata()["searec"])
                codes = file.get_tensor("codes").astype(np.int32)
            codes = np.concatenate((codes, codes)) if header["one"] else codes
            return cls(codes, tuple(header["sizes"]), header["shared"], header["one"], header["about"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, DataError) as error:
            raise RunError(
                "cannot read the identifiers", where=path, got=str(error).splitlines()[0], remedy="make them again"
            ) from error


def colliding(codes: Codes) -> NDArray[np.bool_]:
    """Return whether another item has the same codes [N, K], [N] bool.

    >>> colliding(np.array([[1, 2], [1, 3], [1, 2]])).tolist()
    [True, False, True]
    """
    _, group = groups(codes)
    return np.asarray(np.bincount(group, minlength=1)[group] > 1)


def groups(codes: Codes) -> tuple[int, NDArray[np.int64]]:
    """Count the distinct codes of [N, K] and number the rows [N], equal rows equally."""
    if not len(codes):
        return 0, np.zeros(0, dtype=np.int64)
    order = np.lexsort(codes.T[::-1])
    fresh = np.ones(len(codes), dtype=bool)
    fresh[1:] = (codes[order][1:] != codes[order][:-1]).any(axis=1)
    number = np.empty(len(codes), dtype=np.int64)
    number[order] = fresh.cumsum() - 1
    return int(fresh.sum()), number


def spread(codes: Codes, left: Tensor, book: Tensor, *, epsilon: float, rounds: int) -> tuple[Codes, list[float]]:
    """Give colliding items other last codes, by Sinkhorn's balanced assignment among them (gensar.md).

    Returned are the codes [N, K], and the share of colliding items before the first round and after each one.

    Args:
        codes: [N, K].
        left: [N, D] residual that the last code quantises.
        book: [C, D] the last codebook.
        epsilon: of the assignment.
        rounds: most rounds, as a move may collide anew.
    """
    codes = codes.copy()
    shares = []
    for number in range(rounds + 1):
        wrong = np.flatnonzero(colliding(codes))
        shares.append(len(wrong) / max(1, len(codes)))
        if not len(wrong) or number == rounds:
            break
        _, group = groups(codes[wrong])
        order = np.argsort(group, kind="stable")
        counts = np.bincount(group)
        starts = np.cumsum(counts) - counts
        for size in np.unique(counts):  # groups of a size are one batch of problems
            rows = wrong[order[starts[counts == size][:, None] + np.arange(size)]]  # (G, size)
            distance = distances(left[torch.from_numpy(rows.ravel())], book).view(*rows.shape, -1)
            codes[rows, -1] = balanced(distance, epsilon).cpu().numpy()
    return codes, shares


def add_extra_code(codes: Codes) -> tuple[Codes, int]:
    """Return codes [N, K + 1] with one more code, 0 but where items collide, and its size; unchanged if none do."""
    if not colliding(codes).any():
        return codes, 0
    _, group = groups(codes)
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    extra = np.empty(len(codes), dtype=codes.dtype)
    extra[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.concatenate((codes, extra[:, None]), axis=1), int(extra.max()) + 1


def moved_apart(codes: Codes, left: Tensor, book: Tensor, size: int) -> Codes:
    """Give of colliding items all but the first the nearest free last code, as long as one is free.

    Args:
        codes: [N, K].
        left: as in `spread`.
        book: as in `spread`.
        size: codes at each place.
    """
    _, group = groups(codes)
    again = np.ones(len(codes), dtype=bool)
    again[np.unique(group, return_index=True)[1]] = False
    rows = np.flatnonzero(again)
    moved = codes.copy()
    if len(rows):
        free = _free(codes[rows], left[torch.from_numpy(rows)], book, codes[~again], (size,) * codes.shape[1])
        moved[rows] = [key or tuple(codes[row]) for row, key in zip(rows, free, strict=True)]
    return moved


def free_codes(codes: Codes, left: Tensor, book: Tensor, known: Codes, sizes: Sequence[int]) -> Codes:
    """Return free identifiers [n, K] of new items: as quantised, else with a free last or extra code.

    Args:
        codes: [n, K'] as quantised; K is K' or, where `known` have an extra code, K' + 1.
        left: [n, D] residual that the last code quantises.
        book: [C, D] the last codebook.
        known: [N, K] identifiers that are taken.
        sizes: K, codes at each place.

    Raises:
        DataError: every last code beside an item's first ones is taken.
    """
    identifiers = list(_free(codes, left, book, known, sizes))
    for row, identifier in enumerate(identifiers):
        if identifier is None:
            raise DataError(
                "no identifier is free for a new item",
                where=f"new item {row}",
                got=codes[row].tolist(),
                remedy="make the identifiers again",
            )
    return np.array(identifiers, dtype=known.dtype).reshape(-1, known.shape[1])


def _free(
    codes: Codes, left: Tensor, book: Tensor, known: Codes, sizes: Sequence[int]
) -> Iterator[tuple[int, ...] | None]:
    """Yield for each item its free identifier, or None."""
    taken = {tuple(row) for row in known[np.isin(known[:, 0], codes[:, 0])].tolist()}
    nearby = distances(left, book).argsort(dim=1).cpu().numpy()
    extras: list[tuple[int, ...]] = (
        [()] if known.shape[1] == codes.shape[1] else [(extra,) for extra in range(sizes[-1])]
    )
    for row, quantised in enumerate(codes.tolist()):
        tails = [(int(last), *more) for more in extras for last in nearby[row]]
        free = next((key for tail in tails if (key := (*quantised[:-1], *tail)) not in taken), None)
        if free is not None:
            taken.add(free)
        yield free
