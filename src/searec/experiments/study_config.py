"""How a study is made: which models, seeds and budget."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from searec.config import Count, Natural, NonNegative, settings
from searec.errors import SettingsError
from searec.metrics import DEFAULT, parse_metrics
from searec.models import model_named, model_names


@settings
class StudyPlan:
    """A study's settings.

    models: of the table, all by default. seeds: runs of each line, numbered from 0. preset: the settings that the first trial takes
        and that the others vary.
    trials: settings tried for a model, the preset's first; 0 tunes nothing. minutes: no trial of a model begins after so many, 0 for
        no limit. Both are the same for every model.
    tuning_requests: validation requests a trial is measured on, full_requests: test requests of the full protocol; 0 for all. They
        are drawn with a fixed seed, the same for every model.
    metrics: what the tables show, such as "ndcg@20,recall@50"; a table shows those defined for its task and protocol.
    alone: also train each joint model on one task alone.
    fixed: model -> settings that are not searched, such as a smaller width for a first look.
    """

    models: tuple[str, ...] = Field(default_factory=model_names)
    seeds: Count = 3
    preset: Literal["small", "paper"] = "small"
    trials: Natural = 10
    minutes: NonNegative = 0.0
    tuning_requests: Natural = 2_000
    full_requests: Natural = 2_000
    metrics: str = DEFAULT
    alone: bool = True
    fixed: Annotated[Mapping[str, Mapping[str, Any]], Field(default_factory=dict)]

    def __post_init__(self) -> None:
        for name in (*self.models, *self.fixed):
            model_named(name)
        parse_metrics(self.metrics)
        if not self.models:
            raise SettingsError("a study needs a model", got="none", expected=", ".join(model_names()))


def fixed_of(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """MODEL.KEY -> value, as the command line gives them, by model.

    Raises:
        SettingsError: a name without a model.

    >>> fixed_of({"sasrec.width": "32", "lcr-ser.steps": "2"})
    {'sasrec': {'width': '32'}, 'lcr-ser': {'steps': '2'}}
    """
    found: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        model, dot, key = name.partition(".")
        if not dot or not key:
            raise SettingsError(
                f"bad setting {name!r}", where="study", expected="MODEL.KEY=VALUE, such as sasrec.width=32"
            )
        found.setdefault(model, {})[key] = value
    return found
