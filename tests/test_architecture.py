"""The structure: packages import downwards, files form no circles, models are known by what they declare."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import searec

HOME = Path(searec.__file__).parent
LEVELS = {
    **dict.fromkeys(("errors",), 0),
    **dict.fromkeys(("config", "files", "progress", "threads"), 1),
    **dict.fromkeys(("plugins", "text"), 2),
    **dict.fromkeys(("data",), 3),
    **dict.fromkeys(("nn", "metrics"), 4),
    **dict.fromkeys(("semantic_ids", "interests", "retrieval", "search"), 5),
    **dict.fromkeys(("distillation", "store", "models"), 6),
    **dict.fromkeys(("evaluation",), 7),
    **dict.fromkeys(("training",), 8),
    **dict.fromkeys(("artifacts",), 9),
    **dict.fromkeys(("pipeline",), 10),
    **dict.fromkeys(("reports",), 11),
    **dict.fromkeys(("experiments",), 12),
    **dict.fromkeys(("service", "scale"), 13),
    **dict.fromkeys(("cli",), 14),
    **dict.fromkeys(("__init__", "__main__"), 15),
}
REFUSED = {"utils", "util", "common", "helpers", "helper", "misc"}
HEAVY = ("torch", "matplotlib", "sentence_transformers", "pandas")
LONGEST = 450
FILES = sorted(HOME.rglob("*.py"))


def package_of(path: Path, home: Path = HOME) -> str:
    return path.relative_to(home).with_suffix("").parts[0]


def imported_packages(source: str, package: tuple[str, ...]) -> set[str]:
    """The packages of searec that a module of `package` (("searec", "data"), say) imports, anywhere in it."""
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


def upward(package: str, imports: set[str]) -> set[str]:
    return {other for other in imports if other != package and LEVELS[other] >= LEVELS[package]}


def test_imports_are_found_in_every_form() -> None:
    source = (
        "import searec.data.log as log\nfrom searec import pipeline, cli\nfrom ..nn import attention\nfrom . import x"
    )
    source += "\ndef f():\n    from searec.models import base"
    assert imported_packages(source, ("searec", "training")) == {"data", "pipeline", "cli", "nn", "training", "models"}
    assert imported_packages("import searec", ("searec", "training")) == {"__init__"}
    assert upward("models", {"models", "nn", "data", "errors"}) == set()
    assert upward("training", {"training", "artifacts", "pipeline", "evaluation"}) == {"artifacts", "pipeline"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_a_package_imports_itself_and_lower_packages_only(path: Path) -> None:
    package = ("searec", *path.relative_to(HOME).parts[:-1])
    own_package = package_of(path)
    assert upward(own_package, imported_packages(path.read_text(encoding="utf-8"), package)) == set()


def test_every_package_has_a_level_and_a_name_that_says_something() -> None:
    packages = {package_of(path) for path in FILES}
    assert packages <= LEVELS.keys(), "give the new package a level here"
    assert not REFUSED & {part for path in FILES for part in path.relative_to(HOME).with_suffix("").parts}


def test_no_file_is_too_long() -> None:
    lengths = {str(path.relative_to(HOME)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


LIGHT = ["searec", "searec.errors", "searec.config", "searec.files", "searec.progress", "searec.data.log"] + [
    "searec.cli"
] * any(package_of(path) == "cli" for path in FILES)


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "first", ["", "searec.experiments.run_training", "searec.training.loop", "searec.evaluation.protocol"]
)
def test_public_names_are_the_same_whatever_was_imported_before(first: str) -> None:
    """`searec.train` and `searec.evaluate` are functions, though packages of similar names exist."""
    names = [*searec.__all__, *reversed(searec.__all__)]
    shown = f"print(*(n for n in {names!r} if isinstance(getattr(searec, n), types.ModuleType)))"
    code = f"import types, searec{', ' + first if first else ''}\n{shown}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# --- files ---


def module_of(path: Path) -> str:
    return ".".join(("searec", *path.relative_to(HOME).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imported_modules(source: str) -> set[str]:
    """The modules of searec that a source imports anywhere, but for types alone."""
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
            names.add(node.module)
    return names & MODULES.keys()


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {
        name: {other for other in imported_modules(path.read_text(encoding="utf-8")) if other != name}
        for name, path in MODULES.items()
        if path.name != "__init__.py"
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


# --- models ---

OUTSIDE = [path for path in FILES if package_of(path) != "models"]


def model_classes() -> set[str]:
    from searec.models import BUILT_IN

    return {target.rpartition(":")[2] for target in BUILT_IN.values()}


def class_checks(source: str, classes: set[str], models: set[str]) -> list[str]:
    """`line: code` of each check for a model class, and of each comparison of something with a model's name."""
    hits = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass", "type"):
            names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
            names |= {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
            if names & classes:
                hits.append(f"{node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Compare):
            constants = {inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)}
            if constants & models and ("model" in ast.unparse(node) or ".name" in ast.unparse(node)):
                hits.append(f"{node.lineno}: {ast.unparse(node)}")
    return hits


def test_checks_for_models_are_found() -> None:
    classes, models = {"SASRec"}, {"sasrec"}
    assert class_checks("isinstance(run.model, SASRec | base.Other)", classes, models)
    assert class_checks("ok = run.model.name == 'sasrec'", classes, models)
    assert class_checks("ok = model.name in ('sasrec', 'x')", classes, models)
    assert not class_checks("isinstance(run.model, HasItemVectors) and label == 'sasrec'", classes, models)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(HOME)))
def test_nothing_outside_models_checks_for_a_model(path: Path) -> None:
    from searec.models import BUILT_IN

    assert class_checks(path.read_text(encoding="utf-8"), model_classes(), set(BUILT_IN)) == []
