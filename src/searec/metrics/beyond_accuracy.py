"""Beyond accuracy: how much of the catalogue is shown, how little known it is, how varied each list is.

Lists are [R, K] internal ids 1..N; 0 stands for no item. None of the figures here says that a list is
good: random lists cover much and are little known and varied. They are read beside accuracy.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from searec.data.ragged import Ints, Ragged
from searec.errors import DataError

Floats = NDArray[np.float64]

_PAIRS_AT_ONCE = 1 << 18


def coverage(top: Ints, items: int) -> float:
    """Share of the catalogue's `items` items that are in at least one list, in [0, 1].

    >>> coverage(np.array([[1, 2], [2, 0]]), items=4)
    0.5
    """
    return float(np.count_nonzero(_shown(top, items))) / items


def gini(top: Ints, items: int) -> float:
    """Inequality of exposure over the catalogue, in [0, 1): 0 when every item is shown equally often.

    G = sum_i (2i - N - 1) x_i / (N sum_i x_i), x ascending, i = 1..N. 0 when nothing is shown.

    >>> gini(np.array([[1, 2], [3, 4]]), items=4), gini(np.array([[1, 1], [1, 1]]), items=4)
    (0.0, 0.75)
    """
    shown = np.sort(_shown(top, items))
    total = int(shown.sum())
    if total == 0:
        return 0.0
    return float((2 * np.arange(1, items + 1) - items - 1) @ shown) / (items * total)


def novelty(top: Ints, counts: Ints) -> Floats:
    """[R] mean self-information of a list's items, in bits: mean of -log2 p(i), p(i) = (count_i + 1) / (total + N).

    Args:
        top: [R, K] internal ids, 0 where absent.
        counts: [N + 1] training events of each item; counts[0] is not read.

    The lists of popular items are low, of rare ones high; an empty list is 0.

    >>> novelty(np.array([[1, 0], [1, 2]]), np.array([0, 3, 0])).round(4).tolist()
    [0.3219, 1.3219]
    """
    _refuse_outside(top, len(counts) - 1)
    known = np.asarray(counts[1:], dtype=np.float64) + 1.0
    surprise = np.concatenate(([0.0], np.log2(known.sum()) - np.log2(known)))
    length = np.count_nonzero(top, axis=1)
    return np.asarray(surprise[top].sum(axis=1) / np.maximum(length, 1), dtype=np.float64)


def diversity(top: Ints, categories: Ragged) -> Floats:
    """[R] 1 - mean Jaccard similarity of the category sets over all pairs of a list's items, in [0, 1].

    Args:
        top: [R, K] internal ids, 0 where absent.
        categories: row n holds the categories (ints >= 0) of internal id n, row 0 is empty; N + 1 rows.

    Pairs in which an item has no category say nothing and are left out; a list without a pair is 0.

    >>> rows = Ragged(np.array([0, 0, 1, 3, 4]), np.array([5, 5, 6, 7]))  # {5}, {5, 6}, {7}
    >>> diversity(np.array([[1, 2, 0], [1, 2, 3]]), rows).round(4).tolist()
    [0.5, 0.8333]
    """
    _refuse_outside(top, len(categories) - 1)
    if categories.offsets[1] != 0:
        got = f"{int(categories.offsets[1])} categories"
        raise DataError("row 0 of the categories stands for no item", got=got, expected="an empty row")
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
        lists = np.asarray(top[start : start + step])
        a, b = lists[:, left], lists[:, right]
        owner, place = np.nonzero((size[a] > 0) & (size[b] > 0))
        a, b = a[owner, place], b[owner, place]
        common = member[a].multiply(member[b]).sum(axis=1)
        share = common / (size[a] + size[b] - common)
        similarity[start : start + step] = np.bincount(owner, weights=share, minlength=len(lists))
        pairs[start : start + step] = np.bincount(owner, minlength=len(lists))
    return np.where(pairs > 0, 1.0 - similarity / np.maximum(pairs, 1), 0.0)


def _shown(top: Ints, items: int) -> Ints:
    """[N] in how many places each item is shown."""
    _refuse_outside(top, items)
    return np.bincount(np.asarray(top).ravel(), minlength=items + 1)[1:]


def _refuse_outside(top: Ints, items: int) -> None:
    low, high = int(np.min(top, initial=0)), int(np.max(top, initial=0))
    if low < 0 or high > items:
        raise DataError("a list holds an id that no item has", got=low if low < 0 else high, expected=f"0..{items}")
