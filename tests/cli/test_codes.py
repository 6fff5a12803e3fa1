"""`searec codes` and a gserec training from the command line, Ctrl-C in the middle of the codes included."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from searec.data.synthetic.simulate import World, simulate

TINY = ["--set", "levels=2", "--set", "codes=8", "--set", "code_epochs=2"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 users."""
    return simulate(
        tmp_path_factory.mktemp("codes") / "world",
        World(users=60, items=80, families=2, types=2, clicks=8.0, searches=12.0, seed=1),
    )


def test_codes_are_made_shown_and_copied(world: Path, tmp_path: Path, searec: Any) -> None:
    code, out, _ = searec("codes", world, *TINY, "--out", tmp_path / "codes", "--json", tmp_path / "codes.json")
    assert code == 0
    assert "offline summariser (no language model)" in out and "2 x 8 codes a side" in out
    assert "60 of 60 users have codes" in out
    about = json.loads((tmp_path / "codes.json").read_text())
    assert about["summaries"]["summariser"] == "offline" and len(about["use"]["search"]) == 2
    assert np.load(tmp_path / "codes" / "codes.npy").shape == (61, 2, 2)
    assert searec("codes", world, *TINY)[1] == out.replace(f"wrote {tmp_path / 'codes'}\n", ""), "made once, then shown"
    alone = searec("codes", world, *TINY, "--out", tmp_path / "again", "--json", "-")[1]
    assert json.loads(alone) == about, "nothing but JSON"
    code, _, error = searec("codes", world, "--set", "level=3")
    assert code == 1 and "levels" in error
    code, _, error = searec("codes", world, "--set", "summaries=chat")
    assert code == 1 and "chat_model" in error


def test_train_runs_all_stages_and_the_folder_says_who_wrote_the_texts(
    world: Path, tmp_path: Path, searec: Any
) -> None:
    quick = [*TINY, "--set", "epochs=1", "--set", "width=8", "--set", "validation_requests=20"]
    code, _, error = searec("train", "gserec-paper", world, "--out", tmp_path / "run", "--unseen", "0.2", *quick)
    assert code == 0, error
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["split"]["unseen"] == 0.2 and config["settings"]["model"]["summaries"] == "offline"
    assert (
        json.loads((tmp_path / "run" / "artifacts" / "about.json").read_text())["summaries"]["summariser"] == "offline"
    )
    code, out, _ = searec("evaluate", tmp_path / "run", world)
    assert code == 0 and "unseen-user" in out
    code, out, _ = searec(
        "audit",
        tmp_path / "run",
        world,
        "--out",
        tmp_path / "audit.html",
        "--users",
        "3",
        "--points",
        "20",
        "--json",
        "-",
    )
    assert code == 0 and json.loads(out)["depths"] == {"gserec-paper": 2}, "nothing but JSON"
    code, out, _ = searec(
        "audit", tmp_path / "run", world, "--out", tmp_path / "audit.html", "--users", "3", "--points", "20"
    )
    assert code == 0 and f"audit: {tmp_path / 'audit.html'}" in out
    for command in ("audit", "compare"):
        code, _, error = searec(command, world)
        assert code == 1 and f"nothing to {command}" in error


EPOCHS = 20


def test_ctrl_c_while_codes_are_learned_goes_on_to_the_same_codes(world: Path, tmp_path: Path) -> None:
    def command(cache: str, epochs: int) -> list[str]:
        settings = ["--set", "levels=2", "--set", "codes=8", "--set", f"code_epochs={epochs}", "--set", "code_batch=8"]
        return [
            sys.executable,
            "-m",
            "searec",
            "codes",
            str(world),
            *settings,
            "--out",
            str(tmp_path / cache / "out"),
        ]

    def environment(cache: str) -> dict[str, str]:
        return {**os.environ, "SEAREC_CACHE": str(tmp_path / cache), "OMP_NUM_THREADS": "1"}

    subprocess.run(command("whole", EPOCHS), env=environment("whole"), check=True, capture_output=True)
    shutil.copytree(tmp_path / "whole" / "vectors", tmp_path / "broken" / "vectors")  # the sentence encoder is slow
    broken = subprocess.Popen(
        command("broken", EPOCHS), env=environment("broken"), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    checkpoints = (tmp_path / "broken" / "artifacts").glob
    while broken.poll() is None and not list(checkpoints("*.training/checkpoint.safetensors")):
        time.sleep(0.05)
    broken.send_signal(signal.SIGINT)
    _, error = broken.communicate(timeout=60)
    assert broken.returncode == 1 and "stopped on request" in error, error
    subprocess.run(command("broken", EPOCHS), env=environment("broken"), check=True, capture_output=True)
    for name in ("codes.npy", "rqvae.safetensors"):
        assert (tmp_path / "broken" / "out" / name).read_bytes() == (tmp_path / "whole" / "out" / name).read_bytes()
