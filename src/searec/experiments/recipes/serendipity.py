"""serendipity beside what it is compared with, and its parts."""

from typing import Any

from searec.experiments.recipe import Recipe, RecipeLine
from searec.experiments.recipes.baselines import baselines
from searec.experiments.recipes.gserec import gserec


def serendipity() -> Recipe:
    """Both forms of serendipity, each with and without its mechanism, beside baselines."""
    known = {line.label: line for line in (*baselines().lines, *gserec().lines)}
    others = (known[label] for label in ("popular", "itemknn", "sasrec"))
    parts: dict[str, tuple[str, dict[str, Any]]] = {
        "serendipity": ("serendipity", {}),
        "-interests": ("serendipity", {"interest_steps": 0}),
        "serendipity-paper": ("serendipity-paper", {}),
        "-contrast": ("serendipity-paper", {"contrast_weight": 0.0}),
        "bce": ("serendipity-paper", {"loss": "bce", "negatives": 8}),
    }
    variants = (RecipeLine(label, model, settings) for label, (model, settings) in parts.items())
    return Recipe("serendipity", (*others, *variants))
