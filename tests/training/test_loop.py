"""The training loop learns, stops in time, and gives the same bits however often it is broken off."""

import json
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_pre_hook
from toy_training import Toy, ToyConfig, ToyExamples, accuracy

import searec
from searec.errors import DataError, DependencyError, Interrupted, RunError, SearecError, SettingsError, StorageError
from searec.models.base import Losses
from searec.training import TrainConfig, train
from searec.training.checkpoint import FILE, load
from searec.training.training_log import read_rows

SETTINGS = TrainConfig(
    epochs=3, lr=0.02, weight_decay=1e-4, schedule="cosine", warmup=3, clip=1.0, patience=0, device="cpu"
)
STEPS = 12  # 3 epochs of 4


class InterruptedAt(Toy):
    """Sends this process a signal while it learns from one batch."""

    def __init__(self, at: int, number: int = signal.SIGINT, times: int = 1) -> None:
        super().__init__(ToyConfig())
        self.left, self.number, self.times = at, number, times

    def loss(self, batch):
        self.left -= 1
        if self.left == 0:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)
        return super().loss(batch)


def run(folder: Path, model=None, settings: TrainConfig = SETTINGS, **more):
    model = model or Toy(ToyConfig())
    return model, train(model, ToyExamples(), more.pop("validate", accuracy), folder, settings, **more)


def assert_same(one, other) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def curve(folder: Path) -> list[tuple]:
    """What a log says, less what time it took and where it was broken off."""
    unsteady = ("seconds", "examples_per_second")
    rows = [row for row in read_rows(folder / "log.jsonl") if row["event"] not in ("start", "resume")]
    return [tuple((name, value) for name, value in row.items() if name not in unsteady) for row in rows]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    kept = {}

    def keep_all(model):
        # What a checkpoint holds at the end of the second epoch, before the last one begins.
        if (folder / FILE).exists():
            kept["before last"] = load(folder / FILE)
        return accuracy(model)

    model, report = run(folder, validate=keep_all)
    return folder, model, report, kept["before last"]


def test_learns_the_toy_world_and_leaves_the_best_weights(tmp_path):
    model, report = run(tmp_path, settings=TrainConfig(epochs=15, lr=0.05, device="cpu"))
    assert report.best["ndcg@5"] == 1.0
    assert accuracy(model) == report.best
    assert not model.training
    losses = [row["loss"] for row in read_rows(tmp_path / "log.jsonl") if row["event"] == "step"]
    assert losses[0] > math.log(12) * 0.8
    assert losses[-1] < losses[0] / 2
    assert report.examples == 48 * report.epochs


def test_stops_early_and_goes_back_to_the_best_epoch(tmp_path):
    figures = iter([0.1, 0.5, 0.5, 0.4, 0.9])
    seen = []

    def validate(model):
        seen.append({name: tensor.clone() for name, tensor in model.state().items()})
        return {"ndcg@5": next(figures), "hit@1": float(len(seen))}

    model, report = run(tmp_path, settings=TrainConfig(epochs=9, patience=2, device="cpu"), validate=validate)
    assert (report.epochs, report.best_epoch, report.stopped_early) == (4, 2, True)
    assert report.best == {"ndcg@5": 0.5, "hit@1": 2.0}
    assert_same(model.state(), seen[1])
    assert not torch.equal(seen[1]["users.weight"], seen[3]["users.weight"])


def test_validates_every_so_many_epochs_and_after_the_last(tmp_path):
    run(tmp_path, settings=TrainConfig(epochs=5, validate_every=2, device="cpu"))
    assert [row["epoch"] for row in read_rows(tmp_path / "log.jsonl") if row["event"] == "validate"] == [2, 4, 5]


@pytest.mark.parametrize("at", range(1, STEPS + 1))
def test_a_run_broken_off_at_any_step_ends_with_the_same_bits(tmp_path, unbroken, at):
    folder, whole, whole_report, whole_checkpoint = unbroken
    with (
        pytest.raises(Interrupted, match="--resume") if at < STEPS else pytest.raises(Interrupted, match="step 4 of 4")
    ):
        run(tmp_path, InterruptedAt(at))
    assert load(tmp_path / FILE).state["steps"] == at

    last = []

    def validate(model):
        last.append(load(tmp_path / FILE))
        return accuracy(model)

    other = Toy(ToyConfig(), seed=99)  # whatever it holds is replaced by the checkpoint
    _, report = run(tmp_path, other, resume=True, validate=validate)
    assert_same(whole.state(), other.state())
    assert (report.best, report.best_epoch, report.steps, report.examples) == (
        whole_report.best,
        whole_report.best_epoch,
        whole_report.steps,
        whole_report.examples,
    )
    assert curve(tmp_path) == curve(folder)
    if (
        at < STEPS - 4
    ):  # the resumed run wrote the same checkpoint before its last epoch: weights, best ones, Adam, counters
        assert_same(last[-1].weights, whole_checkpoint.weights)
        assert_same(last[-1].best, whole_checkpoint.best)
        assert_same(last[-1].optimizer, whole_checkpoint.optimizer)
        assert (
            len(whole_checkpoint.optimizer) == 3 * 4
        )  # step and two moments of users, items (tied), searching.weight and .bias
        mine, theirs = dict(last[-1].state), dict(whole_checkpoint.state)
        for state in (mine, theirs):
            del state["seconds"], state["rows"]
        assert mine == theirs


@pytest.mark.parametrize("at", [2, 4, 7, 11])
def test_a_run_with_averages_broken_off_ends_with_the_same_bits(tmp_path, at):
    settings = TrainConfig(**{**vars_of(SETTINGS), "average": 0.99})
    whole, report = run(tmp_path / "whole", settings=settings)
    with pytest.raises(Interrupted):
        run(tmp_path / "broken", InterruptedAt(at), settings)
    other, resumed = run(tmp_path / "broken", Toy(ToyConfig(), seed=99), settings, resume=True)
    assert_same(whole.state(), other.state())
    assert resumed.best == report.best
    plain, _ = run(tmp_path / "plain")
    assert not torch.equal(plain.users.weight, whole.users.weight), "averages are what is kept"


def test_a_run_killed_outright_goes_on_from_its_last_checkpoint_without_a_doubled_row(tmp_path, unbroken):
    class Killed(Toy):
        left = 7

        def loss(self, batch):
            self.left -= 1
            if self.left == 0:
                raise MemoryError  # nothing is written on the way out
            return super().loss(batch)

    folder, whole, _, _ = unbroken
    with pytest.raises(MemoryError):
        run(tmp_path, Killed(ToyConfig()))
    assert load(tmp_path / FILE).state["steps"] == 4
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "st')  # a row cut off in the middle
    again, _ = run(tmp_path, resume=True)
    assert_same(whole.state(), again.state())
    rows = read_rows(tmp_path / "log.jsonl")
    assert [row["step"] for row in rows if row["event"] == "step"] == list(range(1, STEPS + 1))
    assert [row["event"] for row in rows].count("resume") == 1
    assert curve(tmp_path) == curve(folder)


def test_checkpoints_within_an_epoch_by_the_clock(tmp_path):
    class Killed(InterruptedAt):
        def loss(self, batch):
            self.left -= 1
            if self.left == 0:
                raise MemoryError
            return Toy.loss(self, batch)

    settings = TrainConfig(epochs=3, checkpoint_minutes=1e-9, device="cpu")
    with pytest.raises(MemoryError):
        run(tmp_path, Killed(7), settings)
    assert load(tmp_path / FILE).state["steps"] == 6


def test_sigterm_stops_like_ctrl_c_and_a_second_ctrl_c_leaves_at_once(tmp_path):
    mine = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        run(tmp_path / "a", InterruptedAt(2, signal.SIGTERM, times=2))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", InterruptedAt(2, times=2))
    assert not (tmp_path / "b" / FILE).exists()
    assert signal.getsignal(signal.SIGINT) is mine


def test_an_interruption_during_validation_waits_for_its_end(tmp_path, unbroken):
    def validate(model):
        os.kill(os.getpid(), signal.SIGINT)
        return accuracy(model)

    with pytest.raises(Interrupted, match="after epoch 1 of 3"):
        run(tmp_path, validate=validate)
    model, _ = run(tmp_path, resume=True)
    assert_same(unbroken[1].state(), model.state())


def test_resuming_a_finished_run_reads_it_back(tmp_path, unbroken):
    folder, whole, report, _ = unbroken
    again = Toy(ToyConfig(), seed=99)
    before = (folder / "log.jsonl").read_bytes()
    assert train(again, ToyExamples(), accuracy, folder, SETTINGS, resume=True) == report
    assert_same(whole.state(), again.state())
    assert (folder / "log.jsonl").read_bytes() == before


def test_resuming_what_never_began_starts_and_says_so(tmp_path, unbroken, capsys):
    model, _ = run(tmp_path / "new", resume=True)
    assert "starts from the beginning" in capsys.readouterr().err
    assert_same(unbroken[1].state(), model.state())


def test_a_new_training_does_not_overwrite_a_checkpoint(unbroken):
    folder = unbroken[0]
    before = (folder / FILE).read_bytes()
    with pytest.raises(RunError, match="--resume"):
        run(folder)
    assert (folder / FILE).read_bytes() == before


def test_the_seed_decides_the_bits_and_the_callers_generator_is_left_alone(tmp_path, unbroken):
    again = Toy(ToyConfig())
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run(tmp_path / "again", again)
    assert torch.equal(torch.rand(3), expected)
    assert_same(unbroken[1].state(), again.state())
    other, _ = run(tmp_path / "other", settings=TrainConfig(**{**vars_of(SETTINGS), "seed": 1}))
    assert not torch.equal(unbroken[1].users.weight, other.users.weight)


def vars_of(settings: TrainConfig) -> dict:
    return {name: getattr(settings, name) for name in TrainConfig.__dataclass_fields__}


@pytest.mark.parametrize(
    ("change", "made_from", "named"),
    [
        ({"lr": 0.5}, {}, "lr=0.5"),
        ({}, {"data": "other"}, "data=other"),
        ({}, {"model": {"width": 8}}, "model.width=8"),
    ],
)
def test_resume_refuses_other_settings_or_data_by_name(tmp_path, change, made_from, named):
    first = {"data": "this", "model": {"width": 16}}
    with pytest.raises(Interrupted):
        run(tmp_path, InterruptedAt(3), made_from=first)
    with pytest.raises(RunError, match=f"got: {named};"):
        run(
            tmp_path,
            settings=TrainConfig(**{**vars_of(SETTINGS), **change}),
            made_from={**first, **made_from},
            resume=True,
        )
    settings = TrainConfig(**{**vars_of(SETTINGS), "checkpoint_minutes": 1.0})  # changes no result, so it may differ
    assert run(tmp_path, settings=settings, made_from=first, resume=True)[1].epochs == 3


@pytest.mark.parametrize("damage", ["cut", "bit", "text", "empty"])
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path, unbroken, damage):
    whole = (unbroken[0] / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(
        {
            "cut": whole[:-9],
            "bit": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
            "text": b"no tensors",
            "empty": b"",
        }[damage]
    )
    with pytest.raises(RunError, match="damaged"):
        run(tmp_path, resume=True)


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path, unbroken):
    class DiskFills(Toy):
        left = 6

        def loss(self, batch):
            self.left -= 1
            if self.left == 0:  # no file may grow beyond what the log needs: the system refuses the checkpoint
                resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
            return super().loss(batch)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(StorageError, match="checkpoint"):
            run(tmp_path, DiskFills(ToyConfig()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load(tmp_path / FILE).state["steps"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, "log.jsonl"]
    model, _ = run(tmp_path, resume=True)
    assert_same(unbroken[1].state(), model.state())


def test_a_full_disk_while_logging_is_a_storage_error(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StorageError, match="log"):
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_or_weight_that_is_no_number_is_an_error_and_never_a_checkpoint(tmp_path, where):
    class Breaks(Toy):
        left = 6

        def loss(self, batch):
            self.left -= 1
            good = super().loss(batch)
            if self.left:
                return good
            bad = good.parts["ce"] * math.nan if where == "loss" else (good.parts["ce"] * 0).sqrt()
            return Losses({**good.parts, "odd": bad}, {**good.weights, "odd": 1.0})

    named = "odd.*epoch 2 of 3, step 2 of 4" if where == "loss" else "loss.*epoch 2 of 3, step 3 of 4"
    with pytest.raises(SearecError, match=f"no finite number: .*{named}"):
        run(tmp_path, Breaks(ToyConfig()))
    kept = load(tmp_path / FILE)
    assert kept.state["steps"] == 4
    assert all(tensor.isfinite().all() for tensor in kept.weights.values())


def test_weights_spoilt_by_the_last_step_are_not_kept(tmp_path):
    class Breaks(Toy):
        left = 4

        def loss(self, batch):
            self.left -= 1
            good = super().loss(batch)
            return good if self.left else Losses({"odd": (good.parts["ce"] * 0).sqrt()}, {"odd": 1.0})

    with pytest.raises(SearecError, match=r"a weight is no finite number: users\.weight"):
        run(tmp_path, Breaks(ToyConfig()), TrainConfig(epochs=3, validate_every=3, device="cpu"))
    assert not (tmp_path / FILE).exists()


def test_clipping_bounds_the_gradient(tmp_path):
    def norms(clip: float) -> list[float]:
        seen = []

        def watch(optimizer, args, kwargs):
            weights = [
                weight for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None
            ]
            seen.append(torch.stack([weight.grad.norm() for weight in weights]).norm().item())

        handle = register_optimizer_step_pre_hook(watch)
        try:
            run(tmp_path / str(clip), settings=TrainConfig(epochs=1, clip=clip, device="cpu"))
        finally:
            handle.remove()
        return seen

    free, clipped = norms(0.0), norms(0.01)
    assert min(free) > 0.011
    assert max(clipped) < 0.0101


def test_the_log_names_every_part_and_the_callers_ear_hears_every_row(tmp_path):
    heard = []
    run(tmp_path, settings=TrainConfig(epochs=2, schedule="linear", lr=0.01, device="cpu"), on_log=heard.append)
    rows = read_rows(tmp_path / "log.jsonl")
    assert json.loads(json.dumps(heard)) == rows
    assert [row["event"] for row in rows] == ["start", *["step"] * 4, "validate", *["step"] * 4, "validate", "done"]
    assert rows[0]["parameters"] == 49 * 16 + 13 * 16 + 16 * 16 + 16  # users, items (tied), searching
    search = rows[2]  # the second batch of an epoch is one of search
    assert search["loss"] == pytest.approx(search["loss.ce"] + 0.1 * search["loss.size"])
    assert "loss.size" not in rows[1]
    assert [row["lr"] for row in rows if row["event"] == "step"] == pytest.approx(
        [0.01 * (1 - step / 8) for step in range(8)]
    )


def test_a_long_epoch_is_told_in_at_most_twenty_rows_of_means(tmp_path):
    settings = TrainConfig(epochs=1, lr=1e-9, device="cpu")
    train(Toy(ToyConfig(dropout=0.0)), ToyExamples(size=1), accuracy, tmp_path, settings)
    steps = [row for row in read_rows(tmp_path / "log.jsonl") if row["event"] == "step"]
    assert [row["step"] for row in steps] == [*range(3, 49, 3)]
    model = Toy(ToyConfig(dropout=0.0))
    first = [model.loss(ToyExamples(size=1).batch(0, step, 0, 1)).total.item() for step in range(3)]
    assert steps[0]["loss"] == pytest.approx(sum(first) / 3, rel=1e-5)


def test_bf16_learns_and_its_run_resumes_to_the_same_bits(tmp_path):
    settings = TrainConfig(epochs=2, lr=0.02, precision="bf16", device="cpu")
    whole, _ = run(tmp_path / "whole", settings=settings)
    assert whole.users.weight.dtype == torch.float32
    with pytest.raises(Interrupted):
        run(tmp_path / "broken", InterruptedAt(3), settings)
    again, _ = run(tmp_path / "broken", settings=settings, resume=True)
    assert_same(whole.state(), again.state())
    plain, _ = run(tmp_path / "plain", settings=TrainConfig(epochs=2, lr=0.02, device="cpu"))
    assert not torch.equal(plain.users.weight, whole.users.weight)


def test_fp16_without_an_accelerator_is_a_settings_error(tmp_path):
    with pytest.raises(SettingsError, match="fp16"):
        run(tmp_path, settings=TrainConfig(precision="fp16", device="cpu"))


def test_no_batch_is_a_data_error(tmp_path):
    class None_(ToyExamples):
        def steps(self, epoch: int) -> int:
            return 0

    with pytest.raises(DataError, match="no training examples"):
        train(Toy(ToyConfig()), None_(), accuracy, tmp_path, SETTINGS)


def test_an_error_while_making_a_batch_reaches_the_caller(tmp_path):
    class Broken(ToyExamples):
        def batch(self, epoch, step, process, processes):
            if step == 2:
                raise DataError("row 7")
            return super().batch(epoch, step, process, processes)

    with pytest.raises(DataError, match="row 7"):
        train(Toy(ToyConfig()), Broken(), accuracy, tmp_path, SETTINGS)


def test_a_validation_without_the_judged_metric_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ndcg@5"):
        run(tmp_path, validate=lambda model: {"hit@1": 1.0})


def test_tensorboard_is_written_on_request_and_its_absence_is_named(tmp_path, monkeypatch):
    settings = TrainConfig(epochs=1, tensorboard=True, device="cpu")
    run(tmp_path / "a", settings=settings)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "a" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("step/loss")] == [1, 2, 3, 4]
    assert len(events.Scalars("validate/ndcg@5")) == 1
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DependencyError, match=r"'\.\[tensorboard\]' in a checkout"):
        run(tmp_path / "b", settings=settings)


def launch(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Two processes by torchrun; their weights lie beside `folder`."""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(Path(searec.__path__[0]).parent), str(here)])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*torchrun, str(here / "one_of_several.py"), str(folder), *more],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_processes_stop_together_and_equal_one(tmp_path):
    folder = tmp_path / "two" / "run"
    # Only the second process is asked to stop, in step 6: both stop there, and go on together.
    stopped = launch(folder, "stop")
    assert stopped.returncode != 0
    assert stopped.stderr.count("training stopped on request; where: epoch 2 of 3, step 2 of 4") >= 2
    assert load(folder / FILE).state["steps"] == 6
    done = launch(folder, "resume")
    assert done.returncode == 0, done.stderr
    first, second = (load_file(folder.parent / f"weights{rank}.safetensors") for rank in (0, 1))
    assert_same(first, second)

    settings = TrainConfig(epochs=3, lr=0.02, clip=1.0, device="cpu")
    alone, _ = run(tmp_path / "one", Toy(ToyConfig(dropout=0.0)), settings)
    for name, tensor in alone.state().items():
        torch.testing.assert_close(first[name], tensor, rtol=0, atol=1e-5)
    one, two = (
        [row["loss"] for row in read_rows(path / "log.jsonl") if row["event"] == "step"]
        for path in (tmp_path / "one", folder)
    )
    assert two == pytest.approx(one, abs=1e-5)
    assert len(two) == STEPS
