"""GSERec and LCR-SER as published, beside their default forms and the models of others, in one table."""

from typing import Any

from searec.experiments.recipe import Recipe, RecipeLine

SEEDS = (0, 1, 2)
TRAINING: dict[str, Any] = {"batch": 256, "min_steps": 2_000}
"""In place of 1,024 and 0: on the packaged sample validation of gserec-paper is at chance for the first 300 steps."""
CODES: dict[str, Any] = {"summaries": "offline", "encoder": "minilm", "code_standardise": True}
"""Texts by rule, a small encoder, and its vectors standardised: without, all codes collapse on so little data."""
PHASE_2: dict[str, Any] = {"rl_steps": 100, "rl_batch": 64, "rl_lr": 1e-4}
"""In place of 2,000 batches of 256, for which two cores need hours."""


def published() -> Recipe:
    """Return each published form, trained until its validation stops, and its rivals; three seeds."""
    return Recipe(
        "published",
        (
            RecipeLine("itemknn", "itemknn"),
            RecipeLine("sasrec", "sasrec", seeds=SEEDS),
            RecipeLine("event-transformer", "event-transformer", {"tasks": ["recommend"]}, seeds=SEEDS),
            RecipeLine("gserec", "gserec", seeds=SEEDS),
            RecipeLine("lcr-ser", "lcr-ser", seeds=SEEDS),
            RecipeLine("gserec-paper", "gserec-paper", {**TRAINING, **CODES}, "paper", seeds=SEEDS),
            RecipeLine("lcr-ser-paper", "lcr-ser-paper", {**TRAINING, **PHASE_2}, "paper", seeds=SEEDS),
        ),
    )
