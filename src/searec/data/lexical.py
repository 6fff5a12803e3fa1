"""BM25 over the items' words: the index behind the bm25 model and the hard candidates of search."""

import math
import threading
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.data.sparse import SparseRows
from searec.text.analyser import STOP_WEIGHT

if TYPE_CHECKING:
    from searec.data.dataset import Dataset


def bm25_index(data: "Dataset", *, k1: float = 1.5, b: float = 0.75) -> SparseRows:
    """Return the BM25 weights [V + 1, I + 1] of words in the items' texts.

    The weights are bm25s's (Lucene variant), those of function words times `STOP_WEIGHT`. Row 0 (no word) and column 0
    (no item) are empty, so that the score of a query is `index.sum(words)`.

    Args:
        data: the dataset.
        k1: saturation of repeated words.
        b: weight of a text's length.
    """
    import bm25s

    words = data.item_words
    documents = [row.tolist() for row in np.split(words.values, words.offsets[2:-1])]  # row 0 is no item
    vocabulary = {str(word): word for word in range(data.sizes.words + 1)}
    engine = bm25s.BM25(method="lucene", k1=k1, b=b)
    engine.index((documents, vocabulary), show_progress=False)
    scores = engine.scores
    shape = (data.sizes.items, data.sizes.words + 1)
    by_document = scipy.sparse.csc_matrix(
        (scores["data"], scores["indices"], scores["indptr"][: shape[1] + 1]), shape=shape
    )
    for term in data.analyser.stop_terms & data.word_index.keys():
        column = data.word_index[term]
        by_document.data[by_document.indptr[column] : by_document.indptr[column + 1]] *= STOP_WEIGHT
    no_item = scipy.sparse.csc_matrix((1, shape[1]))
    return SparseRows.of(scipy.sparse.vstack([no_item, by_document]).T.tocsr())


def neighbours(index: SparseRows, words: np.ndarray, depth: int) -> np.ndarray:
    """Return [Q, depth] the best-matching items of each query, best first, 0 where no other matches.

    Args:
        index: from `bm25_index`.
        words: [Q, W] word ids.
        depth: items of each query.
    """
    scores = index.sum(torch.from_numpy(words))
    scores[:, 0] = 0
    best, items = scores.topk(min(depth, scores.shape[1]), dim=1)
    return torch.where(best > 0, items, 0).numpy()


class Lexicon:
    """The same index for one query at a time, which touches nothing but the postings of its words.

    Args:
        index: as `bm25_index` gives it, with its k1 and b.
    """

    def __init__(self, data: "Dataset", index: SparseRows, *, k1: float = 1.5, b: float = 0.75) -> None:
        self._word_index, self._analyser = data.word_index, data.analyser
        self._offsets, self._items, self._values = (
            part.cpu().numpy() for part in (index.offsets, index.columns, index.values)
        )
        self._size = index.width
        lengths = data.item_words.lengths
        self._mean = float(lengths[1:].mean()) if len(lengths) > 1 else 1.0
        self._k1, self._b = k1, b
        self._own = threading.local()

    @classmethod
    def of(cls, data: "Dataset") -> "Lexicon":
        """Of a dataset's items."""
        return cls(data, bm25_index(data))

    def words(self, text: str) -> Ints:
        """Return the ids of the words that the dataset holds, in order; a repeated one counts twice, as in bm25."""
        index = self._word_index
        return np.array([index[word] for word in self._analyser.terms(text) if word in index], dtype=np.int64)

    def scores(self, words: Ints) -> NDArray[np.float32]:
        """[I + 1] BM25 of every item."""
        out = np.zeros(self._size, dtype=np.float32)
        for word in words.tolist():
            items, values = self._postings(word)
            out[items] += values
        return out

    def of_items(self, words: Ints, items: Ints) -> NDArray[np.float32]:
        """Return the scores [n] of some items.

        Args:
            words: word ids of the query.
            items: [n] internal ids.
        """
        _, matches = self._matches(words, items)
        return matches

    def _matches(self, words: Ints, items: Ints | None = None) -> tuple[Ints, NDArray[np.float32]]:
        """Items and their scores; by default each item that holds a word of the query, once for each word."""
        out: NDArray[np.float32] | None = getattr(self._own, "scores", None)
        if out is None:  # kept by each thread, and zero between searches
            out = self._own.scores = np.zeros(self._size, dtype=np.float32)
        lists = [self._postings(word) for word in words.tolist()]
        for holding, values in lists:
            out[holding] += values
        touched = np.concatenate([np.zeros(0, dtype=np.int32), *(holding for holding, _ in lists)])
        items = touched if items is None else items
        matches = out[items]
        out[touched] = 0
        return items, matches

    def best(
        self,
        words: Ints,
        k: int,
        allowed: NDArray[np.bool_] | None = None,
        prior: NDArray[np.float32] | None = None,
    ) -> tuple[Ints, NDArray[np.float32]]:
        """Up to k items that hold any of the words, best first, ties by the smaller id; and their scores.

        Args:
            words: word ids of the query.
            k: most items.
            allowed: [at least I + 1] items to choose from.
            prior: [I + 1] added to the scores of items that hold a word.
        """
        touched, matches = self._matches(words)
        if prior is not None:
            matches = matches + prior[touched]
        if allowed is not None:
            positive = allowed[touched]
            touched, matches = touched[positive], matches[positive]
        enough = k * max(1, len(words))  # an item stands there once for each word of the query that it holds
        if len(touched) > enough:
            least = np.partition(matches, len(matches) - enough)[len(matches) - enough]
            positive = matches >= least
            touched, matches = touched[positive], matches[positive]
        touched, first = np.unique(touched, return_index=True)
        order = np.argsort(-matches[first], kind="stable")[:k]
        return touched[order].astype(np.int64), matches[first][order]

    def score_new(self, query: str, text: str) -> float:
        """Return the BM25 score of a text that is not in the index, by the index's counts.

        Args:
            query: word ids.
            text: word ids.
        """
        words = self._analyser.terms(text)
        total, items = 0.0, self._size - 1
        for word in self._analyser.terms(query):
            often = words.count(word)
            if often:
                number = self._word_index.get(word, 0)
                holding = int(self._offsets[number + 1] - self._offsets[number]) if number else 0
                rare = math.log(1 + (items - holding + 0.5) / (holding + 0.5))
                total += (
                    self._analyser.weight(word)
                    * rare
                    * often
                    / (often + self._k1 * (1 - self._b + self._b * len(words) / self._mean))
                )
        return total

    def _postings(self, word: int) -> tuple[Ints, NDArray[np.float32]]:
        part = slice(int(self._offsets[word]), int(self._offsets[word + 1]))
        return self._items[part], self._values[part]
