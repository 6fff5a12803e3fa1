"""A small shop with trained runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searec.data.dataset import Dataset, load
from searec.data.synthetic.simulate import World, simulate
from searec.experiments import run_training
from searec.pipeline.deployment import Deployment

SMALL_TRUNK: dict[str, Any] = {"epochs": 1, "width": 16, "inner": 16, "layers": 1}
RUNS: dict[str, dict[str, Any]] = {
    "sasrec": {"epochs": 1, "width": 16},
    "event-transformer": {**SMALL_TRUNK, "text": True},
    "itemknn": {},
    "bm25": {},
    "dense": {},
    "unisar": {"epochs": 1, "width": 16, "epoch_steps": 20, "feed": 10, "searches": 10},
    "serendipity": {**SMALL_TRUNK, "text": True, "interests": 4, "interest_steps": 20},
}

DIALS = World(users=60, items=300, clicks=12.0, searches=16.0, families=3, types=4, seed=3)


@dataclass(frozen=True)
class Shop:
    """A dataset folder and its run folders by model."""

    folder: Path
    data: Dataset
    runs: dict[str, str]

    def deployment(self, recommend: tuple[str, ...] = (), search: tuple[str, ...] = (), **settings: Any) -> Deployment:
        return Deployment(
            data=str(self.folder),
            recommend=tuple(self.runs[name] for name in recommend),
            search=tuple(self.runs[name] for name in search),
            **settings,
        )


def build(folder: Path) -> None:
    """Write 60 users, 300 items, and a run of most models, each trained for one epoch."""
    data = load(simulate(folder / "shop", DIALS))
    for model, settings in RUNS.items():
        run_training.train(model, data, folder / model, **settings)


def opened(folder: Path) -> Shop:
    """Open what `build` has written."""
    return Shop(folder / "shop", load(folder / "shop"), {model: str(folder / model) for model in RUNS})
