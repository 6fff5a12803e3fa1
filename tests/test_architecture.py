"""The rooms of the house: a room imports itself and strictly lower rooms, and light things load nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import searec

HOME = Path(searec.__file__).parent
LEVELS = {
    **dict.fromkeys(("errors",), 0),
    **dict.fromkeys(("config", "files", "progress"), 1),
    **dict.fromkeys(("plugins", "text"), 2),
    **dict.fromkeys(("data",), 3),
    **dict.fromkeys(("nn", "metrics"), 4),
    **dict.fromkeys(("semantic_ids", "interests", "retrieval"), 5),
    **dict.fromkeys(("distillation", "store", "models"), 6),
    **dict.fromkeys(("evaluation",), 7),
    **dict.fromkeys(("training",), 8),
    **dict.fromkeys(("artifacts",), 9),
    **dict.fromkeys(("pipeline",), 10),
    **dict.fromkeys(("reports",), 11),
    **dict.fromkeys(("experiments",), 12),
    **dict.fromkeys(("service", "scale"), 13),
    **dict.fromkeys(("cli", "__main__"), 14),
    **dict.fromkeys(("__init__",), 15),
}
REFUSED = {"utils", "util", "common", "helpers", "helper", "misc"}
HEAVY = ("torch", "matplotlib", "sentence_transformers", "pandas")
LONGEST = 450
FILES = sorted(HOME.rglob("*.py"))


def room_of(path: Path, home: Path = HOME) -> str:
    return path.relative_to(home).with_suffix("").parts[0]


def imported_rooms(source: str, package: tuple[str, ...]) -> set[str]:
    """The rooms of searec that a module of `package` (("searec", "data"), say) imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names.update([module] if module != "searec" else [f"searec.{alias.name}" for alias in node.names])
    parts = [name.split(".") for name in names]
    return {name[1] if len(name) > 1 else "__init__" for name in parts if name[0] == "searec"}


def upward(room: str, imports: set[str]) -> set[str]:
    return {other for other in imports if other != room and LEVELS[other] >= LEVELS[room]}


def test_imports_are_found_in_every_form() -> None:
    source = (
        "import searec.data.log as log\nfrom searec import pipeline, cli\nfrom ..nn import attention\nfrom . import x"
    )
    source += "\ndef f():\n    from searec.models import base"
    assert imported_rooms(source, ("searec", "training")) == {"data", "pipeline", "cli", "nn", "training", "models"}
    assert imported_rooms("import searec", ("searec", "training")) == {"__init__"}
    assert upward("models", {"models", "nn", "data", "errors"}) == set()
    assert upward("training", {"training", "artifacts", "pipeline", "evaluation"}) == {"artifacts", "pipeline"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_a_room_imports_itself_and_lower_rooms_only(path: Path) -> None:
    package = ("searec", *path.relative_to(HOME).parts[:-1])
    room = room_of(path)
    assert upward(room, imported_rooms(path.read_text(encoding="utf-8"), package)) == set()


def test_every_room_has_a_level_and_a_name_that_says_something() -> None:
    rooms = {room_of(path) for path in FILES}
    assert rooms <= LEVELS.keys(), "give the new room a level here"
    assert not REFUSED & {part for path in FILES for part in path.relative_to(HOME).with_suffix("").parts}


def test_no_file_is_too_long() -> None:
    lengths = {str(path.relative_to(HOME)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


LIGHT = ["searec", "searec.errors", "searec.config", "searec.files", "searec.progress", "searec.data.log"] + [
    "searec.cli"
] * any(room_of(path) == "cli" for path in FILES)


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "first", ["", "searec.experiments.run_training", "searec.training.loop", "searec.evaluation.protocol"]
)
def test_public_names_are_the_same_whatever_was_imported_before(first: str) -> None:
    """`searec.train` and `searec.evaluate` are functions, though rooms of these names lie beside them."""
    names = [*searec.__all__, *reversed(searec.__all__)]
    shown = f"print(*(n for n in {names!r} if isinstance(getattr(searec, n), types.ModuleType)))"
    code = f"import types, searec{', ' + first if first else ''}\n{shown}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
