"""Pool: items of two channels merged by a quota, each with where it came from."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.ragged import Ints
from searec.nn.sets import is_in


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
    share = int(slots(k, quota).sum())
    head = _close_up(first, first != 0)[0][:, : k - share]
    candidates, candidate_place = _close_up(second, (second != 0) & ~_in(second, head))
    chosen, spare = candidates[:, :share], candidates[:, share:]
    left, left_place = _close_up(first, (first != 0) & ~_in(first, chosen))
    line = torch.cat((left, spare.masked_fill(_in(spare, left), 0)), dim=1)
    line, order = _close_up(line, line != 0)
    line_place = torch.cat((left_place, candidate_place[:, share:]), dim=1).gather(1, order)
    of_line, of_chosen = ((ids != 0).sum(1).cpu().numpy() for ids in (line, chosen))
    at, is_chosen = (torch.from_numpy(part).to(first.device) for part in interleave(of_line, of_chosen, k, quota))
    at = torch.where(is_chosen, at.clamp(max=chosen.shape[1]), chosen.shape[1] + 1 + at.clamp(max=line.shape[1]))

    def laid(*values: Tensor) -> Tensor:
        """Values of the chosen and of the line at each place, 0 past the ends."""
        ends = [torch.nn.functional.pad(value.long(), (0, 1)) for value in values]
        return torch.cat(ends, dim=1).gather(1, at)

    items = laid(chosen, line)
    from_second = laid(torch.ones_like(chosen), order >= left.shape[1]) > 0
    place = laid(candidate_place[:, :share], line_place)
    present = items != 0
    return Pool(items.to(first.dtype), from_second & present, place * present)


def _in(values: Tensor, known: Tensor) -> Tensor:
    """As `is_in`, [B, N]; False for an empty row."""
    return is_in(values, known) if known.shape[1] else torch.zeros_like(values, dtype=torch.bool)


def _close_up(ids: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """[B, n] ids where `some`, moved to the front in order, 0 behind them; and the place each stood at."""
    order = torch.argsort((~present).int(), dim=1, stable=True)
    return torch.where(present, ids, 0).gather(1, order), order
