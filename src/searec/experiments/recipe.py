"""Recipes: experiments whose lines, settings and seeds are fixed, trained, measured and compared by one call."""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from searec.config import nearest
from searec.data.dataset import Dataset, open_encoded
from searec.data.schema import Part
from searec.errors import SettingsError
from searec.evaluation.compare import Comparison
from searec.evaluation.result import PROTOCOLS, Protocol
from searec.experiments import run_comparison, run_training
from searec.models.base import Preset
from searec.pipeline.run import Run
from searec.progress import use_plain_lines


@dataclass(frozen=True)
class RecipeLine:
    """One line of a table: a model, its settings over a preset, and its seeds.

    Attributes:
        label: its name in tables.
        model: a name of `models.model_names`.
        settings: of the model or its training, over the preset.
        preset: "default" or "paper".
        seeds: a run is trained for each.
        full_requests: score only this many requests in the full protocol, drawn with a fixed seed; None for all. Runs
            are compared on the requests they share.
        unseen: share of users kept out of training (`split.Split`).
        split_at: time of a global split (`global_split.split_time`); leave-one-out by default.
        joint: whether what either task holds out ends what is learned from (`Split.joint`).
        start: the label of an earlier line, whose run of the same seed this one starts from.
        teacher: the label of an earlier line, from whose run of the same seed this one learns.
    """

    label: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: Preset = "default"
    seeds: tuple[int, ...] = (0,)
    full_requests: int | None = None
    unseen: float = 0.0
    split_at: float | str | None = None
    joint: bool = False
    start: str | None = None
    teacher: str | None = None

    def folder(self, seed: int) -> str:
        """Return the name of the run folder of a seed."""
        return self.label if len(self.seeds) == 1 else f"{self.label}-{seed}"

    def train(self, data: Dataset, out: Path, seed: int, **sources: Path) -> Run:
        """Train the run of a seed; a finished run is opened, and one that was stopped is continued.

        Args:
            data: the dataset.
            out: folder of the run folders.
            seed: one of `seeds`.
            sources: run folders of "start" and "teacher", as of `run_training.train`.
        """
        folder = out / self.folder(seed)
        return run_training.train(
            self.model,
            data,
            folder,
            preset=self.preset,
            seed=seed,
            label=self.label,
            unseen=self.unseen,
            split_at=self.split_at,
            joint=self.joint,
            resume=folder.is_dir(),
            start=sources.get("start"),
            teacher=sources.get("teacher"),
            **self.settings,
        )


@dataclass(frozen=True)
class Recipe:
    """One experiment: its lines, and how they are measured."""

    name: str
    lines: tuple[RecipeLine, ...]
    protocols: tuple[Protocol, ...] = PROTOCOLS
    part: Part = "test"

    def line(self, label: str) -> RecipeLine:
        """Return the line of a label."""
        return next(line for line in self.lines if line.label == label)

    def only(self, labels: Sequence[str]) -> tuple[RecipeLine, ...]:
        """Return the lines of these labels, in the recipe's order.

        Raises:
            SettingsError: a label it does not have.
        """
        known = [line.label for line in self.lines]
        for label in labels:
            if label not in known:
                raise SettingsError(f"no line {label!r} in the recipe", where=self.name, remedy=nearest(label, known))
        return tuple(line for line in self.lines if line.label in labels)

    def with_settings(self, settings: Mapping[str, Any]) -> "Recipe":
        """Return the recipe with these settings in every line.

        Raises:
            SettingsError: a setting in which the lines differ, which would make them one.
        """
        for name in settings:
            if len({repr(line.settings.get(name)) for line in self.lines}) > 1:
                expected = "a setting that they share"
                raise SettingsError(f"the lines differ in {name!r}", where=self.name, expected=expected)
        lines = tuple(replace(line, settings={**line.settings, **settings}) for line in self.lines)
        return replace(self, lines=lines)

    def at(self, split_at: float | str | None) -> "Recipe":
        """Return the recipe with every line trained and measured on a global split; as it is for None."""
        if split_at is None:
            return self
        return replace(self, lines=tuple(replace(line, split_at=split_at) for line in self.lines))


def train_recipe(
    recipe: Recipe, data: Dataset, out: Path | str, *, only: Sequence[str] | None = None, jobs: int = 1
) -> list[Run]:
    """Train and measure the runs of a recipe, in its order; what is finished in `out` is not done again.

    Args:
        recipe: the experiment.
        data: the dataset.
        out: folder of the run folders.
        only: the lines of these labels alone; all by default.
        jobs: processes that share the lines, each with its share of the threads.

    Raises:
        SettingsError: a label that the recipe does not have.
        RunError: a line starts from, or learns from, one that is not finished.
        Interrupted: on Ctrl-C; the same call continues.
    """
    out, runs = Path(out), []
    lines = recipe.lines if only is None else recipe.only(only)
    if jobs > 1:
        _train_in_processes(recipe, lines, data, out, jobs)
    for line in lines:
        others = {name: label for name, label in (("start", line.start), ("teacher", line.teacher)) if label}
        for seed in line.seeds:
            sources = {name: out / recipe.line(label).folder(seed) for name, label in others.items()}
            run = line.train(data, out, seed, **sources)
            for task in run.model.train_tasks:
                for protocol in recipe.protocols:
                    limit = line.full_requests if protocol == "full" else None
                    run_comparison.evaluation_of(run, task, protocol, recipe.part, max_requests=limit)
            runs.append(run)
    return runs


def _train_in_processes(recipe: Recipe, lines: Sequence[RecipeLine], data: Dataset, out: Path, jobs: int) -> None:
    """Train the lines that need no other line, the last ones first, for tables end with the most expensive models."""
    labels = [line.label for line in reversed(lines) if not (line.start or line.teacher)]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_begin_process, initargs=(threads,)) as processes:
        for future in [
            processes.submit(_train_line, recipe, (data.folder, data.fingerprint), out, label) for label in labels
        ]:
            future.result()


def _begin_process(threads: int) -> None:
    torch.set_num_threads(threads)
    use_plain_lines()


def _train_line(recipe: Recipe, encoded: tuple[Path, str], out: Path, label: str) -> None:
    train_recipe(recipe, open_encoded(*encoded), out, only=[label])


def compare_recipe(
    recipe: Recipe, data: Dataset, out: Path | str, *, only: Sequence[str] | None = None, jobs: int = 1
) -> Comparison:
    """Train and measure the runs of a recipe, and write its report to `out`/report.html.

    Args:
        recipe: the experiment.
        data: the dataset.
        out: folder of the run folders and the report.
        only: the lines of these labels alone; all by default.
        jobs: processes that share the lines.
    """
    runs = train_recipe(recipe, data, out, only=only, jobs=jobs)
    return run_comparison.compare(runs, Path(out) / "report.html", part=recipe.part, protocols=recipe.protocols)
