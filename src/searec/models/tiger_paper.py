"""tiger-paper: generative retrieval by semantic identifiers with a T5, as published (arXiv 2305.05065)."""

from typing import Any, ClassVar

from searec.data.schema import Task
from searec.models.base import Preset
from searec.models.gensar.paper import GenSARPaper
from searec.models.search_space import DROPOUT, LEARNING_RATE, Choice

_TIGER: dict[str, Any] = {
    "tasks": ("recommend",),
    "scheme": "semantic",
    "shared": 3,
    "specific": 0,
    "sinkhorn_rounds": 0,
    "feed": 20,
    "searches": 0,
    "user_tokens": 2000,
    "identify_weight": 0.0,
    "describe_weight": 0.0,
}


class TigerPaper(GenSARPaper):
    """The next item's semantic identifier from those of the items clicked before (arXiv 2305.05065)."""

    name = "tiger-paper"
    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    search_space: ClassVar = {"lr": LEARNING_RATE, "dropout": DROPOUT, "warm_codes": Choice((True, False))}
    single_task: ClassVar = {}
    single_task_note = ""
    presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "default": {**GenSARPaper.presets["default"], **_TIGER},
        "paper": {
            **_TIGER,
            "warm_codes": False,
            "width": 128,
            "layers": 4,
            "heads": 6,
            "head_width": 64,
            "inner": 1024,
            "code_standardise": False,
            "code_epochs": 500,
            "code_batch": 1024,
            "code_least": 0,
        },
    }
    train_presets = GenSARPaper.train_presets
