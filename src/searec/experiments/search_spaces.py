"""What is searched for each model, and how each joint model learns one task alone."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from searec.data.schema import Task

Space = Mapping[str, BaseDistribution]

_RATE = FloatDistribution(5e-4, 1e-2, log=True)
_DROPOUT = FloatDistribution(0.0, 0.6)

SPACES: dict[str, Space] = {
    "popular": {},
    "itemknn": {
        "neighbours": CategoricalDistribution((0, 50, 200, 1000)),
        "shrink": FloatDistribution(0.0, 100.0),
        "repeats": CategoricalDistribution((True, False)),
    },
    "bm25": {"k1": FloatDistribution(0.2, 3.0), "b": FloatDistribution(0.0, 1.0)},
    "dense": {},
    "sasrec": {
        "lr": _RATE,
        "dropout": _DROPOUT,
        "width": CategoricalDistribution((32, 50, 64, 96, 128)),
        "layers": CategoricalDistribution((1, 2, 3)),
    },
    "unisar": {
        "lr": _RATE,
        "dropout": _DROPOUT,
        "search_weight": FloatDistribution(0.03, 3.0, log=True),
        "align_weight": FloatDistribution(0.01, 1.0, log=True),
        "user": CategoricalDistribution((True, False)),
    },
    "gserec": {
        "lr": _RATE,
        "dropout": _DROPOUT,
        "layers": CategoricalDistribution((0, 1, 2, 3)),
        "user_weight": FloatDistribution(0.01, 1.0, log=True),
        "history_weight": FloatDistribution(0.001, 0.1, log=True),
    },
    "lcr-ser": {
        "lr": _RATE,
        "dropout": _DROPOUT,
        "steps": CategoricalDistribution((0, 1, 2, 3, 4)),
        "tcl_weight": FloatDistribution(0.01, 1.0, log=True),
    },
    "gensar": {
        "lr": _RATE,
        "dropout": _DROPOUT,
        "search_weight": FloatDistribution(0.1, 10.0, log=True),
        "warm_codes": CategoricalDistribution((True, False)),
    },
    "tiger": {"lr": _RATE, "dropout": _DROPOUT, "warm_codes": CategoricalDistribution((True, False))},
    "serendipity": {
        "lr": _RATE,
        "dropout": _DROPOUT,
        "contrast_weight": FloatDistribution(0.01, 1.0, log=True),
        "temperature": FloatDistribution(0.03, 1.0, log=True),
    },
}
"""Model -> setting -> where its values are searched. Every preset lies inside."""

ALONE: dict[str, dict[Task, dict[str, Any]]] = {
    "itemknn": {"recommend": {"feed_only": True}},
    "sasrec": {"recommend": {"feed_only": True}},
    "lcr-ser": {"recommend": {"src": 0}},
    "unisar": {"recommend": {"tasks": ["recommend"]}, "search": {"tasks": ["search"]}},
    "gensar": {"recommend": {"tasks": ["recommend"]}, "search": {"tasks": ["search"]}},
}
"""Model -> task -> the settings with which it does that task without what the other one brings."""

LEFT_OUT: dict[str, str] = {
    "itemknn": "clicks after searches are not counted and not read",
    "sasrec": "clicks after searches are not in the sequence",
    "lcr-ser": "search histories are not read",
    "unisar": "nothing is learnt from the other task's events; histories of both are read all the same",
    "gensar": "nothing is learnt from the other task's events; histories of both are read all the same",
}
"""What a model alone does without, in words."""
