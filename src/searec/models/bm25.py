"""bm25: the words of the query against the words of the item."""

from typing import ClassVar

from torch import Tensor

from searec.config import Positive, Share, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset
from searec.data.lexical import bm25_index
from searec.data.schema import Task
from searec.data.sparse import SparseRows
from searec.data.split import Split
from searec.models.base import FittedModel


class BM25(FittedModel):
    """BM25 (Lucene variant, by bm25s) over title, brand, categories and description."""

    name = "bm25"
    tasks: ClassVar[tuple[Task, ...]] = ("search",)
    arrays: ClassVar[tuple[str, ...]] = ("offsets", "columns", "values")
    offsets: Tensor
    columns: Tensor
    values: Tensor

    @settings
    class Config:
        """k1: how fast repeated words stop counting. b: how much long items are held back."""

        k1: Positive = 1.5
        b: Share = 0.75

    @property
    def needs(self) -> Needs:
        return Needs(words=32)

    def fit(self, data: Dataset, split: Split) -> None:
        index = bm25_index(data, k1=self.config.k1, b=self.config.b)
        self.keep(offsets=index.offsets, columns=index.columns, values=index.values)

    def score(self, batch: Batch) -> Tensor:
        index = SparseRows(self.offsets, self.columns, self.values, self.sizes.items + 1)
        scores = index.sum(batch.words[batch.query.long()])
        return scores if batch.candidates is None else scores.gather(1, batch.candidates.long())
