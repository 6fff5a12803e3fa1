"""GenSAR beside the others, and what one task costs the other by identifier (arXiv 2504.05730, 2508.10478)."""

from typing import Any

from searec.experiments.recipe import Recipe, RecipeLine
from searec.experiments.recipes.baselines import baselines
from searec.experiments.recipes.gserec import SEEDS

PAPER: dict[str, Any] = {"epochs": 4, "patience": 0}
"""Of the T5 forms."""
CODES_ALONE: dict[str, Any] = {"item_head": False, "neighbours": False, "text": True}
"""Items are ranked by the probability of their identifiers, so that identifiers make the difference."""
BOOKS = 3
"""Codebooks an identifier, shared and specific."""


def gensar() -> Recipe:
    """Return gensar beside the baselines, what it is made of, and the T5 forms, over the whole catalogue."""
    known = {line.label: line for line in baselines().lines}
    others = (known[label] for label in ("popular", "bm25", "dense", "itemknn", "unisar"))
    feed: dict[str, Any] = {"text": True, "tasks": ["recommend"]}
    both: dict[str, Any] = {"text": True}
    return Recipe(
        "gensar",
        (
            *others,
            RecipeLine("event-transformer", "event-transformer", feed, seeds=SEEDS),
            RecipeLine("event-transformer-joint", "event-transformer", both, seeds=SEEDS),
            RecipeLine("gensar-feed", "gensar", feed, seeds=SEEDS),
            RecipeLine("gensar", "gensar", both, seeds=SEEDS),
            RecipeLine("tiger", "tiger", both, seeds=SEEDS),
            RecipeLine("codes alone", "gensar", {**CODES_ALONE, "tasks": ["recommend"]}, seeds=SEEDS),
            RecipeLine("tiger, codes alone", "tiger", CODES_ALONE, seeds=SEEDS),
            RecipeLine("no ids", "gensar", {**feed, "ids": False}, seeds=SEEDS),
            RecipeLine("gensar-paper", "gensar-paper", PAPER, full_requests=5_000),
            RecipeLine("tiger-paper", "tiger-paper", PAPER, full_requests=5_000),
        ),
        protocols=("full",),
    )


def gensar_tradeoff() -> Recipe:
    """Return what `searec tradeoff` draws: tasks, schemes, and shares of shared codebooks (joint: one of three)."""
    kinds: dict[str, dict[str, Any]] = {
        "joint": {},
        "recommend only": {"tasks": ["recommend"]},
        "search only": {"tasks": ["search"]},
        "semantic": {"scheme": "semantic"},
        "collaborative": {"scheme": "collaborative"},
        "bi-encoder": {"scheme": "bi-encoder"},
        "cold codes": {"warm_codes": False},
    }
    kinds |= {f"shared {count} of {BOOKS}": {"shared": count, "specific": BOOKS - count} for count in (0, 2, 3)}
    lines = (RecipeLine(label, "gensar", {**CODES_ALONE, **changes}, seeds=SEEDS) for label, changes in kinds.items())
    return Recipe("gensar-tradeoff", tuple(lines), protocols=("sampled",))
