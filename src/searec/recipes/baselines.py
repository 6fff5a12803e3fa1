"""The baselines: what every system of searec is shown beside."""

from searec.recipes.recipe import Planned, Recipe


def demo() -> Recipe:
    """Every baseline on the packaged sample, small enough for a first look."""
    return Recipe(
        "demo",
        (
            Planned("popular", "popular"),
            Planned("itemknn", "itemknn"),
            Planned("bm25", "bm25"),
            Planned("dense", "dense"),
            Planned("sasrec", "sasrec", {"batch": 32, "epochs": 40}),
            Planned("unisar", "unisar", {"batch": 256, "epochs": 20, "patience": 4}),
        ),
    )


def baselines() -> Recipe:
    """The baselines' table of docs/results.md; the settings of sasrec and unisar are those the grids below chose on validation."""
    return Recipe(
        "baselines",
        (
            Planned("popular", "popular"),
            Planned("itemknn", "itemknn"),
            Planned("bm25", "bm25"),
            Planned("dense", "dense"),
            Planned("sasrec-bce", "sasrec", {"loss": "bce"}),
            Planned("sasrec", "sasrec"),
            Planned("unisar", "unisar", full_requests=5_000),
        ),
    )


def sasrec_grid() -> Recipe:
    """sasrec's settings, compared on validation."""
    return Recipe("sasrec-grid", (), protocols=("sampled",), part="val")


def unisar_grid() -> Recipe:
    """unisar's settings, compared on validation."""
    return Recipe("unisar-grid", (), protocols=("sampled",), part="val")
