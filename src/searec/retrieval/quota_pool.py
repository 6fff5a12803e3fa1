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
        second: [B, k] bool, whether the second channel brought the item.
        place: [B, k] place of the item in its channel's list; 0 where there is no item.
    """

    items: Tensor
    second: Tensor
    place: Tensor


def slots(k: int, quota: float) -> Tensor:
    """[k] bool, the places that belong to the second channel: floor(quota x n) of the first n, for every n.

    >>> slots(10, 0.3).int().tolist()
    [0, 0, 0, 1, 0, 0, 1, 0, 0, 1]
    """
    share = torch.floor(torch.arange(k + 1, dtype=torch.float64) * quota + 1e-9)
    return share[1:] > share[:-1]


def merge(first: Tensor, second: Tensor, k: int, quota: float) -> Pool:
    """Merge two channels: the second one gets the places of `slots` as long as it has items, the first one all others.

    No item comes twice: what the first channel shows anyway the second leaves to it, and gives its places to others. Where the first
    channel runs dry, the second fills up.

    Args:
        first, second: [B, n], [B, m] internal ids, best first, 0 for none; no item twice in a row.
    """
    rows, device = len(first), first.device
    marked = slots(k, quota).to(device)
    wanted = int(marked.sum())
    head = _close_up(first, first != 0)[0][:, : k - wanted]
    own, own_place = _close_up(second, (second != 0) & ~_in(second, head))
    chosen = own[:, :wanted]
    count = (chosen != 0).sum(1, keepdim=True)
    turn = marked.cumsum(0)  # how many of the marked places there are up to here
    is_second = marked & (turn <= count)  # (B, k)
    left, left_place = _close_up(first, (first != 0) & ~_in(first, chosen))
    spare = own[:, wanted:]
    spare_new = (spare != 0) & ~_in(spare, left)
    rest, rest_place = _close_up(spare, spare_new)
    line = torch.cat((left, rest), dim=1)
    line_place = torch.cat((left_place, own_place[:, wanted:].gather(1, rest_place)), dim=1)
    line_second = torch.cat((torch.zeros_like(left, dtype=torch.bool), torch.ones_like(rest, dtype=torch.bool)), dim=1)
    order = torch.argsort((line == 0).int(), dim=1, stable=True)
    nth = (~is_second).cumsum(1) - 1
    at = torch.where(is_second, 0, nth)

    def laid(mine: Tensor, others: Tensor) -> Tensor:
        """Values of the chosen at the second channel's places, of the line at all others; 0 past the end."""
        others = torch.nn.functional.pad(others.gather(1, order), (0, k))
        mine = torch.nn.functional.pad(mine, (0, k))
        return torch.where(is_second, mine.gather(1, (turn - 1).clamp(min=0).expand(rows, -1)), others.gather(1, at))

    items = laid(chosen, line)
    places = laid(own_place[:, :wanted], line_place)
    from_second = laid(torch.ones_like(chosen), line_second.to(chosen.dtype)) > 0
    some = items != 0
    return Pool(items, from_second & some, places * some)


def _in(values: Tensor, known: Tensor) -> Tensor:
    """[B, N] as `is_in`; nothing stands in an empty row."""
    return is_in(values, known) if known.shape[1] else torch.zeros_like(values, dtype=torch.bool)


def _close_up(ids: Tensor, some: Tensor) -> tuple[Tensor, Tensor]:
    """[B, n] ids where `some`, moved to the front in order, 0 behind them; and the place each stood at."""
    order = torch.argsort((~some).int(), dim=1, stable=True)
    return torch.where(some, ids, 0).gather(1, order), order
