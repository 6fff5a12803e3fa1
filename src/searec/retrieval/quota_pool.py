"""Pool: items of two channels merged by a quota, each with where it came from."""

from dataclasses import dataclass

import torch
from torch import Tensor

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


def slots(k: int, quota: float) -> Tensor:
    """Return the places of the second channel, [k] bool: floor(quota x n) of the first n, for every n.

    Args:
        k: places.
        quota: share of the second channel.

    >>> slots(10, 0.3).int().tolist()
    [0, 0, 0, 1, 0, 0, 1, 0, 0, 1]
    """
    share = torch.floor(torch.arange(k + 1, dtype=torch.float64) * quota + 1e-9)
    return share[1:] > share[:-1]


def merge(first: Tensor, second: Tensor, k: int, quota: float) -> Pool:
    """Merge two channels: the second one gets the places of `slots` as long as it has items, the first one all others.

    No item comes twice: an item of both channels counts as the first's. Where the first channel has no more items, the
    second fills up.

    Args:
        first: [B, n] internal ids, best first, 0 for none; no item twice in a row.
        second: [B, m] likewise.
        k: places.
        quota: share of the second channel.
    """
    rows, device = len(first), first.device
    marked = slots(k, quota).to(device)
    quota_count = int(marked.sum())
    head = _close_up(first, first != 0)[0][:, : k - quota_count]
    candidates, candidate_place = _close_up(second, (second != 0) & ~_in(second, head))
    chosen = candidates[:, :quota_count]
    count = (chosen != 0).sum(1, keepdim=True)
    turn = marked.cumsum(0)  # how many of the marked places there are up to here
    is_second = marked & (turn <= count)  # (B, k)
    left, left_place = _close_up(first, (first != 0) & ~_in(first, chosen))
    spare = candidates[:, quota_count:]
    spare_new = (spare != 0) & ~_in(spare, left)
    rest, rest_place = _close_up(spare, spare_new)
    line = torch.cat((left, rest), dim=1)
    line_place = torch.cat((left_place, candidate_place[:, quota_count:].gather(1, rest_place)), dim=1)
    line_second = torch.cat((torch.zeros_like(left, dtype=torch.bool), torch.ones_like(rest, dtype=torch.bool)), dim=1)
    order = torch.argsort((line == 0).int(), dim=1, stable=True)
    nth = (~is_second).cumsum(1) - 1
    at = torch.where(is_second, 0, nth)

    def laid(of_second: Tensor, of_first: Tensor) -> Tensor:
        """Values of the chosen at the second channel's places, of the line at all others; 0 past the end."""
        of_first = torch.nn.functional.pad(of_first.gather(1, order), (0, k))
        of_second = torch.nn.functional.pad(of_second, (0, k))
        rank = (turn - 1).clamp(min=0).expand(rows, -1)
        return torch.where(is_second, of_second.gather(1, rank), of_first.gather(1, at))

    items = laid(chosen, line)
    places = laid(candidate_place[:, :quota_count], line_place)
    from_second = laid(torch.ones_like(chosen), line_second.to(chosen.dtype)) > 0
    present = items != 0
    return Pool(items, from_second & present, places * present)


def _in(values: Tensor, known: Tensor) -> Tensor:
    """As `is_in`, [B, N]; False for an empty row."""
    return is_in(values, known) if known.shape[1] else torch.zeros_like(values, dtype=torch.bool)


def _close_up(ids: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """[B, n] ids where `some`, moved to the front in order, 0 behind them; and the place each stood at."""
    order = torch.argsort((~present).int(), dim=1, stable=True)
    return torch.where(present, ids, 0).gather(1, order), order
