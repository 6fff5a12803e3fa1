"""Diversity: how unlike the items of one list are."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from searec.errors import DataError
from searec.metrics.base import Floats, RequestMetric, Results, check_ids

_PAIRS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Diversity(RequestMetric):
    """Diversity@k = 1 - mean Jaccard similarity of the category sets over all pairs of a list's items, in [0, 1].

    Pairs in which an item has no category are left out; a list without a pair is 0.

    >>> from searec.data.ragged import Ragged
    >>> categories = Ragged(np.array([0, 0, 1, 3, 4]), np.array([5, 5, 6, 7]))  # {5}, {5, 6}, {7}
    >>> results = Results(np.ones(2), lists=np.array([[1, 2, 0], [1, 2, 3]]), categories=categories)
    >>> Diversity(k=10).values(results).round(4).tolist()
    [0.5, 0.8333]
    """

    k: int
    key, title, reads, higher_is_better = "diversity", "Diversity", "lists", None
    description = "One less the mean overlap (Jaccard) of the categories of two items of a list of k."

    def values(self, results: Results) -> Floats:
        """Return one value in [0, 1] per request, [R].

        Raises:
            DataError: row 0 of the categories is not empty, or a list holds an unknown id.
        """
        top, categories = self.top(results), self.required(results, "categories")
        check_ids(top, len(categories) - 1)
        if categories.offsets[1] != 0:
            got = f"{int(categories.offsets[1])} categories"
            raise DataError("row 0 of the categories is padding", got=got, expected="an empty row")
        width = int(categories.values.max(initial=-1)) + 1
        ones = np.ones(len(categories.values), dtype=np.int64)
        member = csr_array(
            (ones, np.array(categories.values), np.array(categories.offsets)), shape=(len(categories), max(width, 1))
        )
        member.sum_duplicates()
        member.data[:] = 1  # sets: a category named twice counts once
        size = np.diff(member.indptr)

        left, right = np.triu_indices(top.shape[1], k=1)
        similarity, pairs = np.zeros(len(top)), np.zeros(len(top))
        step = max(1, _PAIRS_AT_ONCE // max(1, len(left)))
        for start in range(0, len(top), step):
            lists = top[start : start + step]
            a, b = lists[:, left], lists[:, right]
            owner, pair = np.nonzero((size[a] > 0) & (size[b] > 0))
            a, b = a[owner, pair], b[owner, pair]
            common = member[a].multiply(member[b]).sum(axis=1)
            jaccard = common / (size[a] + size[b] - common)
            similarity[start : start + step] = np.bincount(owner, weights=jaccard, minlength=len(lists))
            pairs[start : start + step] = np.bincount(owner, minlength=len(lists))
        return np.where(pairs > 0, 1.0 - similarity / np.maximum(pairs, 1), 0.0)
