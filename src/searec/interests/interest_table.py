"""Interest table: the interests of all users at some times, as arrays for a model, with the graphs they come from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from searec.data.ragged import Ints
from searec.errors import DataError, RunError
from searec.files import replacing
from searec.interests.interest_graph import InterestGraph

_ARRAYS, _TEXTS, _GRAPHS, _ABOUT = "interests.safetensors", "interests.parquet", "graphs.parquet", "about.json"
MEANINGS = 3
"""Categories that an interest may mean."""


@dataclass(frozen=True)
class InterestTable:
    """Distinct interests 1..M (0 pads) and who had which, and when.

    Attributes:
        texts: [M].
        vectors: [M + 1, E] unit vectors of the texts; row 0 is zero.
        categories: [M + 1, MEANINGS] categories each one means, 0 pads.
        times: [U + 1, S] of the snapshots, microseconds since 1970, ascending; `NEVER` where there is none. A snapshot
            rests on strictly older events.
        ids: [U + 1, S, K] interests, surest first, 0 pads.
        confidence: [U + 1, S, K] in (0, 1], 0 pads.
        graphs: of each user's last snapshot, by external id.
        about: reasoner, settings and cut-off; JSON-ready.
    """

    texts: Sequence[str]
    vectors: NDArray[np.float32]
    categories: Ints
    times: Ints
    ids: Ints
    confidence: NDArray[np.float32]
    graphs: Mapping[str, InterestGraph]
    about: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write it into a new or replaced folder."""
        with replacing(folder) as beside:
            beside.mkdir()
            arrays = {
                name: np.ascontiguousarray(getattr(self, name))
                for name in ("vectors", "categories", "times", "ids", "confidence")
            }
            save_file(arrays, beside / _ARRAYS)
            pl.DataFrame({"interest": self.texts}, schema={"interest": pl.String}).write_parquet(beside / _TEXTS)
            graphs = {"user": list(self.graphs), "graph": [graph.to_json() for graph in self.graphs.values()]}
            pl.DataFrame(graphs, schema={"user": pl.String, "graph": pl.String}).write_parquet(beside / _GRAPHS)
            (beside / _ABOUT).write_text(
                json.dumps(dict(self.about), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )

    @classmethod
    def load(cls, folder: Path) -> "InterestTable":
        """Read what `save` wrote.

        Raises:
            RunError: it is missing or damaged.
        """
        with _reading(folder):
            arrays = load_file(folder / _ARRAYS)
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            texts = pl.read_parquet(folder / _TEXTS)["interest"].to_list()
            return cls(texts=texts, graphs=read_graphs(folder), about=about, **arrays)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turn errors of missing or damaged files into a RunError."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, DataError, pl.exceptions.PolarsError) as error:
        raise RunError(
            "cannot read the interests", where=folder, got=str(error).splitlines()[0], remedy="make them again"
        ) from error


def read_graphs(folder: Path, users: Sequence[str] | None = None) -> dict[str, InterestGraph]:
    """Read the graphs that `InterestTable.save` wrote, by user.

    Args:
        folder: of the table.
        users: external ids; all by default.

    Raises:
        RunError: they are missing or damaged.
    """
    with _reading(folder):
        table = pl.scan_parquet(folder / _GRAPHS)
        if users is not None:
            table = table.filter(pl.col("user").is_in(list(users)))
        return {user: InterestGraph.from_json(text) for user, text in table.collect().iter_rows()}


def graph_texts(folder: Path) -> Mapping[str, str]:
    """Read the graphs that `InterestTable.save` wrote, as JSON by user, for `InterestGraph.from_json`.

    Raises:
        RunError: they are missing or damaged.
    """
    with _reading(folder):
        table = pl.read_parquet(folder / _GRAPHS)
        return dict(zip(table["user"], table["graph"], strict=True))
