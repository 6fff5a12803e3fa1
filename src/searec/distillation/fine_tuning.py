"""Fine-tune a causal model on labels with TRL: all weights or LoRA adapters; the loss is on answers alone."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from searec.config import Count, DropoutRate, NonNegative, Positive, Share, settings
from searec.distillation.labels import Label
from searec.errors import Interrupted, RunError, SettingsError, optional_package
from searec.interests.causal_lm import answer_ids, prompt_ids, without_warnings
from searec.progress import progress

_CLIP = 1.0
_POOL = 50


@settings
class Lora:
    """Adapters: rank, alpha (their weight is alpha / rank), dropout, and their layers by name, or all linear ones."""

    rank: Count = 16
    alpha: Count = 32
    dropout: DropoutRate = 0.0
    targets: str | list[str] = "all-linear"


@settings
class FineTuningSettings:
    """One training.

    epochs, lr (linear down to 0 after `warmup`, a share of the steps), batch (labels a step on the device), accumulate
    (batches a step), weight_decay, checkpointing (activations are computed twice, for less memory).
    """

    epochs: Count
    lr: Positive
    batch: Count = 16
    accumulate: Count = 1
    warmup: Share = 0.05
    weight_decay: NonNegative = 0.0
    checkpointing: bool = False


@dataclass(frozen=True)
class FineTuned:
    """A trained model, figures (JSON-ready: steps, losses, trained and all weights), and one row a logged step."""

    model: Any
    figures: dict[str, Any]
    rows: list[dict[str, Any]]


class LengthGroupedSampler:
    """Rows in a new random order each epoch, with similar lengths in a batch for less padding.

    Args:
        lengths: of each row.
        batch: rows a step.
        seed: with the epoch, it determines the order.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths, self._batch, self._seed = np.asarray(lengths), batch, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch before iterating."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng([self._seed, self.epoch])
        rows = generator.permutation(len(self))
        whole = len(rows) - len(rows) % self._batch
        pools = [
            rows[start : min(start + self._batch * _POOL, whole)] for start in range(0, whole, self._batch * _POOL)
        ]
        like = [pool[np.argsort(self._lengths[pool], kind="stable")].reshape(-1, self._batch) for pool in pools]
        steps = generator.permutation(np.concatenate(like)) if like else np.zeros((0, self._batch), dtype=np.int64)
        yield from steps.ravel().tolist()
        yield from rows[whole:].tolist()


def tokens_of(tokenizer: Any, label: Label) -> dict[str, list[int]]:
    """Return a label as the trainer reads it: `input_ids`, and `completion_mask`, 0 on the prompt.

    Args:
        tokenizer: of the model.
        label: to encode.
    """
    prompt, answer = prompt_ids(tokenizer, label.prompt), answer_ids(tokenizer, label.completion)
    return {"input_ids": prompt + answer, "completion_mask": [0] * len(prompt) + [1] * len(answer)}


def fine_tune(
    model: Any,
    tokenizer: Any,
    train: Sequence[Label],
    held: Sequence[Label],
    folder: Path,
    course: FineTuningSettings,
    *,
    title: str,
    lora: Lora | None = None,
    seed: int = 0,
    resume: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> FineTuned:
    """Train a model on labels; with `lora` its adapters alone.

    Args:
        model: to train.
        tokenizer: of the model.
        train: labels.
        held: labels whose loss is measured at the end.
        folder: for checkpoints: one an epoch, and one where it is stopped.
        course: settings.
        title: of the progress bar.
        lora: adapters.
        seed: of all draws.
        resume: continue from the folder's newest checkpoint, if there is one.
        stopping: called after every step; True stops.

    Raises:
        DependencyError: trl or peft is not installed.
        SettingsError: several GPUs are visible, or the adapters' layers are not there.
        Interrupted: `stopping` returned True; the checkpoint is written.
    """
    with without_warnings(), seeded(seed):
        trainer = new_trainer(model, tokenizer, train, held, folder, course, lora=lora, seed=seed)
        watch = _watching(trainer, title, stopping)
        checkpoint = _newest(folder) if resume else None
        with watch:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        done = trainer.state
        if done.global_step < done.max_steps:
            raise Interrupted(
                "stopped on request", where=f"{title}, step {done.global_step} of {done.max_steps}", got=folder
            )
        loss = trainer.evaluate()["eval_loss"] if held else None
        rows = [row for row in done.log_history if "loss" in row]
    trainable = [weights.numel() for weights in trainer.model.parameters() if weights.requires_grad]
    figures = {
        "labels": len(train),
        "epochs": course.epochs,
        "steps": done.global_step,
        "loss": rows[-1]["loss"] if rows else None,
        "eval_loss": loss,
        "trained": sum(trainable),
        "weights": sum(weights.numel() for weights in trainer.model.parameters()),
    }
    return FineTuned(trainer.model, figures, rows)


def new_trainer(
    model: Any,
    tokenizer: Any,
    train: Sequence[Label],
    held: Sequence[Label],
    folder: Path,
    course: FineTuningSettings,
    *,
    lora: Lora | None = None,
    seed: int = 0,
) -> Any:
    """Return TRL's trainer, ready to train; it reports to no service.

    Args:
        model: to train.
        tokenizer: of the model.
        train: labels.
        held: labels whose loss is measured.
        folder: for checkpoints.
        course: settings.
        lora: adapters.
        seed: of all draws.

    Raises:
        DependencyError: as `fine_tune`.
        SettingsError: as `fine_tune`.
    """
    import torch

    with optional_package("distillation needs trl and peft", "distil"):
        from datasets import Dataset, disable_progress_bars
        from huggingface_hub import constants
        from peft import LoraConfig, TaskType
        from transformers.trainer_callback import PrinterCallback, ProgressCallback
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer
    constants.HF_HUB_DISABLE_TELEMETRY = True  # the trainer would tell the hub what it trains
    disable_progress_bars()
    if torch.cuda.device_count() > 1:
        raise SettingsError(
            "several GPUs are visible", got=torch.cuda.device_count(), remedy="set CUDA_VISIBLE_DEVICES to one of them"
        )
    weights = next(model.parameters())
    config = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=course.epochs,
        per_device_train_batch_size=course.batch,
        per_device_eval_batch_size=course.batch,
        gradient_accumulation_steps=course.accumulate,
        activation_checkpointing=course.checkpointing,
        learning_rate=course.lr,
        lr_scheduler_type="linear",
        warmup_steps=course.warmup if course.warmup < 1 else 0.999,  # from 1 on it would be steps
        weight_decay=course.weight_decay,
        max_grad_norm=_CLIP,
        completion_only_loss=True,
        packing=False,
        max_length=None,  # checked before; nothing is cut
        save_strategy="epoch",
        save_total_limit=1,
        logging_strategy="steps",
        logging_steps=max(1, len(train) // (course.batch * course.accumulate)),
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
        bf16=weights.dtype == torch.bfloat16,
        use_cpu=weights.device.type == "cpu",
        dataloader_pin_memory=weights.device.type == "cuda",
    )
    adapters = None
    if lora is not None:
        adapters = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.targets,
            task_type=TaskType.CAUSAL_LM,
        )
    rows = [tokens_of(tokenizer, one) for one in train]
    aside = sorted((tokens_of(tokenizer, one) for one in held), key=lambda row: len(row["input_ids"]))
    order = LengthGroupedSampler([len(row["input_ids"]) for row in rows], course.batch * course.accumulate, seed)

    class Trainer(SFTTrainer):
        """The library's own order of like lengths is another one after a checkpoint."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return order

    try:
        trainer: Any = Trainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(aside) if held else None,
            processing_class=tokenizer,
            peft_config=adapters,
        )
    except ValueError as error:
        if lora is None or "target modules" not in str(error).lower():
            raise
        raise SettingsError(
            "no such layers", got=lora.targets, remedy="name linear layers of the base, or 'all-linear'"
        ) from error
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    if lora is not None:
        loose = [name for name, one in trainer.model.named_parameters() if one.requires_grad and "lora_" not in name]
        if loose:
            raise RunError("weights outside the adapters would be trained", got=", ".join(loose[:3]))
    return trainer


@contextlib.contextmanager
def _watching(trainer: Any, title: str, stopping: Callable[[], bool]) -> Iterator[None]:
    """Show the progress of the training, and stop it where `stopping` returns True."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        """Between two steps."""

        def __init__(self) -> None:
            self.advance: Callable[[int, str], None] | None = None
            self.bar = contextlib.ExitStack()

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.advance = self.bar.enter_context(progress(title, state.max_steps))
            self.advance(state.global_step, "")

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.advance is not None:
                loss = next((row["loss"] for row in reversed(state.log_history) if "loss" in row), None)
                self.advance(1, "" if loss is None else f"loss {loss:.4f}")
            if stopping():
                control.should_save = control.should_training_stop = True

    watch = Watch()
    trainer.add_callback(watch)
    with watch.bar:
        yield


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators, from which the libraries draw, within the block; restore them after it."""
    import torch

    before = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _newest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint; trainer_state.json is written last."""
    checkpoints = [one for one in folder.glob("checkpoint-*") if (one / "trainer_state.json").is_file()]
    return max(checkpoints, key=lambda one: int(one.name.rpartition("-")[2]), default=None)
