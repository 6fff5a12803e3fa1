"""Training a residual quantiser (RQ-VAE) on rows of vectors, for user codes and item identifiers alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from searec.config import as_dict
from searec.data.ragged import Ints
from searec.nn.learner import Learner
from searec.training.checkpoint import FILE as CHECKPOINT
from searec.training.train_config import TrainConfig

JUDGE = "explained"


class ShuffledRows:
    """Batches of rows, in an order drawn for each epoch.

    Args:
        rows: [n] which rows.
        batch_of: rows -> batch.
        size: rows of a batch.
        seed: of the orders.
    """

    def __init__(self, rows: Ints, batch_of: Callable[[Ints], Any], size: int, seed: int) -> None:
        self.rows, self.batch_of, self.size, self.seed = rows, batch_of, size, seed

    def steps(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.rows) // self.size)

    def batch(self, epoch: int, step: int, process: int, processes: int) -> Any:
        """Return one process's share of a batch.

        Args:
            epoch: from 0.
            step: batch of the epoch, from 0.
            process: from 0.
            processes: how many share the batch.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        return self.batch_of(self.rows[np.array_split(order, self.steps(epoch))[step][process::processes]])


def train_quantiser(
    quantiser: Any, examples: ShuffledRows, settings: Any, folder: Path, *, epochs: int, clip: float, sides: list[int]
) -> dict[str, float]:
    """Train a quantiser in `folder`, from its checkpoint if there is one.

    Args:
        quantiser: a `Learner` with `explained`, the share of variance [sides] that the codes of a batch keep.
        examples: what it learns from.
        settings: with batch, learning rate and weight decay of the codes.
        folder: of log and checkpoint.
        epochs: passes over all rows.
        clip: largest norm of a gradient, 0 for no limit.
        sides: those that have any vectors.

    Returns:
        The variance explained, as a mean and by side.
    """
    from searec.training.loop import train

    folder.mkdir(parents=True, exist_ok=True)
    plan = TrainConfig(
        epochs=epochs,
        batch=settings.code_batch,
        lr=settings.code_lr,
        weight_decay=settings.code_weight_decay,
        clip=clip,
        schedule="linear",
        patience=0,
        validate_every=max(1, epochs // 10),
        seed=examples.seed,
    )
    everything = examples.batch_of(examples.rows)

    def validate(current: Any) -> dict[str, float]:
        shares = current.explained(everything.to(current.device)).tolist()
        by_side = {side: shares[side] for side in sides}
        return {JUDGE: float(np.mean(list(by_side.values())))} | {f"{JUDGE}.{n}": share for n, share in by_side.items()}

    assert isinstance(quantiser, Learner)
    report = train(
        quantiser,
        examples,
        validate,
        folder,
        plan,
        made_from={"codes": as_dict(quantiser.config)},
        judge=JUDGE,
        resume=(folder / CHECKPOINT).is_file(),
    )
    return dict(report.best)
