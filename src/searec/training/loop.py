"""The one training loop: any model with `loss`, any number of processes, and a run that can be broken off anywhere.

Dropout and batches depend on (seed, epoch, step, process) alone, so that a resumed run ends with the same bits as an
uninterrupted one (on the CPU; on CUDA with torch.use_deterministic_algorithms).
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from searec.config import as_dict
from searec.errors import DataError, Interrupted, SearecError
from searec.nn.learner import Learner
from searec.progress import progress
from searec.training import checkpoint
from searec.training.averages import WeightAverages
from searec.training.checkpoint import Checkpoint
from searec.training.interrupts import StopRequest, stop_requests
from searec.training.loop_state import LoopState, TrainReport, fetch_losses
from searec.training.processes import accelerate_for
from searec.training.train_config import WITHOUT_EFFECT, TrainConfig, seed_of, share_of_lr
from searec.training.training_log import Logbook, Row

_ROWS_PER_EPOCH = 20
_DUST = 1e-30


class Batch(Protocol):
    """What a learner's loss reads; its length is the number of examples in it."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Any:
        """The batch on another device."""
        ...


class Examples(Protocol):
    """Which batches are learned from, and when. Both methods depend on nothing but their arguments and a seed."""

    def steps(self, epoch: int) -> int:
        """Return how many batches an epoch (from 0) has, the same for each process; at least 1."""
        ...

    def batch(self, epoch: int, step: int, process: int, processes: int) -> Batch:
        """Return a process's share of a batch. Shares of like size make several processes equal to one.

        It is called from one helper thread, in any order of steps.

        Args:
            epoch: from 0.
            step: of the epoch, from 0.
            process: whose share.
            processes: how many share the batch.
        """
        ...


class _Objective(nn.Module):
    """The model's loss as plain tensors, which is what wrappers for precision and several processes understand."""

    def __init__(self, model: Learner) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        losses = self.model.loss(batch)
        parts = {f"loss.{name}": part.detach() for name, part in losses.parts.items()}
        return losses.total, {**parts, **losses.figures}


def train(
    model: Learner,
    examples: Examples,
    validate: Callable[[Any], Mapping[str, float]] | None,
    folder: Path | str,
    settings: TrainConfig,
    *,
    made_from: Mapping[str, Any] | None = None,
    judge: str | None = None,
    stop_after: int | None = None,
    resume: bool = False,
    on_log: Callable[[Row], None] | None = None,
) -> TrainReport:
    """Train a model; it ends with the weights of its best validation, in eval mode; of its last, if there is none.

    `folder` gets log.jsonl and checkpoint.safetensors. Under `torchrun` or `accelerate launch` several processes of one
    machine share the work: the first one validates and writes. Ctrl-C or SIGTERM takes effect after the step or the
    validation that is under way; a second Ctrl-C at once.

    Args:
        model: learns by `loss`.
        examples: the batches.
        validate: metrics of the model, `judge` among them, or none if there is nothing to validate on; called in eval
            mode without gradients. Without it the model ends with its last weights.
        folder: the run folder.
        settings: how to train.
        made_from: what else the result depends on, JSON-ready; a resumed run must have the same.
        judge: the metric that early stopping and the best weights go by, higher is better; the settings' by default.
        stop_after: epochs after which training ends; the learning rate still follows the schedule of all epochs.
        resume: go on from the checkpoint if there is one; a finished run is only read back.
        on_log: is given each row of the log.

    Raises:
        Interrupted: stopped on request; the checkpoint is written.
        RunError: the folder holds a checkpoint and `resume` is not set; or it is damaged or of other settings or data.
        DataError: an epoch without a batch.
        SettingsError: a precision or a launcher that does not work here.
        StorageError: the disk refuses a write; the checkpoint before it still loads.
        SearecError: a loss or a weight is no finite number; the checkpoint before it still loads.
    """
    folder = Path(folder)
    path = folder / checkpoint.FILE
    lengths = [examples.steps(epoch) for epoch in range(settings.epochs)]
    if min(lengths) < 1:
        raise DataError("no training examples", where=f"epoch {lengths.index(min(lengths)) + 1}")
    accelerator = accelerate_for(settings)
    facts = {name: value for name, value in as_dict(settings).items() if name not in WITHOUT_EFFECT}
    facts |= {"processes": accelerator.num_processes, "batches": sum(lengths), **(made_from or {})}
    facts |= {} if stop_after is None else {"stop_after": stop_after}
    made_with = checkpoint.flat(facts)
    resumed = checkpoint.find(path, made_with, resume)
    loop = _Loop(
        model=model,
        examples=examples,
        validate=validate,
        judge=judge or settings.judge,
        path=path,
        settings=settings,
        accelerator=accelerator,
        lengths=lengths,
        epochs=min(stop_after or settings.epochs, settings.epochs),
        made_with=made_with,
    )
    if resumed is not None:
        loop.restore(resumed)
    if loop.state.finished:
        model.eval()
        return loop.state.report()
    cuda = range(torch.cuda.device_count()) if accelerator.device.type == "cuda" else []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(cuda))
        stop = stack.enter_context(stop_requests())
        if accelerator.is_main_process:
            checkpoint.sweep(path)
            loop.log = Logbook(
                folder, keep=loop.state.rows, tensorboard=settings.tensorboard, step=loop.state.steps, on_log=on_log
            )
            stack.callback(loop.log.close)
            loop.show = stack.enter_context(progress(f"train {model.name}", sum(lengths[: loop.epochs])))
        loop.run(stop, resumed=resumed is not None)
    return loop.state.report()


@dataclasses.dataclass(kw_only=True)
class _Loop:
    """One training under way."""

    model: Learner
    examples: Examples
    validate: Callable[[Any], Mapping[str, float]] | None
    judge: str
    path: Path
    settings: TrainConfig
    accelerator: Accelerator
    lengths: list[int]
    epochs: int  # after which it ends; the learning rate goes by `lengths`
    made_with: dict[str, Any]
    log: Logbook | None = None

    def __post_init__(self) -> None:
        self.model.to(self.accelerator.device)
        self.state = LoopState()
        self.best: dict[str, Tensor] = {}
        self.show: Callable[[int, str], None] = lambda steps, note: None
        # Losses still on the device, after those of state.window.
        self.fresh: list[tuple[Tensor, dict[str, Tensor]]] = []
        self.started = self.saved_at = self.row_at = time.monotonic()
        self.before = 0.0  # seconds of earlier parts of the run
        self.row_examples = 0
        self.names = [name for name, weight in self.model.named_parameters() if weight.requires_grad]
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.averages = WeightAverages(self.weights, self.settings.average)
        settings, fused = self.settings, self.accelerator.device.type in ("cpu", "cuda")
        adam = torch.optim.Adam(self.weights, lr=settings.lr, weight_decay=settings.weight_decay, fused=fused)
        self.objective, self.optimizer = self.accelerator.prepare(_Objective(self.model), adam)

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint."""
        counters = dict(saved.state)
        scaler = counters.pop("scaler", None)
        self.state = LoopState(**counters)
        self.before = self.state.seconds
        self.best = dict(saved.best)
        self.model.load_state(self.best if self.state.finished else saved.weights)
        adam = self.averages.restore(self.names, saved.optimizer)
        checkpoint.restore_adam(self.optimizer, self.names, adam)
        if scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(scaler)

    def run(self, stop: StopRequest, *, resumed: bool) -> None:
        """Train to the end.

        Raises:
            Interrupted: on request.
        """
        state = self.state
        where = {"processes": self.accelerator.num_processes, "device": self.accelerator.device.type}
        self._write(
            "resume" if resumed else "start", parameters=sum(weight.numel() for weight in self.weights), **where
        )
        self.show(state.steps, "")
        while not state.finished:
            self._epoch(stop)
            self._end_epoch()
            if not state.finished and self._agreed(stop.is_requested)[0]:
                raise self._interrupted()
        self.model.load_state(self.best)
        self.model.eval()
        counts = {"best_epoch": state.best_epoch, "stopped_early": state.stopped_early, "examples": state.examples}
        self._write("done", **counts, **state.best)
        self._save()
        self.accelerator.wait_for_everyone()

    def _epoch(self, stop: StopRequest) -> None:
        """The batches of this epoch that are left."""
        state, length = self.state, self.lengths[self.state.epoch]
        every = math.ceil(length / _ROWS_PER_EPOCH)
        self.objective.train()
        self.row_at, self.row_examples = time.monotonic(), 0
        for batch in self._batches(range(state.step, length)):
            self._step(batch)
            if state.step % every == 0 or state.step == length:
                self._write_step_row()
            self.show(1, self._note())
            minutes = self.settings.checkpoint_minutes
            is_due = bool(minutes) and time.monotonic() - self.saved_at >= 60 * minutes
            is_stopped, due = self._agreed(stop.is_requested, is_due)
            if is_stopped or due:
                self._save()
            if is_stopped:
                raise self._interrupted()

    def _batches(self, steps: range) -> Iterator[Batch]:
        """The batches of these steps; the next one is made while this one is learned from."""
        make = functools.partial(self.examples.batch, self.state.epoch)
        share = (self.accelerator.process_index, self.accelerator.num_processes)
        with ThreadPoolExecutor(1) as helper:
            coming = helper.submit(make, steps[0], *share) if steps else None
            for step in steps:
                assert coming is not None
                batch = coming.result()
                coming = helper.submit(make, step + 1, *share) if step + 1 < steps.stop else None
                yield batch

    def _step(self, batch: Batch) -> None:
        state, settings = self.state, self.settings
        torch.manual_seed(seed_of(settings.seed, state.epoch, state.step, self.accelerator.process_index))
        for group in self.optimizer.param_groups:
            group["lr"] = settings.lr * share_of_lr(settings, state.steps, sum(self.lengths))
        total, parts = self.objective(batch.to(self.accelerator.device))
        self.accelerator.backward(total)
        if settings.clip:
            self.accelerator.clip_grad_norm_(self.weights, settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.averages.update(state.steps)
        # Losses stay on the device until a row needs them, so that a step waits for nothing.
        self.fresh.append((total.detach(), parts))
        state.step += 1
        state.steps += 1
        state.examples += len(batch) * self.accelerator.num_processes
        self.row_examples += len(batch) * self.accelerator.num_processes

    def _write_step_row(self) -> None:
        """Write a row of means over the steps since the row before, and over processes."""
        self._fetch()
        means = self.state.window_means()
        self.state.loss = means["loss"]
        now = time.monotonic()
        rate = self.row_examples / max(now - self.row_at, 1e-9)
        self.row_at, self.row_examples = now, 0
        self._write("step", **means, lr=self.optimizer.param_groups[0]["lr"], examples_per_second=round(rate, 1))

    def _fetch(self) -> None:
        """Move fresh losses from the device to `state.window`.

        Raises:
            SearecError: one of them is no finite number; the first such step is named.
        """
        steps = fetch_losses(self.fresh)
        self.fresh.clear()
        for place, losses in enumerate(steps, start=1 + self.state.step - len(steps)):
            wrong = [name.removeprefix("loss.") for name, value in losses.items() if not math.isfinite(value)]
            if wrong:
                raise self._not_finite("a loss", ", ".join(reversed(wrong)), place)
            self.state.window.append(losses)

    def _end_epoch(self) -> None:
        """Validate if it is time to, go to the next epoch, write the checkpoint."""
        state, settings = self.state, self.settings
        self._clear_dust()
        last = state.epoch + 1 == self.epochs
        is_due = self.validate is not None and (last or (state.epoch + 1) % settings.validate_every == 0)
        with self.averages.in_place():
            self._judge(last=last, is_due=is_due)
        state.finished = last or state.stopped_early
        if not state.finished:
            self._save()

    def _judge(self, *, last: bool, is_due: bool) -> None:
        """Validate if it is due, and keep the weights if they are the best."""
        state, settings = self.state, self.settings
        metrics = self._validate() if is_due else None
        state.epoch, state.step = state.epoch + 1, 0
        if metrics == {} or (last and self.validate is None):
            state.best_epoch, self.best = state.epoch, checkpoint.snapshot(self.model.state())
        elif metrics is not None:
            if not state.best or metrics[self.judge] > state.best[self.judge]:
                state.best, state.best_epoch, state.waited = metrics, state.epoch, 0
                self.best = checkpoint.snapshot(self.model.state())
            else:
                state.waited += 1
            self._write("validate", **metrics)
            is_enough = bool(settings.patience) and state.waited >= settings.patience
            state.stopped_early = is_enough and state.steps >= settings.min_steps and not last

    @torch.no_grad()
    def _clear_dust(self) -> None:
        """Set to 0 what has decayed to almost nothing: a CPU takes many times as long for numbers below 1e-38."""
        tensors = [
            tensor
            for moments in self.optimizer.state.values()
            for tensor in moments.values()
            if isinstance(tensor, Tensor)
        ]
        for tensor in (*self.weights, *tensors):
            if tensor.is_floating_point():
                tensor.masked_fill_(tensor.abs() < _DUST, 0)

    def _validate(self) -> dict[str, float]:
        """The metrics, from the first process, so that all of them judge alike."""
        metrics: dict[str, float] = {}
        if self.accelerator.is_main_process and self.validate is not None:
            torch.manual_seed(seed_of(self.settings.seed, self.state.epoch))
            self.model.eval()
            with torch.no_grad():
                metrics = {name: float(value) for name, value in self.validate(self.model).items()}
        metrics = broadcast_object_list([metrics])[0] if self.accelerator.num_processes > 1 else metrics
        if metrics and not math.isfinite(metrics.get(self.judge, math.nan)):
            raise ValueError(f"validate gave no finite {self.judge!r}: {metrics}")
        return metrics

    def _save(self) -> None:
        """Write the checkpoint.

        Raises:
            SearecError: a loss or a weight is no finite number; the checkpoint before it stays.
        """
        self._fetch()
        for name, weight in zip(self.names, self.weights, strict=True):
            if not torch.isfinite(weight).all():
                raise self._not_finite("a weight", name, self.state.step)
        state = self.state
        state.seconds = self._seconds()
        if self.log is not None:
            state.rows = self.log.rows
            scaler = self.accelerator.scaler
            counters = dataclasses.asdict(state) | ({} if scaler is None else {"scaler": scaler.state_dict()})
            weights = {} if state.finished else self.model.state()
            adam = {} if state.finished else checkpoint.adam_state(self.optimizer, self.names)
            adam |= {} if state.finished else self.averages.tensors(self.names)
            checkpoint.save(self.path, Checkpoint(weights, self.best, adam, counters, self.made_with))
        self.saved_at = time.monotonic()

    def _agreed(self, *flags: bool) -> list[bool]:
        """Each flag true if it is so in any process, so that all of them act in the same step."""
        if self.accelerator.num_processes == 1:
            return list(flags)
        counts = self.accelerator.reduce(
            torch.tensor(flags, dtype=torch.float32, device=self.accelerator.device), "sum"
        )
        return [count > 0 for count in counts.tolist()]

    def _interrupted(self) -> Interrupted:
        # A launcher ends the others as soon as one leaves, so let the first one write.
        self.accelerator.wait_for_everyone()
        remedy = f"run the same command with --resume; it goes on from {self.path}"
        return Interrupted("training stopped on request", where=self._place(self.state.step), remedy=remedy)

    def _not_finite(self, what: str, name: str, step: int) -> SearecError:
        return SearecError(
            f"{what} is no finite number: {name}",
            where=self._place(step),
            remedy="lower lr, set clip, or use precision=no, in another folder; the last good checkpoint stays",
        )

    def _place(self, step: int) -> str:
        state = self.state
        if step == 0:
            return f"after epoch {state.epoch} of {self.settings.epochs}"
        return f"epoch {state.epoch + 1} of {self.settings.epochs}, step {step} of {self.lengths[state.epoch]}"

    def _note(self) -> str:
        loss = "" if math.isnan(self.state.loss) else f"loss {self.state.loss:.4f}"  # no row of the log yet
        best = f" best {self.judge} {self.state.best[self.judge]:.4f}" if self.state.best else ""
        return loss + best

    def _seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def _write(self, event: str, **values: Any) -> None:
        if self.log is not None:
            epoch = self.state.epoch + (self.state.step > 0)
            self.log.write(event, epoch=epoch, step=self.state.steps, seconds=round(self._seconds(), 3), **values)
