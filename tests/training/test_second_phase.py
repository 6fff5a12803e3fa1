"""The second phase: lists of a model's own best items, learned by cross-entropy or as a policy."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from searec.config import configure
from searec.data.candidates import Seen
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.experiments import run_training
from searec.models.event_transformer import EventTransformer
from searec.training.hard_lists import HardListExamples, HardLists, Targets, next_clicks
from searec.training.second_phase import LEARNERS, ListCrossEntropy, ListPolicy
from searec.training.training_log import FILE, read_rows

SMALL: dict[str, Any] = {"width": 8, "inner": 8, "layers": 1, "text": False}
BOTH = sorted(LEARNERS)


def built(data: Dataset, **settings: Any) -> EventTransformer:
    torch.manual_seed(0)
    model = EventTransformer(
        configure(EventTransformer.Config, {**SMALL, "list_pool": 200, "list_size": 7, **settings}), data.sizes
    )
    model.read_items(data)
    return model


def examples_of(data: Dataset, model: EventTransformer, **changes: Any) -> HardListExamples:
    return HardListExamples(Split(data), model, **{"batch": 32, "seed": 0, "newest": 0.2, "horizon": 3, **changes})


def targets_of(data: Dataset, model: EventTransformer, step: int = 0) -> Targets:
    return examples_of(data, model).batch(0, step)


# --- requests and lists ---


def test_next_clicks_by_hand() -> None:
    user, target = np.array([1, 1, 1, 1, 2, 2]), np.array([5, 6, 5, 7, 8, 9])
    assert next_clicks(user, target, 3).tolist() == [
        [5, 6, 0],  # the second 5 is no other item
        [6, 5, 7],
        [5, 7, 0],
        [7, 0, 0],
        [8, 9, 0],
        [9, 0, 0],
    ]


def test_requests_are_the_newest_training_clicks_of_each_user(small_world: Dataset) -> None:
    model = built(small_world)
    every = Split(small_world).train("recommend", model.train_tasks)
    for share in (0.2, 1.0):
        found = examples_of(small_world, model, newest=share).requests
        for user in np.unique(every.user):
            times = np.sort(every.time[every.user == user])
            kept = max(1, int(np.ceil(share * len(times))))
            assert np.sort(found.time[found.user == user]).tolist() == times[-kept:].tolist()


def test_a_pass_holds_each_request_once(small_world: Dataset) -> None:
    model = built(small_world)
    examples = examples_of(small_world, model)
    batches = [examples.batch(1, step) for step in range(examples.steps(1))]
    held = [(int(u), int(t)) for one in batches for u, t in zip(one.requests.user, one.requests.target, strict=True)]
    requests = examples.requests
    assert sorted(held) == sorted(zip(requests.user.tolist(), requests.target.tolist(), strict=True))
    assert all(torch.equal(one.relevant[:, 0].int(), one.requests.target.int()) for one in batches)


def test_mined_items_are_of_the_best_and_never_clicked(small_world: Dataset) -> None:
    model = built(small_world)
    user, item, _ = Split(small_world).train_clicks(model.train_tasks)
    seen = Seen.of(user, item, small_world.sizes.items)
    examples = examples_of(small_world, model)
    counted = 0
    for step in range(examples.steps(0)):
        targets = examples.batch(0, step)
        lists = HardLists.mined(model, targets, 7, 40)
        assert lists.candidates.shape[1] == 3 + 7
        others = lists.candidates[:, 3:].numpy()
        assert not (seen.contains(lists.requests.user.numpy()[:, None], others) & (others > 0)).any()
        with torch.no_grad():
            scores = model.eval().score(lists.requests.with_candidates(None))
        for row, user_id, listed, relevant in zip(
            scores, lists.requests.user.tolist(), lists.candidates, lists.relevant, strict=True
        ):
            mine = set(listed[relevant].tolist())
            row[[0, *(set(seen.of_user(user_id).tolist()) - mine)]] = -torch.inf
            best = set(row.topk(40).indices.tolist())
            assert mine and set(listed[listed > 0].tolist()) <= best, "relevant items too are of the forty best"
            assert len(set(listed[listed > 0].tolist())) == int((listed > 0).sum())
            counted += 1
        assert lists.listed == pytest.approx(len(lists.requests) / len(targets))
    assert counted > 5


def test_nothing_is_learned_where_no_relevant_item_is_ranked_high(small_world: Dataset) -> None:
    for name in BOTH:
        learner = LEARNERS[name](built(small_world, list_pool=1, list_size=1, dropout=0.0, noise=0.0)).train()
        targets = examples_of(small_world, learner.policy, batch=1).batch(0, 0)
        targets = replace(targets, relevant=torch.zeros_like(targets.relevant))
        losses = learner.loss(targets)
        losses.total.backward()
        assert losses.total == 0 and losses.figures["listed"] == 0
        assert not any(weight.grad is not None and weight.grad.any() for weight in learner.policy.parameters())


def test_control_and_policy_see_identical_lists(small_world: Dataset) -> None:
    seen = {}
    for name in BOTH:
        learner = LEARNERS[name](built(small_world, dropout=0.3)).train()
        torch.manual_seed(4)
        seen[name] = learner.lists(targets_of(small_world, learner.policy))
    assert torch.equal(seen["grpo"].candidates, seen["cross-entropy"].candidates)
    assert torch.equal(seen["grpo"].requests.user, seen["cross-entropy"].requests.user)


def test_lists_follow_the_model_as_it_learns(small_world: Dataset) -> None:
    learner = ListCrossEntropy(built(small_world, refresh=2)).train()
    targets = targets_of(small_world, learner.policy)
    with torch.no_grad():
        learner.policy.bias.copy_(10.0 * torch.randn_like(learner.policy.bias))
    drawn = []
    for _ in range(3):
        torch.manual_seed(4)
        drawn.append(learner.lists(targets).candidates)
    assert drawn[0].tolist() == drawn[1].tolist() != drawn[2].tolist()


def test_cross_entropy_by_hand(small_world: Dataset) -> None:
    candidates = torch.tensor([[4, 5, 0, 6, 7], [4, 0, 0, 6, 7]])
    relevant = torch.tensor([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
    requests = targets_of(small_world, built(small_world)).requests.at(torch.arange(2)).with_candidates(candidates)
    lists = HardLists(requests, relevant, torch.ones(()))
    chance = torch.tensor([[3.0, 2.0, 9.0, 1.0, 1.0], [1.0, 9.0, 9.0, 1.0, 2.0]])
    loss = lists.cross_entropy(lists.masked(chance.log()))
    # first row: 3 against 1 + 1, and 2 against 1 + 1; second row: 1 against 1 + 2
    first = -(np.log(3 / 5) + np.log(2 / 4)) / 2
    assert loss.item() == pytest.approx((first - np.log(1 / 4)) / 2)


# --- the policy ---


def test_trajectories_drop_out_alike_in_all_policies_and_apart_from_each_other(small_world: Dataset) -> None:
    policy = ListPolicy(built(small_world, dropout=0.5, noise=0.0, trajectories=4, list_temperature=1e-7)).train()
    for step in range(3):
        losses = policy.loss(targets_of(small_world, policy.policy, step))
        assert losses.parts["kl"] == 0
        assert losses.figures["clipped"] == 0
        assert losses.figures["signal"] > 0, "lists are those of the highest scores; they differ by dropout alone"
    assert policy.policy.state_noise == 0.0


def test_ratios_leave_one_and_only_the_policy_moves(small_world: Dataset) -> None:
    policy = ListPolicy(built(small_world, refresh=100, list_temperature=0.2)).train()
    adam = torch.optim.Adam([weight for weight in policy.parameters() if weight.requires_grad], lr=0.02)
    kept = {name: tensor.clone() for name, tensor in policy.reference.state().items()}
    clipped, kl = [], []
    for step in range(6):
        losses = policy.loss(targets_of(small_world, policy.policy, step % 3))
        losses.total.backward()
        adam.step()
        adam.zero_grad()
        clipped.append(float(losses.figures["clipped"]))
        kl.append(losses.parts["kl"].item())
    assert clipped[0] == 0 and clipped[-1] > 0
    assert kl[-1] > kl[0] == 0
    assert all(torch.equal(tensor, kept[name]) for name, tensor in policy.reference.state().items())
    moved = {name for name, tensor in policy.policy.state().items() if not torch.equal(tensor, kept[name])}
    assert moved and not any(name.startswith(("items.", "match.")) or ".position." in name for name in moved)


@pytest.mark.parametrize("reward", ["hit@1", "ndcg@5", "mrr"])
def test_the_reward_rises(small_world: Dataset, reward: str) -> None:
    policy = ListPolicy(
        built(small_world, reward=reward, likelihood_weight=0.0, kl_weight=0.0, dropout=0.0, length=8)
    ).train()
    targets = examples_of(small_world, policy.policy, batch=16).batch(0, 0)
    adam = torch.optim.Adam([weight for weight in policy.parameters() if weight.requires_grad], lr=0.01)
    earned = []
    for step in range(40):
        torch.manual_seed(step)
        losses = policy.loss(targets)
        losses.total.backward()
        adam.step()
        adam.zero_grad()
        earned.append(float(losses.figures["reward"]))
    assert np.mean(earned[-10:]) > np.mean(earned[:10]) + 0.05


def test_groups_without_signal_teach_nothing(small_world: Dataset) -> None:
    settings = {"list_temperature": 1e-7, "noise": 0.0, "dropout": 0.0, "id_dropout": 0.0}
    policy = ListPolicy(built(small_world, **settings)).train()
    losses = policy.loss(targets_of(small_world, policy.policy))
    assert losses.figures["signal"] == 0 and losses.figures["reward_deviation"] == 0
    assert losses.parts["policy"] == 0


# --- the whole training ---


@pytest.mark.parametrize("kind", BOTH)
def test_the_phase_is_judged_and_logged(checkerboard: Any, tmp_path: Path, kind: str) -> None:
    settings: dict[str, Any] = {
        "width": 16,
        "inner": 16,
        "layers": 1,
        "text": False,
        "epochs": 2,
        "batch": 16,
        "lr": 5e-3,
    }
    later: dict[str, Any] = {"second_phase": kind, "second_steps": 10, "second_batch": 16, "trajectories": 4}
    run = run_training.train("event-transformer", checkerboard.data, tmp_path / "run", **settings, **later)
    phases = {phase["phase"]: phase for phase in run.config["phases"]}
    first, second = phases["supervised"], phases["second_phase"]
    assert second["kept"] == (second["full-ndcg@10"] > first["full-ndcg@10"])
    rows = [row for row in read_rows(run.folder / "second_phase" / FILE) if row["event"] == "step"]
    logged = {"loss.policy", "loss.likelihood", "loss.kl", "listed", "signal", "reward", "reward_deviation", "clipped"}
    assert all(logged <= row.keys() if kind == "grpo" else "loss.cross_entropy" in row for row in rows)
    if kind == "grpo":
        assert all(0 <= row["signal"] <= 1 and 0 < row["reward"] <= 1 for row in rows)
