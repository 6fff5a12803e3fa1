"""serendipity beside what it is compared with, and its parts."""

from typing import Any

from searec.experiments.recipe import Recipe, RecipeLine
from searec.experiments.recipes.baselines import baselines
from searec.experiments.recipes.gserec import gserec


def serendipity() -> Recipe:
    """The runs that `searec exposure` shows in docs/results.md."""
    known = {line.label: line for line in (*baselines().lines, *gserec().lines)}
    others = (known[label] for label in ("popular", "itemknn", "sasrec"))
    parts: dict[str, dict[str, Any]] = {
        "serendipity": {},
        "-contrast": {"contrast_weight": 0.0},
        "bce": {"loss": "bce", "negatives": 8},
    }
    variants = (RecipeLine(label, "serendipity", settings) for label, settings in parts.items())
    return Recipe("serendipity", (*others, *variants))
