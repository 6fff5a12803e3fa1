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
            RecipeLine("bm25", "bm25"),
            RecipeLine("dense", "dense"),
            RecipeLine("sasrec", "sasrec", {"batch": 32, "epochs": 40}),
            RecipeLine("unisar", "unisar", {"batch": 256, "epochs": 4}),
            RecipeLine("gserec", "gserec", {"batch": 128, "epochs": 4}),
            RecipeLine("lcr-ser", "lcr-ser", {"batch": 128, "epochs": 4}),
            RecipeLine("serendipity", "serendipity", {"batch": 128}),
            RecipeLine(
                "gensar",
                "gensar",
                {
                    "width": 64,
                    "layers": 1,
                    "heads": 2,
                    "inner": 128,
                    "batch": 128,
                    "epochs": 3,
                    "validation_requests": 500,
                    "code_epochs": 100,
                },
            ),
        ),
    )


def baselines() -> Recipe:
    """The baselines' table of docs/results.md, with the settings that `tuning_*` chose on validation."""
    return Recipe(
        "baselines",
        (
            RecipeLine("popular", "popular"),
            RecipeLine("itemknn", "itemknn"),
            RecipeLine("itemknn-tuned", "itemknn", {"repeats": False, "shrink": 60.0}),
            RecipeLine("bm25", "bm25"),
            RecipeLine("bm25-tuned", "bm25", {"k1": 0.6}),
            RecipeLine("dense", "dense"),
            RecipeLine("sasrec-bce", "sasrec", SASREC_BCE),
            RecipeLine("sasrec", "sasrec"),
            RecipeLine(
                "unisar", "unisar", {"user": False, "epochs": 4, "validation_requests": 3_000}, full_requests=1_000
            ),
        ),
    )


SASREC_BCE = {"loss": "bce", "negatives": 4, "dropout": 0.3, "lr": 2e-3, "batch": 128, "epochs": 20, "patience": 4}
"""sasrec with its paper's loss: steps cost little, so there are more of them."""


def tuning_simple() -> Recipe:
    """Settings of itemknn and bm25, compared on validation."""
    knn = ((0, True, 0.0), *product((0, 1000), (False,), (0.0, 5.0, 20.0, 60.0)))
    words = product((0.6, 0.9, 1.5), (0.4, 0.75))
    return _tuning(
        "tuning-simple",
        *(
            RecipeLine(
                f"itemknn neighbours={k} repeats={r} shrink={s:g}",
                "itemknn",
                {"neighbours": k, "repeats": r, "shrink": s},
            )
            for k, r, s in knn
        ),
        *(RecipeLine(f"bm25 k1={k1:g} b={b:g}", "bm25", {"k1": k1, "b": b}) for k1, b in words),
    )


def tuning_sasrec() -> Recipe:
    """Settings of sasrec with both losses, compared on validation after a few epochs each."""
    full = ((0.5, 3e-3), (0.3, 3e-3), (0.5, 1e-3))
    sampled = ((0.3, 2e-3, 1), (0.5, 2e-3, 1), (0.3, 2e-3, 4))
    return _tuning(
        "tuning-sasrec",
        *(
            RecipeLine(f"softmax dropout={d:g} lr={lr:g}", "sasrec", {"dropout": d, "lr": lr, "epochs": 3})
            for d, lr in full
        ),
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
    return Recipe(name, runs, protocols=("sampled",), part="val")
