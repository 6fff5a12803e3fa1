"""The baselines: what every system of searec is shown beside."""

from itertools import product

from searec.experiments.recipe import Recipe, RecipeLine


def demo() -> Recipe:
    """Every model on the packaged sample, small enough for a first look."""
    return Recipe(
        "demo",
        (
            RecipeLine("popular", "popular"),
            RecipeLine("itemknn", "itemknn"),
            RecipeLine("ease", "ease"),
            RecipeLine("bm25", "bm25"),
            RecipeLine("dense", "dense"),
            RecipeLine("sasrec", "sasrec", {"epochs": 6}),
            RecipeLine("event-transformer", "event-transformer", {"text": True}),
            RecipeLine("unisar", "unisar", {"batch": 256, "epochs": 1}),
            RecipeLine("gserec", "gserec", {"text": True}),
            RecipeLine("lcr-ser", "lcr-ser", {"text": True, "trunk": "feed", "reasoning_steps": 400}),
            RecipeLine("serendipity", "serendipity", {"text": True}),
            RecipeLine("gensar", "gensar", {"text": True}),
        ),
    )


def headline() -> Recipe:
    """The first table of docs/results.md: default settings, each task alone, and joint runs that may serve search."""
    seeds = (0, 1, 2)
    return Recipe(
        "headline",
        (
            RecipeLine("popular", "popular"),
            RecipeLine("itemknn", "itemknn"),
            RecipeLine("itemknn-joint", "itemknn", joint=True),
            RecipeLine("ease", "ease"),
            RecipeLine("bm25", "bm25"),
            RecipeLine("dense", "dense"),
            RecipeLine("sasrec", "sasrec", seeds=seeds),
            RecipeLine("event-transformer", "event-transformer", {"tasks": ["recommend"]}, seeds=seeds),
            RecipeLine("event-transformer-joint", "event-transformer", seeds=seeds),
        ),
        protocols=("full",),
    )


def baselines() -> Recipe:
    """The baselines' table of docs/results.md: the defaults, and the published forms beside them."""
    return Recipe(
        "baselines",
        (
            RecipeLine("popular", "popular"),
            RecipeLine("itemknn", "itemknn"),
            RecipeLine("itemknn-paper", "itemknn", preset="paper"),
            RecipeLine("ease", "ease"),
            RecipeLine("ease-paper", "ease", preset="paper"),
            RecipeLine("bm25", "bm25"),
            RecipeLine("dense", "dense"),
            RecipeLine("sasrec-bce", "sasrec", SASREC_BCE),
            RecipeLine("sasrec", "sasrec"),
            RecipeLine(
                "unisar", "unisar", {"user": False, "epochs": 4, "validation_requests": 3_000}, full_requests=1_000
            ),
        ),
    )


SASREC_BCE = {
    "loss": "bce",
    "negatives": 4,
    "dropout": 0.3,
    "lr": 2e-3,
    "batch": 128,
    "epochs": 20,
    "epoch_steps": 0,
    "patience": 4,
}
"""sasrec with its paper's loss: steps cost little, so there are more of them."""


def tuning_simple() -> Recipe:
    """Settings of itemknn, ease, popular and bm25, compared on validation."""
    knn = product((10.0, 30.0, 100.0), (0.25, 0.75, 1.25), (0.0, 0.5, 1.0))
    words = product((0.3, 0.6, 1.5), (0.4, 0.75))
    return _tuning(
        "tuning-simple",
        *(
            RecipeLine(
                f"itemknn shrink={shrink:g} recency={recency:g} proximity={proximity:g}",
                "itemknn",
                {"shrink": shrink, "recency": recency, "proximity": proximity},
            )
            for shrink, recency, proximity in knn
        ),
        *(
            RecipeLine(f"ease l2={l2:g} recency={recency:g}", "ease", {"l2": l2, "recency": recency})
            for l2, recency in product((30.0, 100.0, 300.0), (0.0, 0.5, 1.0))
        ),
        *(RecipeLine(f"popular half_life={days:g}", "popular", {"half_life": days}) for days in (0.0, 30.0, 365.0)),
        *(RecipeLine(f"bm25 k1={k1:g} b={b:g}", "bm25", {"k1": k1, "b": b}) for k1, b in words),
    )


def tuning_sasrec() -> Recipe:
    """Settings of sasrec with both losses, compared on validation."""
    full = ((0.5, 3e-3), (0.3, 3e-3), (0.5, 1e-3))
    sampled = ((0.3, 2e-3, 1), (0.5, 2e-3, 1), (0.3, 2e-3, 4))
    return _tuning(
        "tuning-sasrec",
        *(RecipeLine(f"softmax dropout={d:g} lr={lr:g}", "sasrec", {"dropout": d, "lr": lr}) for d, lr in full),
        *(
            RecipeLine(
                f"bce dropout={d:g} lr={lr:g} negatives={m}",
                "sasrec",
                {**SASREC_BCE, "dropout": d, "lr": lr, "negatives": m, "epochs": 8},
            )
            for d, lr, m in sampled
        ),
    )


def tuning_unisar() -> Recipe:
    """Settings of unisar, compared on validation after two epochs each."""
    trials = ((3e-3, True, 0.1), (3e-3, False, 0.1))
    return _tuning(
        "tuning-unisar",
        *(
            RecipeLine(
                f"lr={lr:g} user={user} search_weight={w:g}",
                "unisar",
                {"lr": lr, "user": user, "search_weight": w, "epochs": 2},
            )
            for lr, user, w in trials
        ),
    )


def _tuning(name: str, *runs: RecipeLine) -> Recipe:
    return Recipe(name, runs, protocols=("full",), part="val")
