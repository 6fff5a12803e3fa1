"""What audits time with: requests in batches made beforehand, and seconds that wait for the device."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from searec.data.batch import Batch, Batcher
from searec.data.split import Requests, Split
from searec.models.base import Model

_BATCH = 256


def batches(
    split: Split, model: Model, requests: Requests, candidates: NDArray[np.integer[Any]] | None = None
) -> list[Batch]:
    """The requests in batches of like history lengths, on the model's device.

    Args:
        split: of the requests.
        model: which needs the batches.
        requests: R requests.
        candidates: [R, N] of each request, or None.
    """
    batcher = Batcher(split.data, model.needs)
    order = np.argsort(batcher.lengths(requests), kind="stable")
    parts = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
    return [
        batcher.batch(requests[rows], None if candidates is None else candidates[rows]).to(model.device)
        for rows in parts
    ]


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall seconds of a call, whatever it set going on the device included.

    Args:
        work: what is timed.
        device: waited for.
    """
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
