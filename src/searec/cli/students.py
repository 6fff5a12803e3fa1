"""Commands for reasoners: distil a small language model from one, and compare them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searec.cli.arguments import (
    Data,
    Json,
    Set,
    emit,
    pairs,
    seed_option,
)
from searec.errors import SettingsError

if TYPE_CHECKING:
    from searec.data.dataset import Dataset
    from searec.interests.reasoner import Reasoner
    from searec.interests.reasoner_evaluation import ReasoningMetrics

STUDENT, TEACHER = "student=", "teacher"
Users = Annotated[
    int | None,
    typer.Option("--users", min=2, help="Number of users, drawn by the seed; all by default.", show_default=False),
]
Near = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="Also compare by this sentence encoder, 'minilm' or any; by words alone without.",
        show_default=False,
    ),
]
Seed = Annotated[int, seed_option("Same seed, same users, same weights, bit for bit.")]


def distil(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The student's folder to write.", show_default=False)],
    teacher: Annotated[str, typer.Option(help="The reasoner to learn from: offline, chat or debate.")] = "offline",
    base: Annotated[str, typer.Option(help="A causal model by folder or hub id; 'small' makes one here.")] = "small",
    users: Users = None,
    overrides: Set = None,
    encoder: Near = None,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was broken off.")] = False,
    figures: Json = None,
) -> None:
    """Train a causal model to reason as a teacher does: labels, checks, LoRA, and an evaluation on unseen users.

    --set teacher.KEY=VALUE is a setting of the teacher.
    """
    from searec.config import configure
    from searec.data.dataset import load
    from searec.data.leakage.cutoff import Cutoff
    from searec.data.schema import TASKS
    from searec.data.split import Split
    from searec.distillation.distil import DistilSettings, evaluate_student, require_new_folder
    from searec.distillation.distil import distil as teach
    from searec.distillation.labels import make_labels
    from searec.interests.profile_sampling import sample_profiles
    from searec.interests.reasoner_evaluation import Categories
    from searec.training.interrupts import stop_requests

    plain, of_others = _parted(overrides, [TEACHER])
    config = configure(DistilSettings, {"base": base, **plain}, where="distil")
    encode = _encode(encoder)
    require_new_folder(out, resume)
    dataset = load(data)
    reasoner = reasoner_of(teacher, dataset, of_others[TEACHER])
    thoughts = reasoner.infer(sample_profiles(dataset, users, seed=seed))
    made_of = Cutoff.of(Split(dataset), TASKS)
    labels = make_labels(
        thoughts,
        teacher=reasoner.name,
        version=reasoner.version,
        interests=config.interests,
        share=config.held,
        seed=seed,
        made_of=made_of,
    )
    with stop_requests() as request:
        teach(labels, out, config, seed=seed, resume=resume, stopping=lambda: request.is_requested)
    judgement = evaluate_student(out, thoughts, catalogue=Categories.of(dataset), encode=encode, seed=seed)
    if str(figures) != "-":
        print_made(out)
        print_judged({"student": judgement})
    emit(judgement.as_json(), figures)


def evaluate(
    data: Data,
    reasoners: Annotated[
        list[str],
        typer.Option(
            "--reasoner", metavar="NAME", help="offline, chat, debate or student=RUN; may be given many times."
        ),
    ],
    teacher: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The reasoner to agree with; the first one by default.", show_default=False),
    ] = None,
    users: Users = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME.KEY=VALUE",
            help="A setting of a reasoner; may be given many times.",
            show_default=False,
        ),
    ] = None,
    encoder: Near = None,
    seed: Seed = 0,
    figures: Json = None,
) -> None:
    """Compare reasoners on the same users that no student learned from: novelty, agreement, grounding, speed."""
    from searec.data.dataset import load
    from searec.distillation.distil import trained_users
    from searec.interests.profile_sampling import sample_profiles
    from searec.interests.reasoner_evaluation import Categories, evaluate_reasoning, infer_timed

    encode = _encode(encoder)
    goal = teacher or reasoners[0]
    names = list(dict.fromkeys([*reasoners, goal]))
    plain, options = _parted(overrides, [name.partition("=")[0] for name in names])
    if plain:
        raise SettingsError(
            "a setting of no reasoner",
            where="--set",
            got=next(iter(plain)),
            expected="NAME.KEY=VALUE with a reasoner's name",
        )
    dataset = load(data)
    seen = set().union(*(trained_users(name.removeprefix(STUDENT)) for name in names if name.startswith(STUDENT)))
    sampled = sample_profiles(dataset, users, seed=seed, leave_out=seen)
    if not sampled:
        raise SettingsError("no user is left", got=f"{len(seen)} users that a student learned from are left out")
    reasoners_by_name = {name: reasoner_of(name, dataset, options[name.partition("=")[0]]) for name in names}
    thought = {name: infer_timed(reasoner, sampled) for name, reasoner in reasoners_by_name.items()}
    catalogue = Categories.of(dataset)
    judgements = {
        name: evaluate_reasoning(
            thought[name][0],
            teacher=None if name == goal else thought[goal][0],
            catalogue=catalogue,
            encode=encode,
            seconds=thought[name][1],
            seed=seed,
        )
        for name in names
        if name in reasoners
    }
    if str(figures) != "-":
        left = f", {len(seen):,} that a student learned from left out" if seen else ""
        print(f"{len(sampled):,} users{left}; agreement with {goal}")
        print_judged(judgements)
    emit(
        {
            "users": len(sampled),
            "teacher": goal,
            "reasoners": {name: one.as_json() for name, one in judgements.items()},
        },
        figures,
    )


def reasoner_of(text: str, data: "Dataset", options: Mapping[str, str]) -> "Reasoner":
    """Return the reasoner of a name, or of student=RUN.

    Args:
        text: the name.
        data: the dataset.
        options: settings by name.

    Raises:
        SettingsError: no reasoner of the name, or no such setting of it.
    """
    from searec.data.schema import TASKS
    from searec.data.split import Split
    from searec.interests.reasoner_registry import reasoner_named

    name, _, model = text.partition("=")
    return reasoner_named(
        name, Split(data), TASKS, {"model": model, **options} if text.startswith(STUDENT) else options
    )


def _parted(given: list[str] | None, names: list[str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return settings without a name before them, and those of each name, given as NAME.KEY=VALUE."""
    plain: dict[str, str] = {}
    others: dict[str, dict[str, str]] = {name: {} for name in names}
    for key, value in pairs(given).items():
        name, dot, inner = key.partition(".")
        if dot and name in others:
            others[name][inner] = value
        else:
            plain[key] = value
    return plain, others


def print_made(folder: Path) -> None:
    """Print how many labels there were and how the model was trained on them."""
    import json

    from searec.distillation.distil import ABOUT
    from searec.interests.student_reasoner import FILE

    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    labels = json.loads((folder / FILE).read_text(encoding="utf-8"))["labels"]
    counts = labels["labels"]
    refused = ", ".join(f"{count:,} {reason}" for reason, count in counts["refused"].items()) or "none"
    print(
        f"teacher {labels['teacher']['name']}: {counts['train']:,} labels to train on, "
        f"{counts['eval']:,} held back; refused: {refused}"
    )
    for sentence in about["done"]:
        print(sentence)
    for name, phase in about["phases"].items():
        held = "" if phase["eval_loss"] is None else f", {phase['eval_loss']:.4f} on held-back labels"
        print(f"  {name:<9} {phase['steps']:,} steps, loss {phase['loss']:.4f}{held}")
    print(f"wrote {folder}")


def print_judged(judgements: "dict[str, ReasoningMetrics]") -> None:
    """Print a line per reasoner."""
    wide = max(16, *map(len, judgements)) + 1
    columns = {
        "answered": "answered",
        "interests": "interests",
        "raw.0": "raw 0",
        "raw.1": "1",
        "raw.2": "2",
        "after.0": "after 0",
        "after.1": "1",
        "after.2": "2",
        "precision": "precision",
        "recall": "recall",
        "f1": "f1",
        "soft.f1": "soft f1",
        "grounded": "grounded",
    }
    shown = {name: title for name, title in columns.items() if any(name in one.figures for one in judgements.values())}
    print(
        "  " + " " * wide + "".join(f"{title:>10}" for title in shown.values()) + f"{'profiles/s':>12}{'tokens/s':>10}"
    )
    for label, one in judgements.items():
        row = one.as_json()
        values = "".join(_cell(row["figures"].get(name, {}).get("value"), 10) for name in shown)
        speed = _cell(row["profiles_per_second"], 12, 1) + _cell(row["tokens_per_second"], 10, 0)
        print(f"  {label:<{wide}}{values}{speed}")
        for problem, count in one.problems.items():
            print(f"  {'':<{wide}}  {count:,} x {problem}")


def _cell(value: float | None, width: int, digits: int = 3) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"


def _encode(name: str | None) -> Any:
    if name is None:
        return None
    from searec.text.encoder import Encoder

    return Encoder(name).encode
