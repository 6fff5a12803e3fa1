"""Distil a teacher's labels into a causal model by LoRA; the result is a reasoner (InterestGPT in the paper)."""

import functools
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from searec.config import Count, Positive, Share, as_dict, configure, settings
from searec.distillation.fine_tuning import FineTuned, FineTuningSettings, Lora, fine_tune, seeded
from searec.distillation.labels import SHOWN, Label, Labels
from searec.errors import DataError, RunError, SettingsError
from searec.files import replacing, write_json
from searec.interests.causal_lm import (
    answer_ids,
    context_length,
    device_named,
    open_model,
    open_tokenizer,
    prompt_ids,
    small_model,
    small_tokenizer,
    without_warnings,
)
from searec.interests.reasoner import ReasoningResult
from searec.interests.reasoner_evaluation import Categories, Encode, ReasoningMetrics, evaluate_reasoning, infer_timed
from searec.interests.student_dialogue import FORMAT
from searec.interests.student_reasoner import (
    ADAPTER,
    BASE,
    FILE,
    LABELS,
    TOKENIZER,
    StudentReasoner,
    StudentSettings,
    base_digest,
)

SMALL = "small"
ABOUT, LOG = "about.json", "log.jsonl"
_LIBRARIES = ("torch", "transformers", "trl", "peft", "tokenizers")


@settings
class DistilSettings(FineTuningSettings, Lora):
    """Settings of a distillation.

    base: a causal model by folder or hub id; "small" creates one of `width`, `layers` and `heads`, with a tokenizer of
        at most `vocabulary` tokens, and trains all its weights on the labels in `base_epochs` at `base_lr` before its
        adapters.
    max_length: tokens of a prompt with its answer; longer labels are refused, and it is the context of a small base.
    interests: of a label at most. held: share of the users whose labels are not trained on.
    device: "auto" is an accelerator if there is one.
    """

    base: str = SMALL
    lr: Positive = 2e-4
    epochs: Count = 3
    max_length: Count = 1024
    interests: Count = SHOWN
    held: Share = 0.1
    device: str = "auto"
    width: Count = 128
    layers: Count = 3
    heads: Count = 4
    vocabulary: Count = 2048
    base_lr: Positive = 5e-3
    base_epochs: Count = 20


def distil(
    labels: Labels,
    out: Path | str,
    config: DistilSettings | None = None,
    *,
    seed: int = 0,
    resume: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> Path:
    """Train a causal model on labels and write the folder that `StudentReasoner` opens.

    The folder has student.json (base, format, teacher, labels, settings), adapter/, tokenizer/, base/ where it was
    created here, labels/, about.json (a description in words and numbers) and log.jsonl. Until it is complete, the
    trainer's checkpoints (with pickles) are in the folder of the same name with ".training" added.

    Args:
        labels: to train on.
        out: the new folder.
        config: of the distillation.
        seed: same seed, same weights, bit for bit, on one machine's CPU.
        resume: continue from the checkpoint, if there is one.
        stopping: called after every step; True stops.

    Raises:
        DataError: no label is short enough to train on.
        RunError: the folder is in use, or its checkpoint is of other labels or settings.
        SettingsError: sizes that make no model, or layers that are not there.
        DependencyError: trl, peft or transformers is not installed, or the base cannot be had.
        Interrupted: `stopping` returned True; the checkpoint is written.
    """
    config, out = config or DistilSettings(), Path(out)
    require_new_folder(out, resume)
    work = _work(out)
    made_from = {"format": FORMAT, "labels": labels.digest, "settings": as_dict(config), "seed": seed}
    if (out / FILE).is_file():
        _refuse_other(json.loads((out / FILE).read_text(encoding="utf-8")).get("made_from"), made_from, out)
        return out
    if (work / FILE).is_file():
        _refuse_other(json.loads((work / FILE).read_text(encoding="utf-8")), made_from, work)
    small = config.base == SMALL
    if small:
        texts = [text for one in labels.train for text in (one.prompt, one.completion)]
        tokenizer = small_tokenizer(texts, config.vocabulary)
    else:
        tokenizer = open_tokenizer(config.base)
    given = None if small else open_model(config.base, device=config.device)
    limit = config.max_length if given is None else min(config.max_length, context_length(given))
    labels = _short_enough(labels, tokenizer, limit)

    write_json(work / FILE, made_from)
    teach = functools.partial(fine_tune, seed=seed, resume=resume, stopping=stopping)
    base = work / BASE
    phases: dict[str, dict[str, Any]] = {}  # figures and rows of each training
    try:
        if small:
            phases["base"] = _base_made(base, tokenizer, labels, config, teach, seed)
            given = open_model(base, device=config.device)
        done = teach(given, tokenizer, labels.train, labels.held, work / "lora", config, title="Adapters", lora=config)
        phases["adapters"] = {"figures": done.figures, "rows": done.rows}
    except SettingsError:  # other settings are another distillation, which this folder would block
        shutil.rmtree(work, ignore_errors=True)
        raise

    base_name = SMALL if small else str(Path(config.base).resolve()) if Path(config.base).is_dir() else config.base
    about = {
        "format": FORMAT,
        "base": {"name": base_name, "made_here": small, "digest": base_digest(base if small else base_name, given)},
        "teacher": labels.about.get("teacher"),
        "labels": labels.as_json(),
        "settings": as_dict(config),
        "seed": seed,
        "made_from": made_from,
        "figures": None,
    }
    with replacing(out) as beside:
        beside.mkdir()
        _save_adapter(done.model, beside / ADAPTER, base_name)
        tokenizer.save_pretrained(beside / TOKENIZER)
        if small:
            shutil.copytree(base, beside / BASE)
        labels.save(beside / LABELS)
        figures = {name: phase["figures"] for name, phase in phases.items()}
        versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
        write_json(beside / ABOUT, {"done": _description(config, figures), "phases": figures, "versions": versions})
        rows = [{"phase": name, **row} for name, phase in phases.items() for row in phase["rows"]]
        (beside / LOG).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        write_json(beside / FILE, about)
    shutil.rmtree(work, ignore_errors=True)
    return out


def evaluate_student(
    folder: Path | str,
    thoughts: Sequence[ReasoningResult],
    *,
    catalogue: Categories | None = None,
    encode: Encode | None = None,
    seed: int = 0,
) -> ReasoningMetrics:
    """Evaluate a student on the users held out of its training, and write the figures into its student.json.

    Args:
        folder: of the student.
        thoughts: the teacher's results, from which its labels were made.
        catalogue: as for `evaluate_reasoning`.
        encode: as for `evaluate_reasoning`.
        seed: as for `evaluate_reasoning`.
    """
    folder = Path(folder)
    about = json.loads((folder / FILE).read_text(encoding="utf-8"))
    aside = {one.user for one in Labels.load(folder / LABELS).held}
    lessons = [one for one in thoughts if one.profile.user in aside]
    config = configure(DistilSettings, about["settings"], where=str(folder / FILE))
    student = StudentReasoner(folder, StudentSettings(interests=config.interests, device=config.device))
    answers, seconds = infer_timed(student, [one.profile for one in lessons])
    judgement = evaluate_reasoning(
        answers, teacher=lessons, catalogue=catalogue, encode=encode, seconds=seconds, seed=seed
    )
    write_json(folder / FILE, about | {"figures": judgement.as_json()})
    return judgement


def require_new_folder(out: Path | str, resume: bool) -> None:
    """Refuse a folder that is not empty, or whose training was interrupted, unless it is resumed.

    Args:
        out: the folder.
        resume: whether to continue.

    Raises:
        RunError: it is refused.
    """
    out = Path(out)
    if resume:
        if out.is_dir() and any(out.iterdir()) and not (out / FILE).is_file():
            raise RunError("the folder holds something else than a student", where=out, remedy="name another folder")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError("the folder is not empty", where=out, remedy="name another folder")
    if _work(out).exists():
        raise RunError(
            "a distillation to this folder was broken off", where=_work(out), remedy="go on with --resume, or remove it"
        )


def trained_users(folder: Path | str) -> set[str]:
    """External ids of the users that a student was trained on; none for a model alone."""
    folder = Path(folder)
    return {one.user for one in Labels.load(folder / LABELS).train} if (folder / FILE).is_file() else set()


def _work(out: Path) -> Path:
    return out.with_name(out.name + ".training")


def _refuse_other(earlier: Any, expected: dict[str, Any], where: Path) -> None:
    if earlier == expected:
        return
    differing = [name for name in expected if not isinstance(earlier, dict) or earlier.get(name) != expected[name]]
    raise RunError(
        "made with other settings or labels", where=where, got=", ".join(differing), remedy="name another folder"
    )


def _short_enough(labels: Labels, tokenizer: Any, limit: int) -> Labels:
    def length(label: Label) -> int:
        return len(prompt_ids(tokenizer, label.prompt)) + len(answer_ids(tokenizer, label.completion))

    short = labels.within(limit, length)
    if not short.train:
        got = ", ".join(f"{count} {reason}" for reason, count in short.refused.items()) or "no thoughts"
        expected, remedy = f"at most {limit} tokens", "more users, or max_length"
        raise DataError("no label is left to train on", got=got, expected=expected, remedy=remedy)
    return short


def _base_made(
    base: Path, tokenizer: Any, labels: Labels, config: DistilSettings, teach: Callable[..., FineTuned], seed: int
) -> dict[str, Any]:
    """Train all weights of a small new model on the labels, in the folder `base`, unless it exists.

    Returns:
        The figures and rows of the training.
    """
    saved = base.with_name("full.json")
    if not (base / "config.json").is_file():
        with seeded(seed):
            raw = small_model(
                tokenizer, width=config.width, layers=config.layers, heads=config.heads, context=config.max_length
            )
        course = FineTuningSettings(
            epochs=config.base_epochs, lr=config.base_lr, batch=config.batch, warmup=config.warmup
        )
        model = raw.to(device_named(config.device))
        done = teach(model, tokenizer, labels.train, labels.held, base.with_name("full"), course, title="Base")
        write_json(saved, {"figures": done.figures, "rows": done.rows})
        with without_warnings(), replacing(base) as beside:
            done.model.save_pretrained(beside)
    return dict(json.loads(saved.read_text(encoding="utf-8")))


def _save_adapter(model: Any, folder: Path, base: str) -> None:
    """Adapters as safetensors, their configuration in one order, so that the same adapters are the same bytes."""
    for adapter in model.peft_config.values():
        adapter.base_model_name_or_path = base
    model.save_pretrained(folder, save_embedding_layers=False)  # "auto" would ask the hub
    (folder / "README.md").unlink(missing_ok=True)
    adapter_config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    ordered = {
        name: sorted(value) if isinstance(value, list) else value for name, value in sorted(adapter_config.items())
    }
    write_json(folder / "adapter_config.json", ordered)


def _description(config: DistilSettings, phases: dict[str, dict[str, Any]]) -> list[str]:
    """Describe the training in sentences."""
    adapters = phases["adapters"]
    if "base" in phases:
        base = phases["base"]
        origin = (
            f"The base was made here: a Llama of {config.layers} layers and width {config.width} with random weights "
            f"and a tokenizer of its own, all {base['weights']:,} weights trained on the {base['labels']:,} "
            f"training labels in {base['epochs']} epochs. "
            "It is trained on nothing but these labels; it is an example and no substitute for a real checkpoint."
        )
    else:
        origin = f"The base is {config.base}; its weights are as they were."
    return [
        origin,
        f"LoRA adapters of rank {config.rank} ({adapters['trained']:,} weights) were trained on "
        f"{adapters['labels']:,} labels in {adapters['epochs']} epochs, with the loss on the answers alone.",
    ]
