"""The README's Python runs as it stands there, and its commands exist."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from searec.cli import app

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "ndcg@10" in capsys.readouterr().out


def test_every_command_and_option_in_the_readme_exists() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    lines = re.findall(r"^ {4}searec (.+)$", README, flags=re.M)
    assert lines
    for line in lines:
        name, *rest = line.split()
        command = commands[name]
        if hasattr(command, "commands"):
            command, rest = command.commands[rest[0]], rest[1:]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, line


def test_every_model_is_in_the_readme() -> None:
    from searec.models import model_names

    assert all(f"| {name} |" in README for name in model_names())
