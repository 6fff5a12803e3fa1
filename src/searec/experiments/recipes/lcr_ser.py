"""LCR-SER beside the others, by part, depth and reward, and where searches mislead (arXiv 2508.04152, Section 4)."""

from dataclasses import replace
from typing import Any

from searec.experiments.recipe import Recipe, RecipeLine
from searec.experiments.recipes.gserec import SEEDS
from searec.experiments.recipes.gserec import gserec as gserec_table

ON_YELP: dict[str, Any] = {"epochs": 3}
RL: dict[str, Any] = {"rl_steps": 60, "rl_lr": 1e-5}
SECOND_PHASE_OF = "event-transformer"
EXIT: dict[str, Any] = {"exit_steps": 60, "exit_keep": 0.999}


def lcr_ser() -> Recipe:
    """Return lcr-ser part by part (the paper's order: base < +LCR < +TCL < +RL), early exit and one-pass student."""
    names = ("popular", "itemknn", "sasrec", "unisar", "gserec-paper")
    others = tuple(line for line in gserec_table().lines if line.label in names)
    return Recipe("lcr-ser", others + tuple(replace(line, full_requests=5_000) for line in parts(ON_YELP)))


def parts(settings: dict[str, Any], seeds: tuple[int, ...] = SEEDS) -> tuple[RecipeLine, ...]:
    """Return lcr-ser part by part; early exit and student with the first seed alone.

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


def lcr_ser_depth() -> Recipe:
    """K from 0 to 5, where +TCL of `lcr_ser` is K = 3; and without the searches."""
    depths = {"base": 0, "K=1": 1, "K=2": 2, "+TCL": 3, "K=4": 4, "K=5": 5}
    lines = (
        RecipeLine(label, "lcr-ser-paper", {**ON_YELP, "steps": k}, seeds=(0,) if label.startswith("K") else SEEDS)
        for label, k in depths.items()
    )
    no_search = RecipeLine("no search", "lcr-ser-paper", {**ON_YELP, "searches": 0, "steps": 0})
    return Recipe("lcr-ser-depth", (no_search, *lines), protocols=("sampled",))


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


def lcr_ser_noise() -> Recipe:
    """Return the models for worlds with and without noise among the queries, or with no common intent."""
    seeds = SEEDS[:2]
    lines = (
        RecipeLine("unisar", "unisar", {"tasks": ["recommend"], "epochs": 12, "patience": 4}),
        RecipeLine("gserec-paper", "gserec-paper"),
        RecipeLine("no search", "lcr-ser-paper", {"searches": 0, "steps": 0}, seeds=seeds),
        RecipeLine("base", "lcr-ser-paper", {"steps": 0}, seeds=seeds),
        RecipeLine("lcr-ser-paper", "lcr-ser-paper", seeds=seeds),
    )
    return Recipe("lcr-ser-noise", lines, protocols=("sampled",))


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
