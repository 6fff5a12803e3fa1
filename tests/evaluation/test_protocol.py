"""Ranks against a loop over users; ties, seen items, draws and models that give no numbers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from searec.cli.tables import print_tables
from searec.data.batch import Batch, Needs
from searec.data.candidates import candidate_lists
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.data.taxonomy import Taxonomy
from searec.errors import DataError, SettingsError
from searec.evaluation import protocol
from searec.evaluation.compare import compare
from searec.evaluation.protocol import chosen, evaluate, full_ranks, sampled_ranks, tie_rank, validation_score
from searec.evaluation.result import Evaluation
from searec.metrics import NDCG, Hit, RankMetric, RequestMetric, Results
from searec.metrics.base import Floats
from searec.models.base import FittedModel
from searec.reports.comparison_page import render


class Coarse(FittedModel):
    """Scores of few values, so that many are tied; they depend on the user, the newest click and the item."""

    name = "coarse"
    tasks = ("recommend", "search")
    arrays = ("table",)
    table: Tensor
    values = 5

    def __init__(self, data: Dataset) -> None:
        super().__init__(None, data.sizes)
        self.set_arrays(table=torch.zeros(1))
        self.widths: list[int] = []

    @property
    def needs(self) -> Needs:
        return Needs(clicks=3)

    def of(self, user: int, newest: int, item: int) -> float:
        return float((user * 7 + newest * 3 + item * item + 1) % self.values)

    def score(self, batch: Batch) -> Tensor:
        self.widths.append(batch.click_item.shape[1])
        assert not self.training
        lists = (
            batch.candidates.tolist()
            if batch.candidates is not None
            else [list(range(self.sizes.items + 1))] * len(batch)
        )
        newest = [max([item for item in line if item][-1:], default=0) for line in batch.click_item.tolist()]
        return torch.tensor(
            [[self.of(u, n, i) for i in line] for u, n, line in zip(batch.user.tolist(), newest, lists, strict=True)]
        )


def newest_before(data: Dataset, user: int, time: int) -> tuple[int, set[int]]:
    """The user's newest click before a time, and all of them."""
    rows = range(int(data.click_history.offsets[user]), int(data.click_history.offsets[user + 1]))
    clicked = [int(data.click_history.item[row]) for row in rows if data.click_history.time[row] < time]
    return (clicked[-1] if clicked else 0), set(clicked)


def naive_rank(own: float, others: list[float]) -> float:
    return 1 + sum(other > own for other in others) + sum(other == own for other in others) / 2


@pytest.mark.parametrize("task", ["recommend", "search"])
@pytest.mark.parametrize("at_once", [1, 1 << 23], ids=["one by one", "together"])
def test_sampled_ranks_equal_a_loop(
    small_world: Dataset, monkeypatch: pytest.MonkeyPatch, task: Any, at_once: int
) -> None:
    monkeypatch.setattr(protocol, "_SCORES_AT_ONCE", at_once)
    model, split = Coarse(small_world), Split(small_world)
    requests, lists = split.held_out(task, "test"), candidate_lists(split, task, "test")
    expected = []
    for user, time, line in zip(requests.user.tolist(), requests.time.tolist(), lists.tolist(), strict=True):
        newest, _ = newest_before(small_world, user, time)
        own, *others = [model.of(user, newest, item) for item in line]
        expected.append(naive_rank(own, others))
    assert sampled_ranks(model, split, requests, lists).tolist() == expected
    assert any(rank % 1 for rank in expected), "there are ties"
    found = evaluate(model, split, task).scores
    assert found["rank"].to_list() == expected
    assert found["target"].to_list() == requests.target.tolist()
    assert found["user_id"].to_list() == small_world.users.to_external(requests.user)


@pytest.mark.parametrize("task", ["recommend", "search"])
def test_full_ranks_leave_out_what_was_seen_and_keep_the_target(small_world: Dataset, task: Any) -> None:
    model, split = Coarse(small_world), Split(small_world)
    requests = split.held_out(task, "val")
    rank, top = full_ranks(model, split, requests)
    for row, (user, time, target) in enumerate(
        zip(requests.user.tolist(), requests.time.tolist(), requests.target.tolist(), strict=True)
    ):
        newest, seen = newest_before(small_world, user, time)
        scores = {
            item: model.of(user, newest, item)
            for item in range(1, small_world.sizes.items + 1)
            if item == target or item not in seen
        }
        assert rank[row] == naive_rank(scores[target], [score for item, score in scores.items() if item != target])
        best = sorted(scores.values(), reverse=True)[:10]
        assert [scores[item] for item in top[row].tolist()] == best
        assert len(set(top[row].tolist())) == 10


def test_what_is_new_in_the_lists_is_kept_user_by_user(small_world: Dataset) -> None:
    model, split = Coarse(small_world), Split(small_world)
    model.values = 4
    found = evaluate(model, split, "recommend", "full")
    requests = split.held_out("recommend", "test")
    _, top = full_ranks(model, split, requests)
    narrow = Taxonomy.of(small_world).narrow
    share, wanted, hits = [], [], 0
    for row, (user, time, target) in enumerate(
        zip(requests.user.tolist(), requests.time.tolist(), requests.target.tolist(), strict=True)
    ):
        touched = {int(c) for item in newest_before(small_world, user, time)[1] for c in narrow.row(item)}
        new = [item for item in top[row].tolist() if not touched & set(narrow.row(item).tolist())]
        share.append(len(new) / 10)
        wanted.append(float(target in new))
        hits += target in top[row]
    assert found.scores["metric:enr@10"].to_list() == share and 0 < sum(share) < len(share)
    assert found.scores["metric:serendipity@10"].to_list() == wanted and 0 < sum(wanted) <= hits < len(requests)
    assert found.totals["cnr@10"] == sum(wanted) / hits
    of_search = evaluate(model, split, "search", "full")
    assert "metric:enr@10" not in of_search.scores.columns and "cnr@10" not in of_search.totals


def test_a_target_that_was_clicked_before_still_ranks(make_data: Any) -> None:
    items = {f"i{n}": f"thing {n}" for n in range(6)}
    data = make_data(items=items, users=["u"], feed=[("u", "i2", 1), ("u", "i0", 2), ("u", "i3", 3), ("u", "i2", 4)])
    model, split = Coarse(data), Split(data)
    rank, top = full_ranks(model, split, split.held_out("recommend", "test"))
    scores = {
        item: model.of(1, 4, item) for item in (2, 3, 5, 6)
    }  # i0 and i3 are seen, and i2 (internal id 3) is the target
    assert rank.tolist() == [naive_rank(scores[3], [scores[item] for item in (2, 5, 6)])]
    assert sorted(top[0].tolist()) == [0, 0, 2, 3, 5, 6]


def test_tie_rank_by_hand() -> None:
    scores = torch.tensor([[3.0, 1.0, 3.0, 5.0], [0.0, 0.0, 0.0, 0.0], [9.0, 1.0, 2.0, -torch.inf]])
    # row 0: 5 is better, the other 3 is a tie: 1 + 1 + 1/2. Row 1: three ties: 1 + 3/2. Row 2: 9 is better: 2.
    assert tie_rank(scores, torch.tensor([0, 3, 2])).tolist() == [2.5, 2.5, 2.0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_target_s_score_must_be_a_number(bad: float) -> None:
    with pytest.raises(DataError, match="no number"):
        tie_rank(torch.tensor([[1.0, bad, 2.0]]), torch.tensor([1]))


def test_a_nan_anywhere_is_refused(small_world: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model, split = Coarse(small_world), Split(small_world)
    monkeypatch.setattr(Coarse, "of", lambda self, user, newest, item: float("nan") if item == 9 else 1.0)
    with pytest.raises(DataError, match="no number"):
        evaluate(model, split, "recommend", "full")


def test_max_requests_is_a_fixed_draw(small_world: Dataset) -> None:
    model, split = Coarse(small_world), Split(small_world)
    whole = evaluate(model, split, "recommend", "sampled")
    some, again = (evaluate(model, split, "recommend", "sampled", max_requests=20) for _ in range(2))
    assert some.scores.equals(again.scores)
    assert some.scores.height == 20
    joined = some.scores.join(whole.scores, on=["user_id", "time", "target"], how="inner")
    assert joined["rank"].to_list() == joined["rank_right"].to_list(), "a request keeps its candidates and slices"
    assert all(
        joined[name].to_list() == joined[f"{name}_right"].to_list()
        for name in some.scores.columns
        if name.startswith("slice:")
    )
    full = evaluate(model, split, "recommend", "full", max_requests=20)
    assert full.scores["user_id"].to_list() == some.scores["user_id"].to_list()
    assert evaluate(model, split, "recommend", max_requests=10**6).scores.height == whole.scores.height


def test_chosen_rows_are_uniform_distinct_and_ascending() -> None:
    assert chosen(5, None, 0).tolist() == chosen(5, 5, 0).tolist() == [0, 1, 2, 3, 4]
    counts = np.zeros(10)
    for seed in range(300):
        rows = chosen(10, 3, seed)
        assert (np.diff(rows) > 0).all()
        counts[rows] += 1
    assert counts.min() > 50


def test_the_model_is_left_as_it_was(small_world: Dataset) -> None:
    model, split = Coarse(small_world), Split(small_world)
    for training in (True, False):
        model.train(training)
        evaluate(model, split, "recommend", max_requests=4)
        assert model.training == training


def test_requests_are_scored_by_length(small_world: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_SCORES_AT_ONCE", 400)
    model = Coarse(small_world)
    evaluate(model, Split(small_world), "recommend")
    assert model.widths == sorted(model.widths)


def test_what_cannot_be_measured_is_refused(small_world: Dataset, make_data: Any) -> None:
    model = Coarse(small_world)
    with pytest.raises(DataError, match="no user has enough events"):
        evaluate(model, Split(small_world, min_events=10_000), "recommend")
    model.tasks = ("search",)  # type: ignore[misc]
    with pytest.raises(SettingsError, match="coarse does not support recommend"):
        evaluate(model, Split(small_world), "recommend")


def test_validation_score_is_the_mean_over_tasks(small_world: Dataset) -> None:
    model, split = Coarse(small_world), Split(small_world)
    found = validation_score(model, split, requests=10_000, seed=0)
    for task in ("recommend", "search"):
        rank = evaluate(model, split, task, "sampled", "val").scores["rank"].to_numpy()
        assert found[f"ndcg@5.{task}"] == pytest.approx(np.where(rank <= 5, 1 / np.log2(rank + 1), 0).mean())
    assert found["ndcg@5"] == pytest.approx((found["ndcg@5.recommend"] + found["ndcg@5.search"]) / 2)


@dataclass(frozen=True)
class Precision(RankMetric):
    """Precision@k, as another package adds it: one class and an entry point."""

    k: int
    key, title, description = "precision", "Precision", "The share of the first k items that are relevant."

    def of_ranks(self, ranks: ArrayLike) -> Floats:
        return Hit(self.k).of_ranks(ranks) / self.k


@dataclass(frozen=True)
class Popularity(RequestMetric):
    """Mean training clicks of a list's items, as another package adds it."""

    k: int
    key, title, reads, description = "popularity", "Popularity", "lists", "The mean training clicks of listed items."

    def values(self, results: Results) -> Floats:
        return np.asarray(self.required(results, "clicks")[self.top(results)].mean(axis=1), dtype=np.float64)


def test_metrics_of_another_package_reach_every_table(
    small_world: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [
        EntryPoint("precision", f"{__name__}:Precision", "searec.metrics"),
        EntryPoint("popularity", f"{__name__}:Popularity", "searec.metrics"),
    ]
    monkeypatch.setattr("searec.plugins.entry_points", lambda group: points if group == "searec.metrics" else [])
    model, split = Coarse(small_world), Split(small_world)
    found = evaluate(model, split, "recommend", "full", metrics="precision@5,popularity@20")
    rank, lists = full_ranks(model, split, split.held_out("recommend", "test"), 20)
    clicks = np.bincount(split.train_clicks(("recommend",))[1], minlength=small_world.sizes.items + 1)
    expected = {"precision@5": np.mean(rank <= 5) / 5, "popularity@20": np.mean(clicks[lists])}
    assert found.summary()["metrics"] == pytest.approx(expected)
    found.save(tmp_path)
    loaded = Evaluation.load(tmp_path, "recommend", "full", "test", [Precision(5), Popularity(20)])
    assert loaded.summary() == found.summary()
    assert "ndcg@10" in Evaluation.load(tmp_path, "recommend", "full", "test").means()  # measured along with them
    comparison = compare([loaded], resamples=20)
    assert comparison.as_json()["tables"][0]["headline"] == "precision@5"
    page = render(comparison, [], title="t", created=datetime(2025, 1, 2, tzinfo=UTC))
    for text in ("Precision@5", "Popularity@20", "The mean training clicks of listed items."):
        assert text in page
    print_tables(comparison)
    assert "popularity@20" in capsys.readouterr().out


def test_a_metric_deeper_than_the_lists_lengthens_them(small_world: Dataset) -> None:
    model, split = Coarse(small_world), Split(small_world)
    deep = evaluate(model, split, "recommend", "full", metrics=[NDCG(k=20), "coverage@25"])
    usual = evaluate(model, split, "recommend", "full")
    assert list(deep.summary()["metrics"]) == ["ndcg@20", "coverage@25"]
    _, lists = full_ranks(model, split, split.held_out("recommend", "test"), 25)
    assert deep.totals["coverage@25"] == len(set(lists.ravel().tolist()) - {0}) / small_world.sizes.items
    assert usual.totals.keys() < deep.totals.keys() and set(usual.scores.columns) <= set(deep.scores.columns)
    assert deep.scores["rank"].equals(usual.scores["rank"])


def test_a_metric_of_lists_needs_the_full_protocol(small_world: Dataset) -> None:
    with pytest.raises(SettingsError, match="no metric named is defined for recommend in the sampled protocol"):
        evaluate(Coarse(small_world), Split(small_world), "recommend", metrics="ndcg@5,coverage@10")
