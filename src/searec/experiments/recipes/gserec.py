"""GSERec beside the others and its controls, unseen users, and the ablations of its published structure."""

from typing import Any

from searec.experiments.recipe import Recipe, RecipeLine

SEEDS = (0, 1, 2)
IN_WORLD = {"text": True}
"""Titles are read in a simulated world, where they tell the product types apart."""
CONTROLS: dict[str, dict[str, Any]] = {
    "gserec": {},
    "shuffled codes": {"assignment": "shuffled"},
    "no codes": {"assignment": "one"},
}
"""What is learned from messages: of the user's own codes, of others dealt out, of all rich searchers alike."""
ON_YELP = {"epochs": 4}
"""Validation of the published structure is best after three or four."""
PUBLISHED: dict[str, dict[str, Any]] = {
    "gserec-paper": {},
    "no graph": {"layers": 0},
    "no user contrast": {"user_weight": 0.0},
    "no history contrast": {"history_weight": 0.0},
    "no code contrast": {"code_contrast": 0.0},
    "no contrast": {"user_weight": 0.0, "history_weight": 0.0, "code_contrast": 0.0},
    "K=1": {"layers": 1},
    "K=3": {"layers": 3},
    "K=4": {"layers": 4},
}
"""L_U-CL, L_His-CL and L_RQ-CL are the user, history and code contrasts; gserec-paper has K=2."""


def _with_controls(settings: dict[str, Any]) -> tuple[RecipeLine, ...]:
    """The model and its controls, all from the weights of one event-transformer a seed: the line "no graph"."""
    return (
        RecipeLine("no graph", "gserec", {**settings, "messages": False}, seeds=SEEDS),
        *(
            RecipeLine(label, "gserec", {**settings, **control}, seeds=SEEDS, start="no graph")
            for label, control in CONTROLS.items()
        ),
    )


def gserec() -> Recipe:
    """Return gserec and its controls beside the models of others."""
    others = (RecipeLine("popular", "popular"), RecipeLine("itemknn", "itemknn"), RecipeLine("ease", "ease"))
    return Recipe("gserec", (*others, RecipeLine("sasrec", "sasrec", seeds=SEEDS), *_with_controls({})))


def gserec_world() -> Recipe:
    """Return gserec and its controls in a simulated world."""
    others = (RecipeLine("popular", "popular"), RecipeLine("itemknn", "itemknn"), RecipeLine("ease", "ease"))
    return Recipe("gserec-world", (*others, *_with_controls(IN_WORLD)))


def gserec_unseen() -> Recipe:
    """Return what models make of users who come later: a tenth of the users is kept from training."""
    lines: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("popular", "popular", {}),
        ("itemknn", "itemknn", {"repeats": False, "shrink": 60.0}),
        ("sasrec", "sasrec", {}),
        ("gserec", "gserec", {}),
        ("no graph", "gserec", {"messages": False}),
    )
    return Recipe(
        "gserec-unseen",
        tuple(RecipeLine(label, model, settings, seeds=(0,), unseen=0.1) for label, model, settings in lines),
        protocols=("sampled",),
    )


def gserec_ablations() -> Recipe:
    """Return ablations of the published structure, one part less at a time, and its depths."""
    lines = tuple(
        RecipeLine(
            label,
            "gserec-paper",
            {**ON_YELP, **settings},
            seeds=SEEDS if label in ("gserec-paper", "no graph") else (0,),
        )
        for label, settings in PUBLISHED.items()
    )
    return Recipe("gserec-ablations", lines, protocols=("sampled",))
