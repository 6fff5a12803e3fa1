"""`searec interests distil` and `evaluate`, with a teacher of rules in place of the registered ones."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from searec.data.dataset import load
from searec.distillation.distil import trained_users
from searec.interests.profile import Profile
from searec.interests.profile_sampling import sample_profiles
from searec.interests.reasoner import Reasoner, ReasoningResult
from searec.interests.reasoner_registry import REASONERS

TINY = [
    "width=16",
    "layers=1",
    "heads=2",
    "vocabulary=400",
    "max_length=256",
    "rank=2",
    "batch=8",
    "epochs=1",
    "base_epochs=1",
    "held=0.25",
]
SETTINGS = [part for text in TINY for part in ("--set", text)]


@pytest.fixture(scope="module")
def shop(make_folder: Callable[..., Path], shoppers: Callable[[int], list[Profile]]) -> Path:
    """30 users who asked and 2 who did not."""
    searches = [
        (one.user, asked.text, 100.0 * number + place, [])
        for number, one in enumerate(shoppers(30))
        for place, asked in enumerate(one.queries)
    ]
    items = {"i1": {"title": "x", "categories": ["Home", "Aprons"]}, "i2": {"title": "y", "categories": ["Desk lamps"]}}
    return make_folder(items=items, users=[*(f"u{number}" for number in range(30)), "x1", "x2"], searches=searches)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, teacher: Reasoner) -> list[str]:
    """How often the teacher was asked for, and with which settings."""
    named: list[str] = []

    class Rules:
        """Opens the teacher of rules."""

        @classmethod
        def open(cls, split: Any, tasks: Any, options: dict[str, str]) -> Any:
            named.append("rules" if not options else f"rules {options}")
            return teacher

    class Mute:
        """Has nothing to say."""

        name, version = "mute", "1"

        @classmethod
        def open(cls, split: Any, tasks: Any, options: dict[str, str]) -> Any:
            return cls()

        def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
            return [ReasoningResult(profile, None, "mute") for profile in profiles]

    module = ModuleType("reasoners_of_this_test")
    module.Rules, module.Mute = Rules, Mute  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(REASONERS.built_in, "rules", f"{module.__name__}:Rules")
    monkeypatch.setitem(REASONERS.built_in, "mute", f"{module.__name__}:Mute")
    return named


def test_who_asked_nothing_is_not_drawn_and_a_seed_draws_the_same(shop: Path) -> None:
    data = load(shop)
    everybody = sample_profiles(data)
    assert {one.user for one in everybody} == {f"u{number}" for number in range(30)}
    assert [one.user for one in sample_profiles(data, 7)] == [one.user for one in everybody[:7]]
    assert [one.user for one in sample_profiles(data, 7, seed=1)] != [one.user for one in everybody[:7]]
    assert not {one.user for one in sample_profiles(data, leave_out={"u3", "u4"})} & {"u3", "u4"}


def test_what_is_held_out_is_not_read(checkerboard: Any) -> None:
    from searec.data.schema import TASKS
    from searec.data.split import Split

    limit = Split(checkerboard.data).visible(TASKS)
    for one in sample_profiles(checkerboard.data):
        inside = int(checkerboard.data.users.to_internal([one.user])[0])
        assert one.at == limit[inside] and all(asked.time < one.at for asked in one.queries)


def test_distil_then_evaluate(shop: Path, registry: list[str], tmp_path: Path, searec: Any) -> None:
    run = tmp_path / "run"
    code, out, error = searec(
        "interests",
        "distil",
        shop,
        "--out",
        run,
        "--teacher",
        "rules",
        "--users",
        "28",
        *SETTINGS,
        "--set",
        "teacher.model=x",
    )
    assert code == 0, error
    assert registry == ["rules {'model': 'x'}"]
    assert "teacher rules:" in out and "made here" in out and "profiles/s" in out and f"wrote {run}" in out
    told = json.loads((run / "student.json").read_text())
    assert told["figures"]["profiles"] == told["labels"]["labels"]["eval"] > 0

    code, _, error = searec("interests", "distil", shop, "--out", run, "--teacher", "rules", *SETTINGS)
    assert code == 1 and "not empty" in error
    assert len(registry) == 1, "refused before the teacher is asked"
    code, _, error = searec("interests", "distil", shop, "--out", tmp_path / "b", "--set", "ranks=2")
    assert code == 1 and "'rank'" in error

    names = ["--reasoner", "rules", "--reasoner", "mute", "--reasoner", f"student={run}"]
    code, out, error = searec("interests", "evaluate", shop, *names, "--json", tmp_path / "figures.json")
    assert code == 0, error
    found = json.loads((tmp_path / "figures.json").read_text())
    left = 30 - len(trained_users(run))
    assert found["users"] == left and f"{left} users" in out and "agreement with rules" in out
    assert list(found["reasoners"]) == ["rules", "mute", f"student={run}"]
    assert "f1" not in found["reasoners"]["rules"]["figures"]
    assert found["reasoners"]["mute"]["figures"]["f1"]["value"] == 0 and found["reasoners"]["mute"]["problems"] == {
        "mute": left
    }
    assert found["reasoners"]["rules"]["figures"]["answered"]["value"] == 1
    assert 0 < found["reasoners"]["rules"]["figures"]["grounded"]["value"] < 1
    code, out, _ = searec(
        "interests", "evaluate", shop, "--reasoner", "mute", "--teacher", "rules", "--users", "5", "--json", "-"
    )
    assert code == 0 and json.loads(out)["reasoners"]["mute"]["figures"]["recall"]["value"] == 0
    for arguments, problem in (
        (["--reasoner", f"student={tmp_path / 'none'}"], "cannot load"),
        (["--reasoner", f"student={run}", "--set", "student.bach=1"], "'batch'"),
        (["--reasoner", "rules", "--set", "student.batch=1"], "a setting of no reasoner"),
    ):
        code, _, error = searec("interests", "evaluate", shop, *arguments)
        assert code == 1 and problem in error
