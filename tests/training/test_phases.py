"""The phases after the first: what they learn, that they never end worse.

And that a run goes on where it was broken off.
"""

import copy
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from searec.config import configure
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.errors import Interrupted, RunError, SettingsError
from searec.evaluation.protocol import validation_score
from searec.experiments import run_training
from searec.models.lcr_ser_paper import LCRSERPaper
from searec.nn.grpo import rewards
from searec.pipeline.run import Run, read_run
from searec.training.early_exit import Depths, EarlyExit, depths, may_stop
from searec.training.examples import Portions, TrainingExamples
from searec.training.ranking_distillation import RankingDistillation
from searec.training.ranking_policy import RankingPolicy

TINY: dict[str, Any] = {"width": 8, "inner": 8, "dropout": 0.0, "epochs": 2, "batch": 64, "lr": 0.01, "steps": 2}


def built(data: Dataset, **settings: Any) -> LCRSERPaper:
    torch.manual_seed(0)
    return LCRSERPaper(
        configure(LCRSERPaper.Config, {"width": 8, "inner": 8, "dropout": 0.0, "init": 0.3, "steps": 2, **settings}),
        data.sizes,
    )


def batch_for(data: Dataset, model: LCRSERPaper, negatives: int = 7, size: int = 64) -> Any:
    return TrainingExamples(Split(data), model, batch=size, seed=0, negatives=negatives).batch(0, 0)


# --- GRPO ---


def again(model: LCRSERPaper, batch: Any, seed: int) -> list[Tensor]:
    torch.manual_seed(seed)
    return model.draw_noise(batch)


def test_at_its_start_the_policy_is_the_reference_and_nothing_is_dropped_out(small_world: Dataset) -> None:
    policy = RankingPolicy(built(small_world, dropout=0.5, kl_weight=1.0, noise=1.0, reward="mrr")).train()
    batch = batch_for(small_world, policy.policy)
    losses = policy.loss(batch)
    assert losses.parts["kl"] == 0
    torch.manual_seed(1)
    one = policy.policy.score_trajectories(batch, policy.policy.draw_noise(batch))
    assert torch.equal(one, policy.policy.score_trajectories(batch, again(policy.policy, batch, 1))), (
        "noise is all that is drawn"
    )
    assert not torch.equal(one, policy.policy.score_trajectories(batch, again(policy.policy, batch, 2)))


def test_both_parts_move_the_policy_alone(small_world: Dataset) -> None:
    policy = RankingPolicy(built(small_world, noise=1.0, reward="ndcg@5")).train()
    batch = batch_for(small_world, policy.policy)
    with torch.no_grad():
        for weight in policy.policy.scorer.parameters():
            weight.add_(torch.randn_like(weight) / 10)  # the divergence is flat where it begins
    losses = policy.loss(batch)
    assert set(losses.parts) == {"policy", "kl"}
    for part in losses.parts.values():
        policy.zero_grad()
        part.backward(retain_graph=True)
        moved = {
            name
            for name, weight in policy.named_parameters()
            if weight.grad is not None and bool((weight.grad != 0).any())
        }
        assert {name.split(".")[0] for name in moved} == {"policy"}
        assert any(".reasoning." in name for name in moved)
        assert not any(".item." in name or ".user." in name or ".position." in name for name in moved), (
            "embeddings stay"
        )
    assert "kl" not in RankingPolicy(built(small_world, kl_weight=0.0)).loss(batch).parts


def test_the_policy_that_acts_is_renewed_every_few_batches(small_world: Dataset) -> None:
    policy = RankingPolicy(built(small_world, refresh=3)).train()
    batch = batch_for(small_world, policy.policy)
    behind = []
    for _ in range(7):
        with torch.no_grad():
            policy.policy.item.weight.add_(1e-3)
        policy.loss(batch)
        behind.append(not torch.equal(policy.acting.item.weight, policy.policy.item.weight))
    assert behind == [True, True, True, False, True, True, False]
    assert not torch.equal(policy.reference.item.weight, policy.policy.item.weight)


def earned(model: LCRSERPaper, batch: Any) -> float:
    torch.manual_seed(5)
    with torch.no_grad():
        return float(rewards(model.score_trajectories(batch, model.draw_noise(batch)), model.config.reward).mean())


@pytest.mark.parametrize("reward", ["hit@1", "hit@5", "ndcg@5", "mrr"])
def test_the_reward_rises(small_world: Dataset, reward: str) -> None:
    policy = RankingPolicy(built(small_world, reward=reward, noise=0.3, kl_weight=0.01)).train()
    batch = batch_for(small_world, policy.policy, negatives=9, size=32)
    adam = torch.optim.Adam(policy.policy.parameters(), lr=5e-3)
    before = earned(policy.policy, batch)
    for _ in range(40):
        policy.loss(batch).total.backward()
        adam.step()
        adam.zero_grad()
    assert earned(policy.policy, batch) > before + 0.02


def test_a_penalty_holds_the_policy_to_its_reference(small_world: Dataset) -> None:
    apart = {}
    for weight in (0.01, 100.0):
        policy = RankingPolicy(built(small_world, noise=0.3, kl_weight=weight, trajectories=4)).train()
        batch = batch_for(small_world, policy.policy)
        adam = torch.optim.Adam(policy.policy.parameters(), lr=2e-3)
        for _ in range(12):
            policy.loss(batch).total.backward()
            adam.step()
            adam.zero_grad()
        apart[weight] = policy.loss(batch).parts["kl"].item()
    assert apart[100.0] < apart[0.01] / 3


def test_a_model_that_scores_all_the_same_learns_nothing_from_it(small_world: Dataset) -> None:
    model = built(small_world, kl_weight=0.0)
    with torch.no_grad():
        for weight in model.scorer.parameters():
            weight.zero_()
    policy = RankingPolicy(model).train()
    losses = policy.loss(batch_for(small_world, model))
    assert losses.parts["policy"] == 0
    losses.total.backward()
    assert all(weight.grad is None or not weight.grad.any() for weight in model.parameters())


# --- halting ---


def test_who_may_stop_by_hand() -> None:
    chance = torch.tensor([[0.1, 0.5, 0.5], [0.5, 0.2, 0.4], [0.3, 0.3, 0.9]])  # of the target after 0, 1, 2 steps
    scores = torch.stack((chance.log(), (1 - chance).log()), dim=-1)
    assert may_stop(scores, 0.01).tolist() == [[0, 1], [1, 0], [0, 0]]
    assert may_stop(scores, 10.0).tolist() == [[1, 1]] * 3


def test_thresholds_trade_steps_for_accuracy() -> None:
    gain = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.5, 0.5, 1.0]]).double().numpy()
    halting = torch.tensor([[0.1, 0.9], [0.8, 0.8], [0.2, 0.3]]).double().numpy()
    found = Depths(gain, halting)
    assert found.at(1.0) == (1.0, 2.0)
    assert found.at(0.5) == (1.0, 1.0)  # after 1, 0 and 2 steps
    assert found.at(0.0) == (0.5, 0.0)
    assert found.fixed(1.0) == pytest.approx(2.5 / 3) and found.fixed(0.5) == pytest.approx((0.5 + 2.5 / 3) / 2)
    for keep, steps in ((1.0, 1.0), (0.8, 1 / 3), (0.5, 0.0)):
        gain_kept, taken = found.at(found.threshold(keep))
        assert gain_kept >= keep
        assert taken == pytest.approx(steps)


def test_the_halting_score_is_learnt_and_nothing_else(small_world: Dataset) -> None:
    model = built(small_world, exit_steps=1, exit_slack=0.0)
    model.requires_grad_(False)
    assert model.halting is not None
    model.halting.requires_grad_(True)
    before = copy.deepcopy(model.state())
    learner = EarlyExit(model).train()
    assert not model.training
    batch = batch_for(small_world, model)
    adam = torch.optim.Adam(model.halting.parameters(), lr=0.05)
    values = []
    for _ in range(60):
        loss = learner.loss(batch).total
        loss.backward()
        adam.step()
        adam.zero_grad()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]
    changed = {name for name, tensor in model.state().items() if not torch.equal(tensor, before[name])}
    assert changed == {"halting.weight", "halting.bias"}


def test_a_batch_in_which_nobody_reasons_teaches_nothing(small_world: Dataset) -> None:
    learner = EarlyExit(built(small_world, exit_steps=1).requires_grad_(False))
    assert learner.model.halting is not None
    learner.model.halting.requires_grad_(True)
    batch = batch_for(small_world, learner.model)
    value = learner.loss(replace(batch, search_query=torch.zeros_like(batch.search_query))).total
    value.backward()
    assert value == 0
    assert all(weight.grad is None or not weight.grad.any() for weight in learner.model.parameters())


def test_depths_agree_with_the_protocol(small_world: Dataset) -> None:
    model = built(small_world, exit_steps=1).eval()
    split = Split(small_world)
    found = depths(model, split, requests=200)
    for threshold in (1.0, float(torch.tensor(found.halting).median())):
        model.halt_above.fill_(threshold)
        assert validation_score(model, split, requests=200, seed=0)["ndcg@5"] == pytest.approx(
            found.at(float(model.halt_above))[0], abs=2e-3
        )


# --- student ---


def test_a_student_moves_towards_its_teacher_and_leaves_it_alone(small_world: Dataset) -> None:
    torch.manual_seed(3)
    teacher = built(small_world, init=1.0)
    kept = copy.deepcopy(teacher.state())
    model = built(small_world, steps=0, distil_weight=50.0)
    student = RankingDistillation(model, teacher)
    batch = batch_for(small_world, model)
    adam = torch.optim.Adam(student.parameters(), lr=0.01)
    apart = []
    for _ in range(40):
        losses = student.loss(batch)
        losses.total.backward()
        adam.step()
        adam.zero_grad()
        apart.append(losses.parts["distil"].item())
    assert apart[-1] < 0.5 * apart[0]
    assert losses.weights["distil"] == 50.0
    assert all(torch.equal(tensor, kept[name]) for name, tensor in teacher.state().items())
    assert student.state().keys() == {f"model.{name}" for name in model.state()}, "the teacher is not kept"


# --- the whole training ---


def same(one: Run, other: Run) -> bool:
    first, second = one.model.state(), other.model.state()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


LATER: dict[str, Any] = {"rl_steps": 10, "rl_batch": 32, "trajectories": 3, "exit_steps": 5}


@pytest.fixture(scope="module")
def whole(checkerboard: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_training.train(
        "lcr-ser-paper", checkerboard.data, tmp_path_factory.mktemp("lcr") / "run", **TINY, **LATER
    )


def test_phases_follow_one_another_and_the_better_is_kept(whole: Run, checkerboard: Any) -> None:
    phases = {phase["phase"]: phase for phase in whole.config["phases"]}
    assert list(phases) == ["supervised", "ranking_policy", "early_exit"]
    assert phases["ranking_policy"]["kept"] == (phases["ranking_policy"]["ndcg@5"] > phases["supervised"]["ndcg@5"])
    assert isinstance(whole.model, LCRSERPaper)
    best = max(phases["ranking_policy"]["ndcg@5"], phases["supervised"]["ndcg@5"])
    threshold = float(whole.model.halt_above)
    assert threshold == pytest.approx(phases["early_exit"]["halt_above"])
    opened = read_run(whole.folder, checkerboard.data, device="cpu")
    assert same(opened, whole)
    opened.model.halt_above.fill_(1.0)
    assert validation_score(opened.model, whole.split, requests=10_000, seed=0)["ndcg@5"] == pytest.approx(best)
    assert phases["early_exit"]["ndcg@5"] >= whole.model.config.exit_keep * best - 1e-9
    assert not list(whole.folder.rglob("checkpoint.safetensors"))


def test_a_phase_that_is_not_better_is_undone(checkerboard: Any, tmp_path: Path) -> None:
    first = run_training.train("lcr-ser-paper", checkerboard.data, tmp_path / "first", **TINY)
    wild = run_training.train(
        "lcr-ser-paper",
        checkerboard.data,
        tmp_path / "wild",
        start=first.folder,
        **TINY,
        rl_steps=5,
        rl_batch=16,
        rl_lr=5.0,
        kl_weight=0.0,
    )
    started, policy = wild.config["phases"]
    assert started["phase"] == "started"
    assert policy["ndcg@5"] <= started["ndcg@5"]
    assert not policy["kept"]
    assert same(first, wild)


@pytest.mark.parametrize("learner", [LCRSERPaper, RankingPolicy, EarlyExit])
def test_a_run_broken_off_in_any_phase_ends_with_the_same_bits(
    whole: Run, checkerboard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learner: Any
) -> None:
    plain, calls = learner.loss, []

    def loss(self: Any, batch: Any) -> Any:
        calls.append(0)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(learner, "loss", loss)
        with pytest.raises(Interrupted):
            run_training.train("lcr-ser-paper", checkerboard.data, tmp_path / "run", **TINY, **LATER)
    again = run_training.train("lcr-ser-paper", checkerboard.data, tmp_path / "run", resume=True, **TINY, **LATER)
    assert same(again, whole)
    assert again.config["phases"] == whole.config["phases"]


def test_what_a_run_starts_from_must_fit(whole: Run, checkerboard: Any, tmp_path: Path) -> None:
    data = checkerboard.data
    with pytest.raises(RunError, match="weights do not fit"):
        run_training.train("lcr-ser-paper", data, tmp_path / "a", start=whole.folder, **{**TINY, "width": 16})
    with pytest.raises(SettingsError, match="popular has no use for --start"):
        run_training.train("popular", data, tmp_path / "b", start=whole.folder)
    popular = run_training.train("popular", data, tmp_path / "popular")
    with pytest.raises(RunError, match="the start is another model"):
        run_training.train("lcr-ser-paper", data, tmp_path / "c", start=popular.folder, **TINY)
    with pytest.raises(RunError, match="the teacher was trained on another split"):
        run_training.train("lcr-ser-paper", data, tmp_path / "d", teacher=popular.folder, unseen=0.2, **TINY)


def test_portions_are_the_same_batches_in_other_epochs(small_world: Dataset) -> None:
    examples = TrainingExamples(Split(small_world), built(small_world), batch=64, seed=0)
    length = examples.steps(0)
    cut = Portions(examples, 3)
    assert cut.steps(5) == 3

    def users(batch: Any) -> Tensor:
        found: Tensor = batch.user
        return found

    for place in (0, 4, length, length + 2):
        assert torch.equal(
            users(cut.batch(place // 3, place % 3)), users(examples.batch(place // length, place % length))
        )
