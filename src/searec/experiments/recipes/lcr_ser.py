"""LCR-SER by part and beside its controls, and what `searec reasoning` draws of the published structure."""

from typing import Any

from searec.experiments.recipe import Recipe, RecipeLine
from searec.experiments.recipes.gserec import SEEDS

RL: dict[str, Any] = {"rl_steps": 60, "rl_lr": 1e-5}
SECOND_PHASE_OF = "event-transformer"
EXIT: dict[str, Any] = {"exit_steps": 60, "exit_keep": 0.999}


def lcr_ser() -> Recipe:
    """Return lcr-ser part by part beside its controls, for data and for worlds that differ in `--inject` alone."""
    # Reasoning is learned on the same base for all lines of a seed.
    feed: dict[str, Any] = {"trunk": "feed", "start": "no search"}
    bare: dict[str, Any] = {"tcl_weight": 0.0, "step_weight": 0.0}

    def line(
        label: str,
        model: str = "lcr-ser",
        seeds: tuple[int, ...] = SEEDS,
        start: str | None = None,
        **changes: Any,
    ) -> RecipeLine:
        return RecipeLine(label, model, {"text": True, "neighbours": False, **changes}, seeds=seeds, start=start)

    return Recipe(
        "lcr-ser",
        (
            line("event-transformer", "event-transformer", tasks=["recommend"]),
            line("no search", searches=False),
            line("K=0, by age", **feed, steps=0),
            line("+LCR", **feed, **bare),
            line("+TCL", **feed),
            line("+foreign", seeds=SEEDS[:1], **feed, foreign=0.5),
            *(line(f"K={steps}", seeds=SEEDS[:1], **feed, steps=steps) for steps in (1, 2, 5)),
            line("lcr-ser"),
        ),
    )


def lcr_ser_cost() -> Recipe:
    """Return early exit, and a one-pass student beside a student of a teacher that does not reason."""
    shared: dict[str, Any] = {"text": True, "neighbours": False, "trunk": "feed"}

    def line(label: str, start: str | None = None, teacher: str | None = None, **changes: Any) -> RecipeLine:
        return RecipeLine(label, "lcr-ser", {**shared, **changes}, seeds=SEEDS, start=start, teacher=teacher)

    return Recipe(
        "lcr-ser-cost",
        (
            line("no search", searches=False),
            line("+TCL", start="no search"),
            line("early exit", start="+TCL", exit_steps=60),
            line("one pass", trunk="merged", reasoning_steps=0),
            line("student", teacher="+TCL", trunk="merged", reasoning_steps=0),
            line("student of no search", teacher="no search", trunk="merged", reasoning_steps=0),
        ),
    )


def parts(settings: dict[str, Any], seeds: tuple[int, ...] = SEEDS) -> tuple[RecipeLine, ...]:
    """Return lcr-ser-paper part by part; early exit and student with the first seed alone.

    Args:
        settings: of every line.
        seeds: of the others.
    """

    def line(
        label: str,
        *changes: dict[str, Any],
        seeds: tuple[int, ...] = seeds,
        start: str | None = None,
        teacher: str | None = None,
    ) -> RecipeLine:
        merged = {name: value for values in (settings, *changes) for name, value in values.items()}
        return RecipeLine(label, "lcr-ser-paper", merged, seeds=seeds, start=start, teacher=teacher)

    return (
        line("base", {"steps": 0}),
        line("+LCR", {"tcl_weight": 0.0}),
        line("+TCL"),
        line("+RL", RL, start="+TCL"),
        line("early exit", EXIT, seeds=seeds[:1], start="+RL"),
        line("student", {"steps": 0}, seeds=seeds[:1], teacher="+RL"),
    )


def lcr_ser_reward() -> Recipe:
    """Return phase 1, cross-entropy on hard lists from it (reward likelihood), and policy optimisation by reward."""
    first: dict[str, Any] = {"neighbours": False, "text": True, "tasks": ["recommend"]}
    second = {**first, "second_steps": 200, "second_batch": 32}

    def line(label: str, seeds: tuple[int, ...], **settings: Any) -> RecipeLine:
        return RecipeLine(label, SECOND_PHASE_OF, {**second, **settings}, seeds=seeds, start="phase 1")

    lines = [line("cross-entropy", SEEDS, second_phase="cross-entropy")]
    rewards = {"ndcg@5": SEEDS, "hit@1": SEEDS[:2], "mrr": SEEDS[:2]}
    lines += [line(f"GRPO, {name}", seeds, second_phase="grpo", reward=name) for name, seeds in rewards.items()]
    return Recipe("lcr-ser-reward", (RecipeLine("phase 1", SECOND_PHASE_OF, first, seeds=SEEDS), *lines))


def lcr_ser_report() -> Recipe:
    """Return what `searec reasoning` draws: parts, depths, rewards, and sensitivity to m, lambda_KL and gamma."""
    lines = list(parts({}, seeds=(0,)))
    lines += [RecipeLine(f"K={k}", "lcr-ser-paper", {"steps": k}) for k in (1, 2, 4, 5)]
    lines += [RecipeLine(f"m={m:g}", "lcr-ser-paper", {"margin": m}) for m in (0.05, 0.5, 1.0)]
    later: dict[str, list[Any]] = {"reward": ["ndcg@5", "mrr"], "kl_weight": [0.0, 1.0], "noise": [0.03, 0.3]}
    lines += [
        RecipeLine(f"{name}={value}", "lcr-ser-paper", {**RL, name: value}, start="+TCL")
        for name, values in later.items()
        for value in values
    ]
    return Recipe("lcr-ser-report", tuple(lines), protocols=("sampled",))
