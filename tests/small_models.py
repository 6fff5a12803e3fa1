"""Settings by which every model trains in a second or two."""

from typing import Any

from searec.models import model_named

MODEL: dict[str, Any] = {
    "width": 16,
    "inner": 16,
    "layers": 1,
    "length": 16,
    "levels": 2,
    "codes": 8,
    "code_epochs": 4,
    "code_least": 0,
    "heads": 2,
    "head_width": 8,
    "vocabulary": 300,
    "beam": 160,
    "reasoning_steps": 10,
    "interest_steps": 10,
}
"""Taken up by each model that has such a setting."""
TRAINING: dict[str, Any] = {"epochs": 2, "epoch_steps": 0, "batch": 32}
"""Passes over the data, instead of the many steps that an epoch has by default."""


def settings(name: str, **values: Any) -> dict[str, Any]:
    """Return those of `MODEL`, `TRAINING` and `values` that a model or its training has."""
    fields = {*model_named(name).Config.__dataclass_fields__}
    fields |= {"epochs", "epoch_steps", "batch", "lr"} if model_named(name).learns == "loss" else set()
    return {key: value for key, value in {**MODEL, **TRAINING, **values}.items() if key in fields}
