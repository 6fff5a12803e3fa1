"""The configuration of a study: which models, how many seeds, and which budget."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from searec.config import Count, Natural, NonNegative, settings
from searec.errors import SettingsError
from searec.metrics import DEFAULT, parse_metrics
from searec.models import model_named, model_names
from searec.training.train_config import Judge


@settings
class StudyConfig:
    """The settings of a study.

    Attributes:
        models: of the table; all by default.
        seeds: runs of each line, numbered from 0.
        preset: the settings of the first trial, which the others vary.
        trials: settings tried for each model, the preset first; 0 tunes nothing.
        minutes: no trial of a model begins after this many minutes of its trials; 0 for no limit.
        judge: the validation metric that chooses settings, the mean over a model's tasks: "full-ndcg@10" over the whole
            catalogue, of the feed on new targets, or "ndcg@5" among the sampled candidates.
        tuning_requests: validation requests that a trial is measured on, drawn with a fixed seed; 0 for all.
        full_requests: test requests of the full protocol, drawn with a fixed seed; 0 for all.
        metrics: what the tables show, such as "ndcg@20,recall@50"; each shows those defined for its task and protocol.
        alone: also train each joint model on one task alone.
        split_at: of one global split for all models (`data.global_split.split_time`); None for leave-one-out.
        fixed: model -> settings that are not searched, such as a smaller width for a first look.
    """

    models: tuple[str, ...] = Field(default_factory=model_names)
    seeds: Count = 3
    preset: Literal["default", "paper"] = "default"
    trials: Natural = 10
    minutes: NonNegative = 0.0
    judge: Judge = "full-ndcg@10"
    tuning_requests: Natural = 2_000
    full_requests: Natural = 2_000
    metrics: str = DEFAULT
    alone: bool = True
    split_at: int | float | str | None = None
    fixed: Annotated[Mapping[str, Mapping[str, Any]], Field(default_factory=dict)]

    def __post_init__(self) -> None:
        for name in (*self.models, *self.fixed):
            model_named(name)
        parse_metrics(self.metrics)
        if not self.models:
            raise SettingsError("a study needs a model", got="none", expected=", ".join(model_names()))


def settings_by_model(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return MODEL.KEY -> value, as the command line gives them, by model.

    Raises:
        SettingsError: a name without a model.

    >>> settings_by_model({"sasrec.width": "32", "lcr-ser.steps": "2"})
    {'sasrec': {'width': '32'}, 'lcr-ser': {'steps': '2'}}
    """
    by_model: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        model, dot, key = name.partition(".")
        if not dot or not key:
            expected = "MODEL.KEY=VALUE, such as sasrec.width=32"
            raise SettingsError(f"bad setting {name!r}", where="study", expected=expected)
        by_model.setdefault(model, {})[key] = value
    return by_model
