"""GenSAR beside the others, and what one task costs the other by identifier (arXiv 2504.05730, 2508.10478)."""

from typing import Any

from searec.experiments.recipe import Recipe, RecipeLine
from searec.experiments.recipes.baselines import baselines
from searec.experiments.recipes.gserec import gserec

ON_YELP: dict[str, Any] = {"epochs": 4, "patience": 0}
"""Of every generative line alike, so that none is ahead by a longer training."""
BOOKS = 4
"""Codebooks an identifier, shared and specific."""


def gensar() -> Recipe:
    """Return gensar beside the baselines of both tasks and generative retrieval for recommendation alone."""
    known = {line.label: line for line in (*baselines().lines, *gserec().lines)}
    others = (known[label] for label in ("popular", "bm25", "dense", "itemknn", "sasrec", "unisar"))
    generative = (
        RecipeLine("tiger", "tiger", ON_YELP, full_requests=5_000),
        RecipeLine("gensar", "gensar", ON_YELP, full_requests=5_000),
    )
    return Recipe("gensar", (*others, *generative))


def gensar_tradeoff() -> Recipe:
    """Return what `searec tradeoff` draws: tasks, schemes, and shares of shared codebooks (joint: two of four)."""
    kinds: dict[str, dict[str, Any]] = {
        "joint": {},
        "recommend only": {"tasks": ["recommend"]},
        "search only": {"tasks": ["search"]},
        "semantic": {"scheme": "semantic"},
        "collaborative": {"scheme": "collaborative"},
        "bi-encoder": {"scheme": "bi-encoder"},
        "cold codes": {"warm_codes": False},
    }
    kinds |= {f"shared {count} of {BOOKS}": {"shared": count, "specific": BOOKS - count} for count in (0, 1, 3, 4)}
    lines = tuple(RecipeLine(label, "gensar", {**ON_YELP, **settings}) for label, settings in kinds.items())
    return Recipe("gensar-tradeoff", lines, protocols=("sampled",))
