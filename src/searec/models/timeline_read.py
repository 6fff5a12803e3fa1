"""What a model on the event trunk reads of a batch, and the clicks that it learns to predict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from searec.data.dataset import Dataset
from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.nn.event_trunk import Timeline
from searec.nn.softmax import linear_cross_entropy

CATEGORIES = 8
"""Categories read of an item."""


@dataclass(frozen=True)
class ClickTargets:
    """Clicks to predict: [N] row of the user, place of the state that predicts it, and item."""

    row: Tensor
    place: Tensor
    item: Tensor


@dataclass(frozen=True)
class TimelineRead:
    """Timelines and what the trunk made of them.

    Attributes:
        timeline: of B users.
        texts: [Q, W] text vectors of the batch's queries; None without text.
        table: [I + 1, D] item vectors, or [M, D] of `known`.
        content: [B, E, D] what each event is of.
        states: [B, E + 1, D] the state before any event and after each one.
        targets: by task, where they are learned.
        known: [M] the items compared with, ascending; None for all.
        log_q: [M] of a sampled softmax.
    """

    timeline: Timeline
    texts: Tensor | None
    table: Tensor
    content: Tensor
    states: Tensor
    targets: Mapping[Task, ClickTargets] = field(default_factory=dict)
    known: Tensor | None = None
    log_q: Tensor | None = None


def click_targets(timeline: Timeline, tasks: Sequence[Task]) -> dict[Task, ClickTargets]:
    """Return the next click of every event ("recommend") and all clicks of every search ("search").

    Args:
        timeline: of B users.
        tasks: those that are learned; one without a click is left out.
    """
    following, is_known = timeline.next_clicks()
    row, place = torch.nonzero(is_known, as_tuple=True)
    targets: dict[Task, ClickTargets] = {"recommend": ClickTargets(row, place, following[row, place].long())}
    row, place, item = timeline.found_clicks()
    targets["search"] = ClickTargets(row, place + 1, item.long())
    return {task: one for task, one in targets.items() if task in tasks and len(one.item)}


def category_ids(data: Dataset) -> Ints:
    """Return the first categories of each item, [I + 1, M]."""
    return data.item_categories.pad(np.arange(data.sizes.items + 1), CATEGORIES).astype(np.int32)


def cross_entropy(
    state: Tensor, target: Tensor, read: TimelineRead, bias: Tensor, match: Tensor | None = None
) -> Tensor:
    """Return the mean cross-entropy of targets over the catalogue, or over the items that are compared.

    Args:
        state: [P, D].
        target: [P] internal ids.
        read: whose items are compared.
        bias: [I + 1] of all items.
        match: [P, I + 1] or [P, M], what is added to the scores; None for nothing.
    """
    table = read.table
    if read.known is not None and read.log_q is not None:
        target, bias = torch.searchsorted(read.known, target), bias[read.known] - read.log_q
    else:
        table, bias, target = table[1:], bias[1:], target - 1
        match = None if match is None else match[:, 1:]
    if match is None:
        one = state.new_ones(len(state), 1)
        return linear_cross_entropy(torch.cat((state, one), 1), torch.cat((table, bias[:, None]), 1), target)
    return F.cross_entropy(state @ table.T + bias + match, target)
