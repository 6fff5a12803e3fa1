"""How a model is trained: the settings, the learning rate of each step, and seeds."""

import math
from typing import Literal

import numpy as np

from searec.config import Count, DropoutRate, Natural, NonNegative, Positive, Seed, settings

Judge = Literal["ndcg@5", "full-ndcg@10"]
WITHOUT_EFFECT = ("tensorboard", "checkpoint_minutes", "device")
"""Settings that may change when a run is resumed, for they do not change its result."""


@settings
class TrainConfig:
    """How a model is trained.

    Attributes:
        epochs: at most.
        epoch_steps: batches in an epoch, after which the model is validated; 0 for one pass over the examples. The
            examples of the next epoch go on where those of the last one ended.
        min_steps: batches before which training does not stop early.
        batch: requests a step, over all processes.
        validation_requests: at most, of each task.
        lr: step size, reached after `warmup` steps, then by `schedule` down to 0 at the last step.
        weight_decay: L2, as in Adam.
        schedule: of the step size.
        warmup: steps.
        average: decay a step of the moving average of the weights, which is what is validated and kept; 0 for the
            weights themselves. It starts low: at most (1 + step) / (10 + step).
        clip: the largest norm of the gradient, 0 for no limit.
        judge: the validation metric that early stopping and the best weights go by, the mean over the tasks: "ndcg@5"
            among the sampled candidates, or "full-ndcg@10" over the whole catalogue, of the feed on new targets.
        patience: stop after this many validations in a row without a better `judge`, 0 for never.
        validate_every: epochs.
        precision: arithmetic of the forward pass.
        device: "auto" uses an accelerator if there is one.
        seed: of order, negatives and dropout.
        checkpoint_minutes: minutes between checkpoints within an epoch, 0 for none; there is one after each epoch.
        tensorboard: also write the log for TensorBoard.
    """

    epochs: Count = 20
    epoch_steps: Natural = 0
    min_steps: Natural = 0
    batch: Count = 256
    validation_requests: Count = 10_000
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: Natural = 0
    average: DropoutRate = 0.0
    clip: NonNegative = 0.0
    judge: Judge = "ndcg@5"
    patience: Natural = 5
    validate_every: Count = 1
    precision: Literal["no", "bf16", "fp16"] = "no"
    device: Literal["auto", "cpu"] = "auto"
    seed: Seed = 0
    checkpoint_minutes: NonNegative = 10.0
    tensorboard: bool = False


def share_of_lr(settings: TrainConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step as a share of the full one.

    Args:
        settings: with `schedule` and `warmup`.
        step: from 0.
        steps: in all.

    >>> [share_of_lr(TrainConfig(schedule="linear", warmup=2), step, 6) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, steps - settings.warmup)
    if settings.schedule == "linear":
        return 1 - done
    return (1 + math.cos(math.pi * done)) / 2 if settings.schedule == "cosine" else 1.0


def seed_of(*numbers: int) -> int:
    """Return a seed for torch that is unlike that of any other numbers."""
    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0])
