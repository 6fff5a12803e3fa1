"""Sizes and training budgets of models on the event trunk, from how much data there is (docs/event_transformer.md)."""

import math
from collections.abc import Mapping
from typing import Any

from searec.data.counts import Counts
from searec.models.itemknn import ItemKNN

_LENGTH = 50
_STEPS = 4_000


def trunk_sizes(counts: Counts) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return settings of a model on the event trunk, and of its training.

    A step holds 1/64 of the stretches of timelines, between 32 and 128 of them: few users need small steps to get many.
    Validation follows each pass, but at least 25 and at most 250 steps. Training stops once 5 validations in a row
    are no better, after 500 steps at the earliest and 4,000 at the latest. Catalogues of more than 10,000 items have
    room for twice the width, and need less dropout.

    Args:
        counts: of the dataset.
    """
    stretches = max(counts.users, (counts.clicks + counts.searches) // _LENGTH, 1)
    batch = min(128, max(32, 2 ** int(math.log2(max(1, stretches // 64)))))
    epoch_steps = min(250, max(25, stretches // batch))
    is_large = counts.items > 10_000
    model: dict[str, Any] = {"recency": ItemKNN.sized(counts)[0]["recency"]}
    model |= {"length": _LENGTH, "width": 128, "inner": 256, "dropout": 0.3, "id_dropout": 0.1} if is_large else {}
    training = {"lr": 1e-3 * batch / 64, "batch": batch, "epoch_steps": epoch_steps}
    return model, {**training, "epochs": math.ceil(_STEPS / epoch_steps)}
