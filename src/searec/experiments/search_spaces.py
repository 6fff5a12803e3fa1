"""What a study searches for each model, as distributions of Optuna."""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from searec.models import model_named
from searec.models.search_space import Choice

Space = Mapping[str, BaseDistribution]


def space_of(model: str) -> Space:
    """Return where each setting of a model is searched."""
    return {
        name: CategoricalDistribution(where.values)
        if isinstance(where, Choice)
        else FloatDistribution(where.low, where.high, log=where.log)
        for name, where in model_named(model).search_space.items()
    }
