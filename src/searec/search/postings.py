"""Postings of a dataset's items, the best first of each term, so that frequent terms need not be read to the end.

A posting's part is BM25F's without the rarity of the term: tf / (k1 + tf), where tf is the sum of the field weights of
the term's occurrences over 1 - b + b * length / mean length (Robertson, Zaragoza & Taylor 2004, "Simple BM25 extension
to multiple weighted fields"). With equal weights it is BM25's. Parts are stored in 8 bits: they choose the candidates,
which are scored again (`search.scoring`).
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.files import fingerprint, replacing

if TYPE_CHECKING:
    from searec.data.dataset import Dataset

Mask = NDArray[np.bool_]
Floats = NDArray[np.floating]
VERSION = 1
"""Changes with every change to what `Postings.of` makes."""
MOST_POSTINGS = 65_536
"""Postings that a query reads at most, of all terms together; with a filter as many more as it leaves out."""
_MOST_FILTERED = 1 << 21
_STEPS = 255
_FILES = ("offsets", "items", "parts")


@dataclass(frozen=True)
class FieldWeights:
    """How the fields of an item count. The defaults were chosen on training searches of three sets: docs/search.md.

    Attributes:
        k1: saturation of repeated terms, above 0.
        b: weight of an item's length, 0 to 1.
        fields: weight of each of `text.analysis.FIELDS`.
    """

    k1: float = 0.6
    b: float = 0.75
    fields: tuple[float, float, float, float] = (2.0, 2.0, 3.0, 1.0)


@dataclass(frozen=True)
class Lengths:
    """Weighted lengths of items beside their mean."""

    weights: FieldWeights
    mean: float

    @classmethod
    def of(cls, data: "Dataset", weights: FieldWeights) -> tuple["Lengths", NDArray[np.float32]]:
        """Return the lengths of a dataset's items, and the frequency that each occurrence counts in each item [I + 1].

        Args:
            data: the dataset.
            weights: of its fields.
        """
        counts = np.diff(data.item_fields, axis=1, prepend=0)
        length = counts @ np.array(weights.fields)
        lengths = cls(weights, float(length[1:].mean()) or 1.0)
        return lengths, lengths.frequency(length)

    def frequency(self, length: Floats) -> NDArray[np.float32]:
        """Return what an occurrence in an item of a weighted length counts, [n]."""
        return np.asarray(1 / (1 - self.weights.b + self.weights.b * length / self.mean), dtype=np.float32)

    def part(self, frequency: Floats) -> Floats:
        """Return the parts of postings by the weighted frequencies of their terms."""
        return np.asarray(frequency / (self.weights.k1 + frequency))


class Postings:
    """The postings of a dataset's items.

    Args:
        offsets: [V + 2] of each term.
        items: internal ids, by term and part, largest first.
        parts: of 255.
        size: number of items.
    """

    def __init__(self, offsets: Ints, items: NDArray[np.int32], parts: NDArray[np.uint8], size: int) -> None:
        self._offsets, self._items, self._parts, self.size = offsets, items, parts, size
        self._of_thread = threading.local()

    @classmethod
    def of(cls, data: "Dataset", weights: FieldWeights) -> "Postings":
        """Return the postings of a dataset; made once and then mapped from its cache folder, shared by processes.

        Args:
            data: the dataset.
            weights: of its fields.
        """
        folder = data.folder / f"postings-{fingerprint(f'{VERSION} {weights}')}"
        if not folder.is_dir():
            with replacing(folder) as beside:
                beside.mkdir()
                for name, array in zip(_FILES, _made(data, weights), strict=True):
                    np.save(beside / f"{name}.npy", array)
        offsets, items, parts = (np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in _FILES)
        return cls(offsets, items, parts, data.sizes.items)

    def count(self, term: int) -> int:
        """Return the number of items that have a term."""
        return int(self._offsets[term + 1] - self._offsets[term])

    def items_of(self, term: int) -> NDArray[np.int32]:
        """Return the items that have a term."""
        return self._items[self._offsets[term] : self._offsets[term + 1]]

    def candidates(
        self, terms: Sequence[int], weights: Sequence[float], k: int, allowed: Mask | None, prior: Floats | None
    ) -> Ints:
        """Return up to k items with the largest sums of weighted parts, in no order.

        Of frequent terms the first postings alone are read (Lin & Trotman 2015, "Anytime ranking for impact-ordered
        indexes"): those above one limit of weight times part, so that an item loses at most the limit for each term.

        Args:
            terms: distinct term ids.
            weights: of each.
            k: most items.
            allowed: [at least I + 1] items to choose from; None for all.
            prior: [I + 1] added to the sums.
        """
        spans = [(int(self._offsets[term]), int(self._offsets[term + 1])) for term in terms]
        most = MOST_POSTINGS
        if allowed is not None:
            share = max(1, int(np.count_nonzero(allowed[: self.size + 1]))) / max(1, self.size)
            most = min(int(most / share), _MOST_FILTERED)
        if sum(end - start for start, end in spans) > most:
            spans = self._cut(spans, weights, most)
        sums = self._sums()
        lists = []
        for (start, end), weight in zip(spans, weights, strict=True):
            items, parts = self._items[start:end], self._parts[start:end]
            if allowed is not None:
                is_allowed = allowed[items]
                items, parts = items[is_allowed], parts[is_allowed]
            sums[items] += parts * np.float32(weight / _STEPS)
            lists.append(items)
        touched = np.concatenate(lists) if lists else np.zeros(0, dtype=np.int32)
        values = sums[touched]
        sums[touched] = 0
        if prior is not None:
            values += prior[touched]
        enough = k * max(1, len(lists))  # an item stands there once for each of its terms
        if len(touched) > enough:
            touched = touched[np.argpartition(values, len(values) - enough)[len(values) - enough :]]
        return np.unique(touched).astype(np.int64)

    def _cut(self, spans: list[tuple[int, int]], weights: Sequence[float], most: int) -> list[tuple[int, int]]:
        """The first parts of the spans: those of the largest weighted parts, `most` postings together."""
        low, high = 0.0, 2 * max(weights)
        ends = [start for start, _ in spans]
        for _ in range(10):
            limit = (low + high) / 2
            at_limit = [
                start + self._above(start, end, limit / weight)
                for (start, end), weight in zip(spans, weights, strict=True)
            ]
            if sum(end - start for (start, _), end in zip(spans, at_limit, strict=True)) <= most:
                high, ends = limit, at_limit
            else:
                low = limit
        room = most // (2 * len(spans))  # many postings may have one part, and then the limit is above all of them
        return [(start, max(end, min(last, start + room))) for (start, last), end in zip(spans, ends, strict=True)]

    def _above(self, start: int, end: int, part: float) -> int:
        """How many postings of a span have at least a part."""
        least = math.ceil(part * _STEPS)
        if least > _STEPS:
            return 0
        reverse = self._parts[start:end][::-1]
        return end - start - int(np.searchsorted(reverse, np.uint8(least)))

    def _sums(self) -> NDArray[np.float32]:
        """[I + 1] zeros, which each thread has and leaves as such."""
        sums: NDArray[np.float32] | None = getattr(self._of_thread, "sums", None)
        if sums is None:
            sums = self._of_thread.sums = np.zeros(self.size + 1, dtype=np.float32)
        return sums


def _made(data: "Dataset", weights: FieldWeights) -> tuple[NDArray[np.integer], ...]:
    """Offsets, items and parts of all postings."""
    words = data.item_words
    owner = words.owners.astype(np.int32)
    within = np.arange(len(owner)) - np.asarray(words.offsets)[:-1].repeat(words.lengths)
    lengths, frequency = Lengths.of(data, weights)
    values = np.full(len(owner), np.float32(weights.fields[-1]))
    for field in range(len(weights.fields) - 2, -1, -1):
        values[within < data.item_fields[owner, field]] = weights.fields[field]
    del within
    values *= frequency[owner]
    shape = (data.sizes.words + 1, data.sizes.items + 1)
    matrix = scipy.sparse.csr_matrix((values, (np.asarray(words.values), owner)), shape=shape)  # adds repeated ones up
    del values, owner
    parts = np.clip(np.rint(lengths.part(matrix.data) * _STEPS), 1, _STEPS).astype(np.uint8)
    term = np.repeat(np.arange(shape[0], dtype=np.int64), np.diff(matrix.indptr))
    order = np.argsort(term * (_STEPS + 1) + (_STEPS - parts), kind="stable")
    return matrix.indptr.astype(np.int64), matrix.indices[order].astype(np.int32), parts[order]
