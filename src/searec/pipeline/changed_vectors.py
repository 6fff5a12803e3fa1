"""Vectors of the items that came or were reworded since training, each text encoded once."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.pipeline.catalog_snapshot import CatalogSnapshot, item_words

_LOG = logging.getLogger(__name__)
_AT_ONCE = 16
"""Texts that a request encodes itself; more of them are left to a thread."""
_CHUNK = 64
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Changed:
    """The changed items of a snapshot that are encoded.

    Attributes:
        items: [n] item indexes, ascending.
        vectors: [n, E] of their words.
    """

    items: Ints
    vectors: Vectors


class ChangedVectors:
    """Encodes the changed items of snapshots; what is encoded already is not encoded again.

    A snapshot with few new texts has them encoded by its first request, one with many by a thread of its own, part by
    part: an item is found as soon as its part is done.

    Args:
        encode: texts to vectors [n, E].
        width: E.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Vectors], width: int) -> None:
        self._encode = encode
        self._vectors = np.zeros((_CHUNK, width), dtype=np.float32)  # grows; rows are never changed
        self._row: dict[str, int] = {}
        self._item_row: dict[int, tuple[Mapping[str, Any], int]] = {}
        self._last: tuple[CatalogSnapshot | None, int, Changed] = (None, 0, _none(width))
        self._failed: CatalogSnapshot | None = None
        self._thread: threading.Thread | None = None
        self._encoding = threading.Lock()
        self._lock = threading.RLock()

    def of(self, catalog: CatalogSnapshot) -> Changed:
        """Return the changed items of a snapshot that are encoded, after those of few new texts."""
        if not catalog.new and not len(catalog.reworded):
            return _none(self._vectors.shape[1])
        with self._lock:
            last, count, changed = self._last
            if last is catalog and count == len(self._row):
                return changed
            missing = self._missing(catalog)
            if (
                len(missing) > _AT_ONCE
                and self._failed is not catalog
                and not (self._thread and self._thread.is_alive())
            ):
                self._thread = threading.Thread(
                    target=self._work, args=(catalog,), name="searec-changed-items", daemon=True
                )
                self._thread.start()
        if len(missing) <= _AT_ONCE:
            self._add(missing)
        with self._lock:
            return self._gathered(catalog)

    def encode_all(self, catalog: CatalogSnapshot) -> None:
        """Encode all changed items of a snapshot now.

        Raises:
            SearecError: the encoder fails.
        """
        while missing := self._missing(catalog)[:_CHUNK]:
            self._add(missing)

    def _work(self, catalog: CatalogSnapshot) -> None:
        try:
            self.encode_all(catalog)
        except Exception as error:  # whatever it is, the items are found by their words; the next change tries again
            self._failed = catalog
            _LOG.exception("changed items cannot be encoded: %s", error)

    def _missing(self, catalog: CatalogSnapshot) -> list[str]:
        """The texts of changed items that have no vector yet."""
        with self._lock:
            missing: dict[str, None] = {}
            for item, about in _changed(catalog):
                if (row := self._item_row.get(item)) is None or row[0] is not about:
                    text = item_words(about)
                    if text in self._row:
                        self._item_row[item] = (about, self._row[text])
                    else:
                        missing[text] = None
            return list(missing)

    def _add(self, texts: Sequence[str]) -> None:
        with self._encoding:  # one part at a time, so that no text is encoded by two threads
            texts = [text for text in texts if text not in self._row]
            if not texts:
                return
            vectors = self._encode(texts)
            with self._lock:
                count = len(self._row)
                if count + len(texts) > len(self._vectors):
                    grown = np.zeros((2 * (count + len(texts)), self._vectors.shape[1]), dtype=np.float32)
                    grown[:count] = self._vectors[:count]
                    self._vectors = grown
                self._vectors[count : count + len(texts)] = vectors
                self._row.update(zip(texts, range(count, count + len(texts)), strict=True))

    def _gathered(self, catalog: CatalogSnapshot) -> Changed:
        self._missing(catalog)
        rows = {
            item: row[1]
            for item, about in _changed(catalog)
            if (row := self._item_row.get(item)) is not None and row[0] is about
        }
        items, places = (np.fromiter(side, dtype=np.int64, count=len(rows)) for side in (rows, rows.values()))
        changed = Changed(items, self._vectors[places])
        self._last = (catalog, len(self._row), changed)
        return changed


def _changed(catalog: CatalogSnapshot) -> list[tuple[int, Mapping[str, Any]]]:
    """The changed items by index, and what is said of each."""
    first = catalog.base.data.sizes.items + 1
    reworded = [(item, catalog.changed[item]) for item in catalog.reworded.tolist()]
    return reworded + [(item, one.about) for item, one in enumerate(catalog.new, start=first)]


def _none(width: int) -> Changed:
    return Changed(np.zeros(0, dtype=np.int64), np.zeros((0, width), dtype=np.float32))
