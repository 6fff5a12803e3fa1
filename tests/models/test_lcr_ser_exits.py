"""lcr-ser that stops reasoning early, and its students."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from searec.config import configure
from searec.data.batch import Batch
from searec.data.dataset import Dataset, load
from searec.data.split import Split
from searec.data.synthetic.simulate import simulate
from searec.data.synthetic.world import World
from searec.errors import SettingsError
from searec.evaluation.protocol import validation_score
from searec.experiments import run_training
from searec.models.lcr_ser_exits import LCRSERWithExits
from searec.training.early_exit import EarlyExit, depths
from searec.training.examples import TrainingExamples
from searec.training.ranking_distillation import RankingDistillation

SMALL: dict[str, Any] = {"width": 8, "inner": 8, "layers": 1, "text": False, "neighbours": False}
SMALL |= {"trunk": "merged"}


def built(data: Dataset, seed: int = 0, **settings: Any) -> LCRSERWithExits:
    """A model whose steps and halting score have weights, as if they had learned."""
    torch.manual_seed(seed)
    model = LCRSERWithExits(configure(LCRSERWithExits.Config, {**SMALL, "exit_steps": 1, **settings}), data.sizes)
    model.read_items(data)
    with torch.no_grad():
        if model.reasoning is not None:
            model.is_open.fill_(True)
            model.scale.fill_(1.0)
            if model.config.steps:
                model.reasoning.out.weight.normal_(std=8.0)
                model.reasoning.query.weight.normal_(std=0.5)
        if model.halting is not None:
            model.halting.weight.normal_(std=0.5)
    return model.eval()


def requests_of(data: Dataset, model: LCRSERWithExits) -> Batch:
    return TrainingExamples(Split(data), model, batch=64, seed=0, negatives=9, feed_requests=True).batch(0, 0)


def test_each_request_is_scored_after_its_own_number_of_steps(small_world: Dataset) -> None:
    model = built(small_world)
    batch = requests_of(small_world, model)
    with torch.no_grad():
        by_depth, halting = model.score_by_depth(batch)
        assert by_depth.shape[1] == 4 and not torch.allclose(by_depth[:, 0], by_depth[:, 3])
        torch.testing.assert_close(model.score(batch), by_depth[:, 3], msg="nobody stops before the score is learned")
        reads = halting.isfinite().all(1)
        taken = set()
        for threshold in (0.0, *halting[reads].sigmoid().quantile(torch.linspace(0.02, 0.98, 25)).tolist()):
            model.halt_above.fill_(threshold)
            above = halting.sigmoid() > model.halt_above
            depth = torch.where(above.any(1), above.int().argmax(1), 3)
            expected = by_depth[torch.arange(len(batch)), depth]
            torch.testing.assert_close(model.score(batch), expected, rtol=1e-4, atol=1e-5)
            taken |= set(depth.tolist())
    assert {0, 3} < taken


def test_without_events_no_step_is_taken(small_world: Dataset) -> None:
    model = built(small_world)
    batch = requests_of(small_world, model)
    batch = replace(
        batch, search_query=torch.zeros_like(batch.search_query), feed_item=torch.zeros_like(batch.feed_item)
    )
    with torch.no_grad():
        by_depth, halting = model.score_by_depth(batch)
        model.halt_above.fill_(0.5)
        torch.testing.assert_close(model.score(batch), by_depth[:, 0])
    assert halting.isinf().all()


def test_the_halting_score_learns_and_nothing_else(small_world: Dataset) -> None:
    model = built(small_world, exit_slack=0.0).requires_grad_(False)
    assert model.halting is not None
    model.halting.requires_grad_(True)
    before = copy.deepcopy(model.state())
    learner, batch = EarlyExit(model).train(), requests_of(small_world, model)
    adam = torch.optim.Adam(model.halting.parameters(), lr=0.05)
    values = []
    for _ in range(40):
        loss = learner.loss(batch).total
        loss.backward()
        adam.step()
        adam.zero_grad()
        values.append(loss.item())
    assert values[-1] < 0.95 * values[0]
    changed = {name for name, tensor in model.state().items() if not torch.equal(tensor, before[name])}
    assert changed == {"halting.weight", "halting.bias"}


def test_depths_agree_with_the_protocol(small_world: Dataset) -> None:
    model, split = built(small_world), Split(small_world)
    measured = depths(model, split, requests=200)
    for threshold in (1.0, float(torch.tensor(measured.halting).median())):
        model.halt_above.fill_(threshold)
        score = validation_score(model, split, requests=200, seed=0)["ndcg@5.recommend"]
        assert score == pytest.approx(measured.at(float(model.halt_above))[0], abs=2e-3)
    assert measured.fixed(3.0) == pytest.approx(measured.at(1.0)[0])


def test_a_student_moves_towards_its_teacher(small_world: Dataset) -> None:
    teacher = built(small_world, seed=3)
    kept = copy.deepcopy(teacher.state())
    student = RankingDistillation(built(small_world, steps=0, exit_steps=0, dropout=0.0, distil_weight=50.0), teacher)
    batch = TrainingExamples(Split(small_world), student.model, batch=16, seed=0).batch(0, 0)
    adam = torch.optim.Adam(student.parameters(), lr=0.01)
    apart = []
    for _ in range(30):
        losses = student.loss(batch)
        losses.total.backward()
        adam.step()
        adam.zero_grad()
        apart.append(losses.parts["distil"].item())
    assert apart[-1] < 0.7 * apart[0]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in teacher.state().items())


def test_teacher_and_student_score_the_same_places(small_world: Dataset) -> None:
    """A teacher whose trunk reads the feed alone, and a student that reads everything."""
    teacher = built(small_world, seed=3, distil_places=2, trunk="feed")
    student = built(small_world, steps=0, distil_places=2)
    batch = TrainingExamples(Split(small_world), student, batch=16, seed=0).batch(0, 0)
    with torch.no_grad():
        taught = teacher.teaching_scores(batch)
        assert taught.shape == student.teaching_scores(batch).shape
        assert 0 < len(taught) <= 2 * len(batch) and taught.shape[1] == small_world.sizes.items
        # A teacher without reasoning scores each place as the state before that click does.
        teacher.is_open.fill_(False)
        scores, row = teacher.teaching_scores(batch), 0
        for user in range(len(batch)):
            clicks = int((batch.feed_item[user] > 0).sum())
            for column in range(max(1, clicks - 2), clicks):
                cut = replace(batch, feed_item=batch.feed_item * (torch.arange(batch.feed_item.shape[1]) < column))
                read = teacher.read_requests(cut)
                state = read.states[user, int(read.timeline.present[user].sum())]
                expected = state @ teacher.table()[1:].T + teacher.bias[0, 1:]
                torch.testing.assert_close(scores[row], expected, rtol=1e-4, atol=1e-4)
                row += 1
        assert row == len(scores)


def test_a_teacher_of_another_kind_is_refused(small_world: Dataset, tmp_path: Path) -> None:
    teacher = run_training.train("sasrec", small_world, tmp_path / "run", width=8, layers=1, epochs=1, epoch_steps=0)
    with pytest.raises(SettingsError, match="do not score the same requests; got: teacher sasrec, student lcr-ser"):
        RankingDistillation(built(small_world, steps=0), teacher.model)


def test_exits_keep_what_they_must(tmp_path: Path) -> None:
    world = World(users=200, items=150, families=2, types=3, reveal=0.4, overlap=0.0, seed=1)  # reasoning is kept here
    simulate(tmp_path / "world", world)
    settings: dict[str, Any] = {**SMALL, "epochs": 2, "batch": 16, "lr": 5e-3, "exit_steps": 5, "exit_keep": 0.9}
    settings |= {"reasoning_steps": 50, "min_steps": 0}
    run = run_training.train("lcr-ser", load(tmp_path / "world"), tmp_path / "run", **settings)
    phase = run.config["phases"][-1]
    assert phase["phase"] == "early_exit"
    assert phase["ndcg@5"] >= 0.9 * phase["whole"] - 1e-9
    assert 0 <= phase["steps"] <= 3 and phase["saved"] <= 1
    assert float(run.model.halt_above) == pytest.approx(phase["halt_above"])
