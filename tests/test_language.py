"""The language of the source: field terms instead of private words, and docstrings that document their arguments."""

import ast
import re
from pathlib import Path

import pytest

import searec

HOME = Path(searec.__file__).parent
ROOT = HOME.parents[1]
FILES = sorted(HOME.rglob("*.py"))
PRIVATE = re.compile(
    r"\b(told|asked|asks|wanted|wants|brought|brings|taught|longings?|wish(es)?|shelf|lanes?|woven|whoever|whom|so many"
    r"|stands? (in|for|on|at|between|beside)|lets? in|takes? up|takes? in)\b",
    re.IGNORECASE,
)
"""Words that say nothing to a reader from elsewhere. Identifiers are read in their parts: `_told_rows` has `told`."""
VAGUE = {"found", "told", "own", "some", "kept", "mine", "asked", "wanted", "brought", "made"}
"""Names of variables that do not say what they hold."""
VOCABULARY = {"data/synthetic/world_words.py", "models/gensar/prompt_templates.py"}
"""Files whose words are data."""
UNDOCUMENTED = ("cli/", "store/migrations/", "service/http/routes/")
"""Where arguments are documented otherwise: help texts, migrations, and OpenAPI."""


def private_words(source: str) -> list[str]:
    """`line: word` of each private word."""
    lines = source.replace("_", " ").splitlines()
    return [f"{number}: {hit.group(0)}" for number, line in enumerate(lines, 1) for hit in PRIVATE.finditer(line)]


def vague_names(source: str) -> list[str]:
    """`line: name` of each variable or argument whose name is vague."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE:
            names.append(f"{node.lineno}: {node.id}")
        elif isinstance(node, ast.arg) and node.arg in VAGUE:
            names.append(f"{node.lineno}: {node.arg}")
    return names


def without_args(source: str) -> list[str]:
    """`line: name` of each public function with two arguments or more whose docstring has no Args section."""
    missing = []

    def visit(body: list[ast.stmt], public: bool) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                visit(node.body, public and not node.name.startswith("_"))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                decorators = {ast.unparse(one).split("(")[0].split(".")[-1] for one in node.decorator_list}
                given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                count = len([one for one in given if one.arg not in ("self", "cls")])
                if node.name.startswith("_") or not public or count < 2 or decorators & {"override", "overload"}:
                    continue
                if "Args:" not in (ast.get_docstring(node) or ""):
                    missing.append(f"{node.lineno}: {node.name}")

    visit(ast.parse(source).body, public=True)
    return missing


def test_the_rules_find_what_they_are_for() -> None:
    source = "def f(a, b):\n    '''Who is asked.'''\n    found = a.told_rows\n"
    assert private_words(source) == ["2: asked", "3: told"]
    assert vague_names(source) == ["3: found"]
    assert without_args(source) == ["1: f"]
    assert without_args("def f(a, b):\n    '''Add.\n\n    Args:\n        a: one.\n        b: two.\n    '''") == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_source_uses_plain_technical_english(path: Path) -> None:
    name, source = path.relative_to(HOME).as_posix(), path.read_text(encoding="utf-8")
    if name not in VOCABULARY:
        assert private_words(source) == []
    assert vague_names(source) == []
    if not name.startswith(UNDOCUMENTED):
        assert without_args(source) == []


def test_markdown_lines_are_short() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    long = [
        f"{page.name}:{n}"
        for page in pages
        for n, line in enumerate(page.read_text("utf-8").splitlines(), 1)
        if len(line) > 120
    ]
    assert long == []
