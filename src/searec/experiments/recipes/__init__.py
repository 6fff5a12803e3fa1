"""Recipes: one function is one experiment's whole configuration."""

from collections.abc import Callable

from searec.config import nearest
from searec.errors import SettingsError
from searec.experiments.recipe import Recipe, RecipeLine
from searec.experiments.recipes.baselines import baselines, demo, headline, tuning_sasrec, tuning_simple, tuning_unisar
from searec.experiments.recipes.gensar import gensar, gensar_tradeoff
from searec.experiments.recipes.gserec import gserec, gserec_ablations, gserec_unseen, gserec_world
from searec.experiments.recipes.lcr_ser import lcr_ser, lcr_ser_cost, lcr_ser_report, lcr_ser_reward
from searec.experiments.recipes.published import published
from searec.experiments.recipes.serendipity import serendipity

__all__ = ["RECIPES", "Recipe", "RecipeLine", "recipe_named"]

RECIPES: dict[str, Callable[[], Recipe]] = {
    "demo": demo,
    "headline": headline,
    "baselines": baselines,
    "tuning-simple": tuning_simple,
    "tuning-sasrec": tuning_sasrec,
    "tuning-unisar": tuning_unisar,
    "gserec": gserec,
    "gserec-ablations": gserec_ablations,
    "gserec-unseen": gserec_unseen,
    "gserec-world": gserec_world,
    "lcr-ser": lcr_ser,
    "lcr-ser-cost": lcr_ser_cost,
    "lcr-ser-reward": lcr_ser_reward,
    "lcr-ser-report": lcr_ser_report,
    "published": published,
    "gensar": gensar,
    "gensar-tradeoff": gensar_tradeoff,
    "serendipity": serendipity,
}


def recipe_named(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        SettingsError: no such recipe; the nearest is named.
    """
    if name not in RECIPES:
        raise SettingsError(f"unknown recipe {name!r}", remedy=nearest(name, list(RECIPES)))
    return RECIPES[name]()
