"""bm25: the words of the query against the words of the item."""

from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from searec.config import Positive, Share, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset
from searec.data.lexical import bm25_index
from searec.data.schema import Task
from searec.data.sparse import SparseRows
from searec.data.split import Split
from searec.models.base import FittedModel
from searec.models.growth import Growth
from searec.models.search_space import Range
from searec.search.postings import FieldWeights


class BM25(FittedModel):
    """BM25 (Lucene variant, by bm25s) over title, brand, categories and description."""

    name = "bm25"
    tasks: ClassVar[tuple[Task, ...]] = ("search",)
    channel = "lexical"
    search_space: ClassVar = {"k1": Range(0.2, 3.0), "b": Range(0.0, 1.0)}
    arrays: ClassVar[tuple[str, ...]] = ("offsets", "columns", "values")
    offsets: Tensor
    columns: Tensor
    values: Tensor

    @settings
    class Config:
        """k1: how fast repeated words stop counting. b: how much long items are held back."""

        k1: Positive = 0.6
        b: Share = 0.75

    @property
    @override
    def needs(self) -> Needs:
        return Needs(words=32)

    @override
    def fit(self, data: Dataset, split: Split) -> None:
        index = bm25_index(data, k1=self.config.k1, b=self.config.b)
        self.set_arrays(offsets=index.offsets, columns=index.columns, values=index.values)

    @override
    def grown_state(self, growth: Growth, described: Any = None) -> dict[str, Tensor]:
        """Return the state of a model that is fitted to the texts of the items as they are now."""
        fresh = type(self)(self.config, growth.data.sizes)
        fresh.fit(growth.data, Split(growth.data))
        return fresh.state()

    @property
    def _index(self) -> SparseRows:
        return SparseRows(self.offsets, self.columns, self.values, self.sizes.items + 1)

    def field_weights(self) -> FieldWeights:
        """Return its parameters, as the lexical channel of a pipeline takes them."""
        return FieldWeights(k1=self.config.k1, b=self.config.b)

    @override
    def score(self, batch: Batch) -> Tensor:
        scores = self._index.sum(batch.words[batch.query.long()])
        return scores if batch.candidates is None else scores.gather(1, batch.candidates.long())
