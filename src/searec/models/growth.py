"""Growth: how the numbers of a run's users, items and words map to those of a dataset that has grown since.

Internal ids are of one dataset. A run therefore keeps the external ids behind the rows of its weights, and is opened on
other data by these names alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from searec.data.attributes import user_attributes
from searec.data.dataset import Dataset
from searec.data.ragged import Ints
from searec.data.taxonomy import Taxonomy
from searec.errors import RunError
from searec.files import fingerprint, replacing
from searec.search.lexical_index import LexicalIndex
from searec.search.nearest_items import NearestItems

Axis = Literal["users", "items", "queries", "words", "categories", "attributes"]
"""What the rows of a tensor are of."""
AXES: tuple[Axis, ...] = ("users", "items", "queries", "words", "categories", "attributes")
LEAST = 0.5
"""Share of a run's items that a dataset must hold to be the run's data, grown."""
_COLUMN, _SAMPLE = "id", "titles"
_TITLES = 1_000


@dataclass(frozen=True)
class Rows:
    """Which dimension of a tensor goes by internal ids, and what a new row starts as.

    Attributes:
        of: what the rows are of; row 0 is padding, row n is internal id n.
        dim: the dimension.
        new: "copy" gives a new item the row of the known item nearest to it in words, and anything else new row 0,
            which is what unknown ids read; "zero" gives zeros.
    """

    of: Axis
    dim: int = 0
    new: Literal["copy", "zero"] = "copy"


ALWAYS: tuple[Axis, ...] = ("users", "items")
"""What every run keeps the external ids of."""


def vocabulary(data: Dataset, axis: Axis) -> pl.Series:
    """Return the external ids behind the internal ids 1..N.

    Args:
        data: the dataset.
        axis: what the ids are of.
    """
    if axis == "words":
        return pl.Series(list(data.word_index), dtype=pl.String)
    if axis == "attributes":
        return user_attributes(data)[0]
    names: dict[Axis, pl.Series] = {
        "users": data.users.texts,
        "items": data.items.texts,
        "queries": data.queries.texts,
        "categories": data.category_names.texts,
    }
    return names[axis]


def write_vocabularies(folder: Path, data: Dataset, axes: Iterable[Axis]) -> dict[str, str]:
    """Write the external ids behind the internal ids of a dataset, and return the digest of each file by axis.

    Args:
        folder: to write a Parquet file to for each axis.
        data: the dataset.
        axes: what the weights of the run have rows of; those of users and items are written in any case.
    """
    tables: dict[str, pl.DataFrame] = {
        axis: pl.DataFrame({_COLUMN: vocabulary(data, axis)}, schema={_COLUMN: pl.String})
        for axis in dict.fromkeys((*ALWAYS, *sorted(axes)))
    }
    every = -(-data.sizes.items // _TITLES)
    titles = data.item_table.select(pl.col("item_id").alias(_COLUMN), "title").gather_every(every)
    digests: dict[str, str] = {}
    with replacing(folder) as beside:
        beside.mkdir()
        for name, table in {**tables, _SAMPLE: titles}.items():
            path = beside / f"{name}.parquet"
            table.write_parquet(path)
            digests[name] = fingerprint(path)
    return digests


def _read_tables(folder: Path, digests: Mapping[str, str]) -> dict[str, pl.DataFrame]:
    tables = {}
    for name, digest in digests.items():
        path = folder / f"{name}.parquet"
        try:
            tables[name] = pl.read_parquet(path)
            is_whole = fingerprint(path) == digest
        except (OSError, pl.exceptions.PolarsError) as error:
            got = str(error).splitlines()[0]
            raise RunError(
                "cannot read a vocabulary of the run", where=path, got=got, remedy="train the run again"
            ) from error
        if not is_whole:
            raise RunError("a vocabulary of the run was changed", where=path, remedy="train the run again")
    return tables


@dataclass(frozen=True)
class Growth:
    """The numbers of a run's data and those of a dataset that has grown since, joined by name.

    Attributes:
        before: the external ids behind the run's internal ids.
        titles: id and title of some of the run's items. Numbers as ids are the same in datasets of all kinds.
        data: the dataset.
    """

    before: Mapping[Axis, pl.Series]
    titles: pl.DataFrame
    data: Dataset

    @classmethod
    def of(cls, folder: Path, digests: Mapping[str, str], data: Dataset) -> "Growth":
        """Return the growth of a run's data, from what `write_vocabularies` wrote.

        Args:
            folder: of the files.
            digests: of the files, by name.
            data: the dataset that has grown.

        Raises:
            RunError: a file is missing or was changed.
        """
        tables = _read_tables(folder, digests)
        return cls({axis: tables[axis][_COLUMN] for axis in AXES if axis in tables}, tables[_SAMPLE], data)

    @cached_property
    def _sources(self) -> dict[Axis, Ints]:
        return {}

    def refuse_other_data(self, where: Path) -> None:
        """Refuse a dataset that is not the run's, grown.

        Args:
            where: the run folder.

        Raises:
            RunError: it holds fewer than half of the run's items, or fewer than half under their titles.
        """
        counts = {axis: int((self.source(axis) > 0).sum()) for axis in ALWAYS}
        items, users = len(self.before["items"]), len(self.before["users"])
        here = self.data.item_table.select(pl.col("item_id").alias(_COLUMN), now="title")
        both = self.titles.join(here, on=_COLUMN)
        same = int(both["title"].eq_missing(both["now"]).sum())
        if counts["items"] < LEAST * items or same < LEAST * both.height:
            raise RunError(
                "the run was trained on other data",
                where=where,
                got=f"{counts['items']:,} of its {items:,} items and {counts['users']:,} of its {users:,} users "
                f"are in this dataset; of {both.height:,} items looked at {same:,} have the same title",
                expected=f"at least {LEAST:.0%} of its items, under their titles",
                remedy="name the dataset it was trained on, as it is or grown, or train again",
            )

    def source(self, axis: Axis) -> Ints:
        """Return [N + 1] the run's number of each row of the dataset; 0 for new ones and padding."""
        if axis not in self._sources:
            schema = {"name": pl.String}
            known = pl.DataFrame({"name": self.before[axis]}, schema=schema).with_row_index("at", offset=1)
            rows = pl.DataFrame({"name": vocabulary(self.data, axis)}, schema=schema)
            at = rows.join(known, on="name", how="left", maintain_order="left")["at"].fill_null(0)
            self._sources[axis] = np.concatenate(([0], at.to_numpy().astype(np.int64)))
        return self._sources[axis]

    def new(self, axis: Axis) -> Ints:
        """Return the internal ids in the dataset of what the run does not know, ascending."""
        return np.flatnonzero(self.source(axis)[1:] == 0) + 1

    def numbers(self, axis: Axis) -> Ints:
        """Return [N + 1] the dataset's number of each row of the run; 0 for removed ones and padding."""
        source = self.source(axis)
        numbers = np.zeros(len(self.before[axis]) + 1, dtype=np.int64)
        numbers[source] = np.arange(len(source))
        numbers[0] = 0
        return numbers

    @cached_property
    def proxies(self) -> Ints:
        """[I + 1] the run's number of the item that each one goes by: itself, the known one nearest in words, or 0."""
        source = self.source("items")
        new = self.new("items")
        if not len(new):
            return source
        known: NDArray[np.bool_] = source > 0
        nearest = NearestItems(LexicalIndex.of(self.data), Taxonomy.of(self.data), known)
        texts = self.data.item_texts()
        proxies = source.copy()
        for item in new.tolist():
            categories = [self.data.category_names.texts[at - 1] for at in self.data.item_categories.row(item).tolist()]
            proxies[item] = source[nearest.find(texts[item - 1], categories)]
        return proxies

    def gather(self, tensor: Tensor, rows: Rows) -> Tensor:
        """Return a tensor of the run with the rows of the dataset.

        Args:
            tensor: of the run's state.
            rows: which dimension goes by what.
        """
        if tensor.shape[rows.dim] == 1 and len(self.before[rows.of]):
            return tensor  # a table of row 0 alone, which the settings left without rows
        source = self.source(rows.of)
        places = self.proxies if rows.of == "items" and rows.new == "copy" else source
        moved = tensor.index_select(rows.dim, torch.from_numpy(places).to(tensor.device))
        if rows.new == "zero":
            is_new = torch.from_numpy(np.flatnonzero(source[1:] == 0) + 1).to(tensor.device)
            moved.index_fill_(rows.dim, is_new, 0)
        return moved.contiguous()

    def gather_all(self, state: Mapping[str, Tensor], rows: Mapping[str, Rows]) -> dict[str, Tensor]:
        """Return a state with the rows of the dataset; tensors that `rows` does not name stay as they are.

        Args:
            state: of a model of the run's data.
            rows: of the model.
        """
        return {name: self.gather(tensor, rows[name]) if name in rows else tensor for name, tensor in state.items()}
