"""Pool: items of two channels merged by a quota, each with where it came from."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.ragged import Ints


@dataclass(frozen=True)
class Pool:
    """The merged items of B requests, best place first.

    Attributes:
        items: [B, k] internal ids, 0 where fewer are left.
        second: [B, k] bool, whether the item comes from the second channel.
        place: [B, k] place of the item in its channel's list; 0 where there is no item.
    """

    items: Tensor
    second: Tensor
    place: Tensor


def slots(k: int, quota: float) -> NDArray[np.bool_]:
    """Return the places of the second channel, [k] bool: floor(quota x n) of the first n, for every n.

    Args:
        k: places.
        quota: share of the second channel.

    >>> slots(10, 0.3).astype(int).tolist()
    [0, 0, 0, 1, 0, 0, 1, 0, 0, 1]
    """
    share = np.floor(np.arange(k + 1) * quota + 1e-9)
    marked: NDArray[np.bool_] = share[1:] > share[:-1]
    return marked


def interleave(first: Ints, second: Ints, k: int, quota: float) -> tuple[Ints, NDArray[np.bool_]]:
    """Lay two lists out as one: the second gets the places of `slots` as long as it lasts, the first all others.

    Where one list has no more items, the other goes on.

    Args:
        first: [B] length of the first list.
        second: [B] length of the second list.
        k: places.
        quota: share of the second list.

    Returns:
        [B, k] for each place the position in its list, past the end where both are over, and whether that is the
        second list.
    """
    marked = slots(k, quota)
    from_second = marked & (np.cumsum(marked) <= np.asarray(second)[:, None])
    from_second |= np.cumsum(~from_second, axis=1) > np.asarray(first)[:, None]
    position = np.where(from_second, np.cumsum(from_second, axis=1), np.cumsum(~from_second, axis=1)) - 1
    return position, from_second


def merge(first: Tensor, second: Tensor, k: int, quota: float) -> Pool:
    """Merge two channels as `interleave` lays them out.

    No item comes twice: what both have stays where the first channel shows it, and else counts as the second's. Where
    the first channel has no more items, what the second has beyond its share fills up.

    Args:
        first: [B, n] internal ids, best first, 0 for none; no item twice in a row.
        second: [B, m] likewise.
        k: places.
        quota: share of the second channel.
    """
    marked = slots(k, quota).tolist()
    rows = [_merged(*row, marked) for row in zip(first.tolist(), second.tolist(), strict=True)]
    laid = np.zeros((3, len(rows), k), dtype=np.int64)
    for number, row in enumerate(rows):
        laid[:, number, : len(row)] = np.array(row, dtype=np.int64).reshape(-1, 3).T
    items, from_second, place = torch.from_numpy(laid).to(first.device)
    return Pool(items.to(first.dtype), from_second > 0, place)


def _merged(first: list[int], second: list[int], marked: list[bool]) -> list[tuple[int, bool, int]]:
    """Of one request: item, whether it is the second channel's, and its place there or in the first."""
    share = sum(marked)
    head = set([item for item in first if item][: len(marked) - share])
    candidates = [(item, True, place) for place, item in enumerate(second) if item and item not in head]
    chosen, spare = candidates[:share], candidates[share:]
    taken = {item for item, _, _ in chosen}
    line = [(item, False, place) for place, item in enumerate(first) if item and item not in taken]
    known = {item for item, _, _ in line}
    line += [one for one in spare if one[0] not in known]
    pool, from_line, from_chosen = [], iter(line), iter(chosen)
    for is_marked in marked:
        sources = (from_chosen, from_line) if is_marked else (from_line, from_chosen)
        if (one := next(sources[0], None) or next(sources[1], None)) is None:
            break
        pool.append(one)
    return pool
