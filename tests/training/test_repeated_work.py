"""Nothing that a training needs is computed twice: requests, cut-offs, and which items each user has clicked."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from searec.data.candidates import Seen
from searec.data.dataset import Dataset
from searec.data.split import Split
from searec.experiments import run_training


def test_requests_are_made_once_for_checks_training_and_validation(
    small_world: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[Any] = Counter()
    plain_requests, plain_ever = Split._ask, Seen.ever

    def requests(self: Split, task: Any, users: Any, positions: Any, **options: Any) -> Any:
        counts["requests", task, len(positions), bool(options)] += 1
        return plain_requests(self, task, users, positions, **options)

    def ever(data: Dataset) -> Seen:
        counts["ever"] += 1
        return plain_ever(data)

    monkeypatch.setattr(Split, "_ask", requests)
    run_training.train(
        "unisar", small_world, tmp_path / "first", width=8, epochs=1, epoch_steps=0, batch=256, validation_requests=50
    )
    once = Counter(counts)
    # For each task: training, validation and test. Validation and test requests may be as many as one another.
    assert {key[1]: sum(n for other, n in once.items() if other[1] == key[1]) for key in once} == {
        "recommend": 3,
        "search": 3,
    }
    monkeypatch.setattr(Seen, "ever", ever)
    counts.clear()
    run_training.train(
        "unisar", small_world, tmp_path / "second", width=8, epochs=2, epoch_steps=0, batch=256, validation_requests=50
    )
    assert counts["ever"] == 0, "the candidates are stored, and their file is found without the clicks of all users"
    assert sum(counts.values()) == 6, "one more epoch makes no more requests"


def test_the_cache_of_a_split_tells_arguments_apart(small_world: Dataset) -> None:
    split = Split(small_world)
    assert split.train("search", ["search"]) is split.train("search", ("search",))
    both, alone = split.train("search"), split.train("search", ("search",))
    assert len(both) < len(alone)
    assert split.held_out("search", "val") is not split.held_out("search", "test")
    assert split.sequences(("recommend",), feed_only=True) is not split.sequences(("recommend",), feed_only=False)
