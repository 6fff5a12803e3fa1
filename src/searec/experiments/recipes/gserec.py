"""GSERec beside the others, its ablations, its depth, and unseen users (arXiv 2508.04145, Sections 5.2 and 5.3)."""

from typing import Any

from searec.experiments.recipe import Recipe, RecipeLine

SEEDS = (0, 1, 2)
ON_YELP = {"epochs": 4}
"""Validation is best after three or four."""
PLAIN = {
    "width": 64,
    "dropout": 0.1,
    "init": 0.1,
    "schedule": "constant",
    "lr": 2e-3,
    "epochs": 10,
}
"""The paper's loss, score and width, for longer, as its steps cost less."""
SASREC_WIDE = {"width": 96, "inner": 96, "schedule": "linear", "epochs": 6, "epoch_steps": 0}
"""sasrec with gserec's width and schedule, chosen on validation."""
ABLATIONS: dict[str, dict[str, Any]] = {
    "gserec-paper": {},
    "no graph": {"layers": 0},
    "no user contrast": {"user_weight": 0.0},
    "no history contrast": {"history_weight": 0.0},
    "no code contrast": {"code_contrast": 0.0},
    "no contrast": {"user_weight": 0.0, "history_weight": 0.0, "code_contrast": 0.0},
}
"""L_U-CL, L_His-CL and L_RQ-CL are the user, history and code contrasts."""


def gserec() -> Recipe:
    """The table of docs/results.md: gserec beside the baselines, three seeds of the strongest."""
    return Recipe(
        "gserec",
        (
            RecipeLine("popular", "popular"),
            RecipeLine("itemknn", "itemknn"),
            RecipeLine("sasrec", "sasrec", seeds=SEEDS),
            RecipeLine("sasrec-wide", "sasrec", SASREC_WIDE, seeds=SEEDS),
            RecipeLine(
                "unisar", "unisar", {"user": False, "epochs": 4, "validation_requests": 3_000}, full_requests=5_000
            ),
            RecipeLine("gserec-paper", "gserec-paper", ON_YELP, seeds=SEEDS, full_requests=5_000),
            RecipeLine("gserec-plain", "gserec-paper", PLAIN, full_requests=5_000),
        ),
    )


def gserec_ablations() -> Recipe:
    """Return the ablations of gserec: one part less at a time."""
    return Recipe(
        "gserec-ablations",
        tuple(
            RecipeLine(
                label,
                "gserec-paper",
                {**ON_YELP, **settings},
                seeds=SEEDS if label in ("gserec-paper", "no graph") else (0,),
            )
            for label, settings in ABLATIONS.items()
        ),
        protocols=("sampled",),
    )


def gserec_depth() -> Recipe:
    """K from 1 to 4; K = 2 is gserec."""
    others = tuple(RecipeLine(f"K={k}", "gserec-paper", {**ON_YELP, "layers": k}) for k in (1, 3, 4))
    lines = (RecipeLine("gserec-paper", "gserec-paper", ON_YELP, seeds=SEEDS), *others)
    return Recipe("gserec-depth", lines, protocols=("sampled",))


def gserec_unseen() -> Recipe:
    """A tenth of the users kept from training: what each model makes of users who come later."""
    lines: tuple[tuple[str, dict[str, Any]], ...] = (
        ("popular", {}),
        ("itemknn", {"repeats": False, "shrink": 60.0}),
        ("sasrec", {}),
        ("gserec-paper", {}),
        ("gserec-paper", {"layers": 0}),
    )
    return Recipe(
        "gserec-unseen",
        tuple(
            RecipeLine("no graph" if settings.get("layers") == 0 else model, model, settings, seeds=(0,), unseen=0.1)
            for model, settings in lines
        ),
        protocols=("sampled",),
    )


def gserec_world() -> Recipe:
    """Return gserec with and without the graph in a simulated world, in the paper's form and the default preset's."""
    forms: tuple[tuple[str, dict[str, Any], tuple[int, ...]], ...] = (
        ("paper's form", {**PLAIN, "batch": 128, "epochs": 40, "patience": 3}, (0, 1)),
        ("default preset", {}, (0,)),
    )
    depths = (("K=2", 2), ("no graph", 0))
    lines = [
        RecipeLine(f"{form}, {name}", "gserec-paper", {**settings, "layers": k}, seeds=seeds)
        for form, settings, seeds in forms
        for name, k in depths
    ]
    return Recipe("gserec-world", tuple(lines), protocols=("sampled",))
