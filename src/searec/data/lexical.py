"""BM25 over the words of a fixed catalogue: the index of the bm25 model and of the hard candidates of search."""

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
import torch

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
