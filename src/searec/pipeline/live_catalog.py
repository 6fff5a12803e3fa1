"""The live catalog: the newest snapshot, kept up with the event store request by request."""

import threading

from searec.pipeline.catalog_snapshot import CatalogBase, CatalogSnapshot
from searec.store.event_store import EventStore


class LiveCatalog:
    """Follows the items of an event store.

    Args:
        base: the dataset's items.
        events: the store; None for the dataset's items alone.
    """

    def __init__(self, base: CatalogBase, events: EventStore | None = None) -> None:
        self.last = CatalogSnapshot(base)
        self._events = events
        self._number = 0
        self._lock = threading.Lock()

    def snapshot(self) -> CatalogSnapshot:
        """Return the catalog as the store has it now; `last` is the one before.

        Raises:
            StorageError: the store fails.
        """
        if self._events is None:
            return self.last
        with self._lock:
            changes = self._events.items_since(self._number)
            if changes:
                self.last = self.last.with_changes(changes)
                self._number = changes[-1].number
            return self.last
