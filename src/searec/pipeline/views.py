"""Views: users, items and runs as people and pages read them."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from searec.data.dataset import Dataset
from searec.errors import SettingsError, UnknownIdError
from searec.evaluation.result import stored_figures
from searec.interests.graph_svg import draw_graph
from searec.pipeline.catalog_snapshot import LiveCatalog
from searec.pipeline.histories import Histories
from searec.pipeline.similar_items import can_find_similar, similar_items
from searec.pipeline.types import InterestsView, ItemView, ServedRun, UserView
from searec.pipeline.user_interests import InterestSource
from searec.store.event_store import EventStore

if TYPE_CHECKING:
    from searec.pipeline.run import Run

_MOST = 1_000


class Views:
    """Reads for people.

    Args:
        data: the dataset.
        catalog: its items as they are now.
        histories: of the users.
        interests: of the users.
        events: the event store, or None.
        uses: the runs and what each is used for, as in `types.ServedRun`.

    Attributes:
        runs: those of `uses`.
    """

    def __init__(
        self,
        data: Dataset,
        catalog: LiveCatalog,
        histories: Histories,
        interests: InterestSource,
        events: EventStore | None,
        uses: "Sequence[tuple[Run, Sequence[str]]]",
    ) -> None:
        self._data, self._catalog, self._histories = data, catalog, histories
        self._interests, self._events = interests, events
        self._runs = [ServedRun(run.label, run.model.name, tuple(use), stored_figures(run.folder)) for run, use in uses]
        self.runs = tuple(run for run, _ in uses)
        self._similar = next((run for run, _ in uses if can_find_similar(run.model)), None)

    def user(self, user: str) -> UserView:
        """Return attributes and history of a user.

        Raises:
            UnknownIdError: neither the dataset nor the events have the user.
            StorageError: the event store fails.
        """
        number = self._data.users.find(user)
        attributes: dict[str, object] = {}
        if number:
            row = self._data.user_table.row(number - 1, named=True)
            attributes |= {name: value for name, value in row.items() if name != "user_id"}
        added = self._events.users_of([user]).get(user) if self._events is not None else None
        events = self._histories.read([user]).get(user, [])
        if not number and added is None and not events:
            raise UnknownIdError(
                f"unknown user id {user!r}", expected="a user of the dataset, or one with events since then"
            )
        texts = {name: str(value) for name, value in (attributes | (added or {})).items() if value not in (None, "")}
        return UserView(user, number > 0, texts, self._histories.listed(user, events, self._catalog.snapshot()))

    def users(self, prefix: str, count: int) -> list[str]:
        """Return user ids of the dataset in order.

        Args:
            prefix: which they begin with.
            count: how many at most.
        """
        return self._data.users.beginning_with(prefix, min(count, _MOST))

    def interests(self, user: str) -> InterestsView:
        """Return a user's interests, with the graph behind them if there is one.

        Raises:
            StorageError: the store of interests fails.
        """
        interests = self._interests.of(user)
        graph = self._interests.graph(user)
        rows = [(one.text, one.confidence, one.reason) for one in interests.interests]
        drawn = (json.loads(graph.to_json()), draw_graph(graph)) if graph is not None else (None, "")
        return InterestsView(user, interests.source, interests.made_at, rows, *drawn)

    def item(self, item: str) -> ItemView:
        """Return an item as it is now.

        Raises:
            UnknownIdError: there is no such item.
            StorageError: the event store fails.
        """
        catalog = self._catalog.snapshot()
        index = catalog.refuse_unknown(item)
        return ItemView(
            item,
            catalog.title(index),
            catalog.attributes(index),
            "new" if index > self._data.sizes.items else "known",
            bool(catalog.unavailable[index]),
        )

    def similar(self, item: str, k: int) -> tuple[str, list[tuple[str, str, float]]]:
        """Return the label of the run that answers, and the k most similar available items: id, title and score.

        A new item goes by its proxy. The first run in use that has item vectors or neighbours answers.

        Args:
            item: external id.
            k: how many items.

        Raises:
            UnknownIdError: there is no such item.
            SettingsError: no run in use has item vectors or neighbours.
        """
        if self._similar is None:
            raise SettingsError(
                "no run in use can find similar items", expected="a run of a model with item vectors or neighbours"
            )
        catalog = self._catalog.snapshot()
        index = catalog.refuse_unknown(item)
        proxy = int(catalog.proxy[index])
        exclude = {*np.flatnonzero(catalog.unavailable[: self._data.sizes.items + 1]).tolist(), *self._similar.removed}
        if not proxy:  # it shares no word with a known item
            return self._similar.label, []
        best, scores = similar_items(self._similar.model, np.array([proxy]), k, exclude - {0})
        pairs = [(int(one), float(score)) for one, score in zip(best[0], scores[0], strict=True) if one]
        return self._similar.label, [
            (self._data.items.to_external(np.array([one]))[0], catalog.title(one), score) for one, score in pairs
        ]

    def values(self) -> dict[str, list[str]]:
        """Return the columns to filter by, with their most frequent values."""
        return self._catalog.last.base.values

    def served_runs(self) -> list[ServedRun]:
        """Return the runs in use and their stored figures."""
        return list(self._runs)
