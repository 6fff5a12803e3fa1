"""The models by name. A new one is one file here and one line in MODELS; the contract test then covers it."""

from searec.config import nearest
from searec.errors import SettingsError
from searec.models.base import FittedModel, Model, Preset
from searec.models.bm25 import BM25
from searec.models.dense import Dense
from searec.models.gensar.model import GenSAR
from searec.models.gserec import GSERec
from searec.models.itemknn import ItemKNN
from searec.models.lcr_ser import LCRSER
from searec.models.popular import Popular
from searec.models.sasrec import SASRec
from searec.models.serendipity.model import Serendipity
from searec.models.tiger import Tiger
from searec.models.unisar import UniSAR
from searec.nn.losses import Losses

__all__ = [
    "BM25",
    "LCRSER",
    "MODELS",
    "Dense",
    "FittedModel",
    "GSERec",
    "GenSAR",
    "Losses",
    "Model",
    "Preset",
    "SASRec",
    "Serendipity",
    "UniSAR",
    "model_named",
]

MODELS: dict[str, type[Model]] = {
    "popular": Popular,
    "itemknn": ItemKNN,
    "bm25": BM25,
    "dense": Dense,
    "sasrec": SASRec,
    "unisar": UniSAR,
    "gserec": GSERec,
    "lcr-ser": LCRSER,
    "gensar": GenSAR,
    "tiger": Tiger,
    "serendipity": Serendipity,
}


def model_named(name: str) -> type[Model]:
    """The model class of a name.

    Raises:
        SettingsError: no such model; the nearest is named.
    """
    if name not in MODELS:
        raise SettingsError(f"unknown model {name!r}", remedy=nearest(name, list(MODELS)))
    return MODELS[name]
