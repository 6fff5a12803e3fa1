"""searec: search and recommendation over one catalogue and one set of users.

>>> import searec
>>> data = searec.load(searec.sample_folder())
>>> run = searec.train("popular", data, tmp / "run")
>>> run.recommend(["u1"], k=3).columns
['user_id', 'rank', 'item_id', 'score']
>>> searec.evaluate(run, data).summary()["protocol"]
'sampled'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searec.data.dataset import Dataset, load
    from searec.data.synthetic.simulate import World, sample_folder, simulate
    from searec.experiments.run_comparison import compare, evaluate
    from searec.experiments.run_training import train
    from searec.models import model_named, model_names
    from searec.pipeline.run import Run, read_run

__all__ = [
    "Dataset",
    "Run",
    "World",
    "compare",
    "evaluate",
    "load",
    "model_named",
    "model_names",
    "read_run",
    "sample_folder",
    "simulate",
    "train",
]

_HOMES = {
    "Dataset": "searec.data.dataset",
    "load": "searec.data.dataset",
    "World": "searec.data.synthetic.simulate",
    "simulate": "searec.data.synthetic.simulate",
    "sample_folder": "searec.data.synthetic.simulate",
    "model_named": "searec.models",
    "model_names": "searec.models",
    "Run": "searec.pipeline.run",
    "compare": "searec.experiments.run_comparison",
    "evaluate": "searec.experiments.run_comparison",
    "read_run": "searec.pipeline.run",
    "train": "searec.experiments.run_training",
}


def __getattr__(name: str) -> Any:
    # Names are fetched when used, so that `import searec` and `searec --help` do not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'searec' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
