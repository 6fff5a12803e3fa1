"""GSERec beside the others, its ablations, its depth, and users it has not seen (arXiv 2508.04145, Sections 5.2 and 5.3)."""

from itertools import product
from typing import Any

from searec.recipes.recipe import Planned, Recipe

SEEDS = (0, 1, 2)
ABLATIONS: dict[str, dict[str, Any]] = {
    "gserec": {},
    "no graph": {"layers": 0},
    "no user contrast": {"user_weight": 0.0},
    "no history contrast": {"history_weight": 0.0},
    "no code contrast": {"code_contrast": 0.0},
    "no contrast": {"user_weight": 0.0, "history_weight": 0.0, "code_contrast": 0.0},
}
"""L_U-CL, L_His-CL and L_RQ-CL are the user, history and code contrasts."""


def gserec() -> Recipe:
    """The table of docs/results.md: gserec beside the baselines, three seeds of all that learn by steps."""
    return Recipe(
        "gserec",
        (
            Planned("popular", "popular"),
            Planned("itemknn-tuned", "itemknn", {"repeats": False, "shrink": 60.0}),
            Planned("sasrec", "sasrec", seeds=SEEDS),
            Planned("unisar", "unisar", {"user": False, "epochs": 4, "validation_requests": 3_000}, seeds=SEEDS, full_requests=1_000),
            Planned("gserec", "gserec", seeds=SEEDS),
        ),
    )


def gserec_ablations() -> Recipe:
    """gserec less one part at a time."""
    return Recipe(
        "gserec-ablations",
        tuple(Planned(label, "gserec", settings, seeds=SEEDS) for label, settings in ABLATIONS.items()),
        protocols=("sampled",),
    )


def gserec_depth() -> Recipe:
    """K from 1 to 4."""
    lines = tuple(Planned("gserec" if k == 2 else f"K={k}", "gserec", {"layers": k}, seeds=SEEDS) for k in (1, 2, 3, 4))
    return Recipe("gserec-depth", lines, protocols=("sampled",))


def gserec_unseen() -> Recipe:
    """A tenth of the users kept from training: what each model makes of users who come later."""
    lines: tuple[tuple[str, dict[str, Any]], ...] = (
        ("popular", {}),
        ("itemknn", {"repeats": False, "shrink": 60.0}),
        ("sasrec", {}),
        ("gserec", {}),
        ("gserec", {"layers": 0}),
    )
    return Recipe(
        "gserec-unseen",
        tuple(
            Planned("no graph" if settings.get("layers") == 0 else model, model, settings, seeds=(0,), unseen=0.1)
            for model, settings in lines
        ),
        protocols=("sampled",),
    )


def tuning_gserec() -> Recipe:
    """Settings of gserec, compared on validation after a few epochs each."""
    trials = product(("bce", "softmax"), (False, True))
    return Recipe(
        "tuning-gserec",
        tuple(Planned(f"loss={loss} match={match}", "gserec", {"loss": loss, "match": match, "epochs": 3}) for loss, match in trials),
        protocols=("sampled",),
        part="val",
    )
