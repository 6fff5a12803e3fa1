"""Settings by which every model trains in a second or two."""

from typing import Any

from searec.models import model_named

SMALL = {
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
    "beam": 64,
    "epochs": 2,
    "epoch_steps": 0,
    "batch": 32,
}


def settings(name: str, **values: Any) -> dict[str, Any]:
    """Return those of `SMALL` and `values` that a model or its training has."""
    fields = {*model_named(name).Config.__dataclass_fields__}
    fields |= {"epochs", "epoch_steps", "batch", "lr"} if model_named(name).learns == "loss" else set()
    return {key: value for key, value in {**SMALL, **values}.items() if key in fields}
