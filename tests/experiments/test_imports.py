"""What is imported: nothing heavy by `import searec` and the command line, and no other model's parts by a training."""

import subprocess
import sys
from pathlib import Path
from typing import Any

OF_OTHERS = (
    "searec.interests",
    "searec.distillation",
    "searec.models.gensar",
    "searec.models.lcr_ser_paper",
    "searec.models.serendipity",
    "searec.semantic_ids",
    "searec.training.ranking_policy",
    "searec.training.early_exit",
    "searec.training.ranking_distillation",
    "searec.experiments.recipes",
    "transformers",
    "faiss",
    "sklearn",
    "sentence_transformers",
    "optuna",
    "jinja2",
)


def loaded(code: str, *arguments: str) -> set[str]:
    """Return the names of all modules, and of the packages they are in, that a program has loaded at its end."""
    program = f"import sys\n{code}\nprint('\\n', *sys.modules)"
    run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    names = run.stdout.splitlines()[-1].split()
    return {".".join(name.split(".")[:length]) for name in names for length in range(1, name.count(".") + 2)}


def test_training_one_model_loads_nothing_that_only_others_need(checkerboard: Any, tmp_path: Path) -> None:
    code = (
        "import searec\n"
        "data = searec.load(sys.argv[1])\n"
        "searec.train('sasrec', data, sys.argv[2], width=8, inner=8, epochs=1, batch=64)"
    )
    modules = loaded(code, str(checkerboard.folder), str(tmp_path / "run"))
    assert "searec.models.sasrec" in modules and "searec.training.loop" in modules
    assert not modules & set(OF_OTHERS)


def test_the_package_and_its_command_line_load_neither_torch_nor_data_libraries() -> None:
    modules = loaded("import searec, searec.cli")
    assert not modules & {"torch", "numpy", "polars", "scipy", "matplotlib", "pydantic", *OF_OTHERS}
