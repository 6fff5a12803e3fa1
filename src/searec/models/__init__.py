"""The models by name.

A new model is one file here and one line in `BUILT_IN`, or one entry point of the group `searec.models` in another
package. Help texts, studies, the contract test and the table of models in the docs follow from what it declares.
"""

from typing import TYPE_CHECKING, Any

from searec.errors import SettingsError
from searec.plugins import Registry

if TYPE_CHECKING:
    from searec.models.base import Model

__all__ = ["BUILT_IN", "form_of", "model_named", "model_names"]

BUILT_IN = {
    "popular": "searec.models.popular:Popular",
    "itemknn": "searec.models.itemknn:ItemKNN",
    "ease": "searec.models.ease:EASE",
    "bm25": "searec.models.bm25:BM25",
    "dense": "searec.models.dense:Dense",
    "event-transformer": "searec.models.event_transformer:EventTransformer",
    "sasrec": "searec.models.sasrec:SASRec",
    "unisar": "searec.models.unisar:UniSAR",
    "gserec": "searec.models.gserec:GSERec",
    "lcr-ser": "searec.models.lcr_ser_exits:LCRSERWithExits",
    "gserec-paper": "searec.models.gserec_paper:GSERecPaper",
    "lcr-ser-paper": "searec.models.lcr_ser_paper:LCRSERPaper",
    "gensar": "searec.models.gensar.model:GenSAR",
    "tiger": "searec.models.tiger:Tiger",
    "gensar-paper": "searec.models.gensar.paper:GenSARPaper",
    "tiger-paper": "searec.models.tiger_paper:TigerPaper",
    "serendipity": "searec.models.serendipity.model:Serendipity",
    "serendipity-paper": "searec.models.serendipity.paper:SerendipityPaper",
}
_MODELS = Registry("model", BUILT_IN, group="searec.models")


def model_names() -> tuple[str, ...]:
    """Return the names of all models, those of other packages last; no model is imported."""
    return _MODELS.names()


def model_named(name: str) -> "type[Model]":
    """Return the model class of a name; nothing of the other models is imported.

    Raises:
        SettingsError: no such model (the nearest is named), or another package declares something else by that name.
        DependencyError: the package that declares it cannot be imported.
    """
    kind: Any = _MODELS.named(name)
    if name not in BUILT_IN:
        from searec.models.base import Model

        if not (isinstance(kind, type) and issubclass(kind, Model)) or kind.name != name:
            raise SettingsError(
                f"an installed package declares the model {name!r} as something else",
                got=getattr(kind, "name", kind),
                expected=f"a subclass of searec.models.base.Model whose name is {name!r}",
                remedy="repair or uninstall the package",
            )
    return kind  # type: ignore[no-any-return]


def form_of(model: str, preset: str) -> str:
    """Return the name of the model that a preset trains: `Model.paper_form` for "paper", if the model has one.

    Args:
        model: a name of `model_names`.
        preset: "default" or "paper".
    """
    return (model_named(model).paper_form if preset == "paper" else None) or model
