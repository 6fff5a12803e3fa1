"""GSERec and LCR-SER as published, beside their default forms and the models of others, in one table."""

from typing import Any

from searec.experiments.recipe import Recipe, RecipeLine

OFFLINE: dict[str, Any] = {"summaries": "offline", "encoder": "minilm"}
"""Texts without a language model and a small sentence encoder, the only departures of gserec from its paper here."""
PHASE_2: dict[str, Any] = {"rl_steps": 100}
"""Batches of policy optimisation; two cores need hours for the preset's 2,000."""


def published() -> Recipe:
    """Return each published form, trained until its validation stops, and its rivals; three seeds."""
    seeds = (0, 1, 2)
    return Recipe(
        "published",
        (
            RecipeLine("itemknn", "itemknn"),
            RecipeLine("sasrec", "sasrec", seeds=seeds),
            RecipeLine("event-transformer", "event-transformer", {"tasks": ["recommend"]}, seeds=seeds),
            RecipeLine("gserec-paper", "gserec-paper", OFFLINE, "paper", seeds=seeds),
            RecipeLine("lcr-ser-paper", "lcr-ser-paper", PHASE_2, "paper", seeds=seeds),
        ),
    )
