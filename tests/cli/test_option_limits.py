"""Options at and beyond their limits: a result, or one line that says what is wrong; never a traceback."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from searec.data.synthetic.simulate import World, simulate
from searec.experiments import run_training

NUMBERS = ["0", "1", "-1", "2", "99999999999999999999", "1e309", "nan", "-inf", "0.5", "", "x", "１２"]
TEXTS = ["", " ", "\x00", "../..", "a" * 300, "é電", "--", "%s", "=", "a=b"]
OPTIONS: list[tuple[list[str], str, list[str]]] = [
    (["train", "popular", "{data}", "--out", "{new}"], "--seed", NUMBERS),
    (["train", "popular", "{data}", "--out", "{new}"], "--unseen", NUMBERS),
    (["train", "popular", "{data}", "--out", "{new}"], "--set", TEXTS),
    (["train", "popular", "{data}", "--out", "{new}"], "--label", TEXTS),
    (["train", "popular", "{data}", "--out", "{new}"], "--preset", TEXTS),
    (["train", "popular", "{data}", "--out", "{new}"], "--split-at", [*NUMBERS, *TEXTS]),
    (["train", "popular", "{data}"], "--out", [*TEXTS, "{data}", "{run}", "{data}/items.parquet", "/proc/none"]),
    (["train", "{word}", "{data}", "--out", "{new}"], "--seed", ["0"]),
    (["recommend", "{run}", "{data}", "--user", "{user}"], "-k", NUMBERS),
    (["recommend", "{run}", "{data}"], "--user", TEXTS),
    (["recommend", "{run}", "{data}", "--user", "{user}"], "--json", ["-", *TEXTS, "{data}"]),
    (["recommend", "{run}", "{data}", "--user", "{user}"], "--add", [*TEXTS, "{data}/items.parquet"]),
    (["recommend", "{run}", "{data}", "--user", "{user}"], "--remove", TEXTS),
    (["search", "{bm25}", "{data}", "{word}"], "-k", ["1", "99999999999999999999"]),
    (["similar", "{run}", "{data}", "{word}"], "-k", ["1"]),
    (["evaluate", "{run}", "{data}"], "--requests", NUMBERS),
    (["evaluate", "{run}", "{data}"], "--metrics", [*TEXTS, "ndcg@0", "ndcg@99999999999999999999", "hit@-1"]),
    (["evaluate", "{run}", "{data}"], "--task", TEXTS),
    (["evaluate", "{word}", "{data}"], "--task", ["recommend"]),
    (["check", "{data}"], "--level", [*NUMBERS, *TEXTS]),
    (["check"], "--json", ["{data}", "{data}/x"]),
    (["simulate", "{new}", "--users", "2"], "--items", ["1", "2", "x", "-1"]),
    (["simulate", "{new}", "--users", "2", "--items", "2"], "--set", ["clicks=nan", "clicks=0", "families=9", *TEXTS]),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small dataset with two runs."""
    home = tmp_path_factory.mktemp("limits")
    data = simulate(home / "data", World(users=12, items=60, clicks=8.0, searches=10.0, families=2, types=2, seed=1))
    for model in ("popular", "bm25"):
        run_training.train(model, run_training_data(data), home / model)
    user = run_training_data(data).users.to_external(np.array([1]))[0]
    return {"data": str(data), "run": str(home / "popular"), "bm25": str(home / "bm25"), "user": user}


def run_training_data(folder: Path) -> Any:
    from searec.data.dataset import load

    return load(folder)


@pytest.mark.parametrize(("command", "option", "values"), OPTIONS, ids=lambda part: str(part)[:60])
def test_no_value_gives_a_traceback(
    command: list[str],
    option: str,
    values: list[str],
    places: dict[str, str],
    searec: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = TEXTS if "{word}" in command else [""]
    for number, (word, value) in enumerate(itertools.product(words, values)):
        known = {**places, "new": str(tmp_path / f"new{number}"), "word": word}
        arguments = [part.format_map(known) if "{" in part else part for part in (*command, option, value)]
        code, _, error = searec(*arguments)
        assert code in (0, 1, 2), arguments
        assert "Traceback" not in error, arguments
        if code == 1:
            lines = [line for line in error.splitlines() if line.startswith("searec: ")]
            assert len(lines) == 1, (arguments, error)
