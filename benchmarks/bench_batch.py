"""Batch assembly against a per-row Dataset and DataLoader: the same tensors, negatives drawn on both sides."""

from pathlib import Path

import numpy as np

from reference_loader import RowDataset, loader, read_arrays
from searec.data.batch import Batcher, Needs
from searec.data.candidates import Seen, draw_unseen
from searec.data.dataset import load
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from timing import line, paired

BATCH, BATCHES, NEGATIVES = 1024, 16, 4
REC, SRC, WORDS = 30, 30, 8
"""UniSAR's histories."""


def run(data: Path) -> None:
    """Print the ratio for recommendation and for search requests."""
    split = Split(load(data))
    for task in TASKS:
        compare(split, task, data)


def compare(split: Split, task: Task, data: Path) -> None:
    """Print one task's ratio, over batches of like history lengths."""
    dataset = split.data
    batcher = Batcher(dataset, Needs(feed=REC, searches=SRC, words=WORDS))
    user, item, _ = split.train_clicks((task,))
    seen = Seen.of(user, item, dataset.sizes.items)
    requests = split.train(task)
    rows = np.random.default_rng(0).choice(len(requests), size=min(len(requests), BATCH * BATCHES), replace=False)
    asked = requests[rows[np.argsort(batcher.lengths(requests[rows]), kind="stable")]]
    row_dataset = RowDataset(read_arrays(dataset.folder), asked, REC, SRC, negatives=NEGATIVES, max_words=WORDS)

    def ours() -> None:
        rng = np.random.default_rng(0)
        for start in range(0, len(asked), BATCH):
            part = asked[slice(start, start + BATCH)]
            target = part.target[:, None]
            others = draw_unseen(rng, seen, part.user, NEGATIVES, excluded=target)
            batcher.batch(part, np.concatenate((target, others), axis=1))

    def theirs() -> None:
        for _ in loader(row_dataset, BATCH):
            pass

    figures = paired(ours, theirs, rounds=9)
    line(
        f"batch assembly ({task}), against a per-row DataLoader",
        data,
        {**figures, "examples": len(asked), "batch": BATCH},
    )
