"""Views: what is known of a user, an item or a run, for people and pages."""

import bisect
import json
from collections.abc import Sequence

from searec.data.dataset import Dataset
from searec.errors import UnknownIdError
from searec.evaluation.result import kept_figures
from searec.interests.graph_svg import draw_graph
from searec.pipeline.histories import Histories
from searec.pipeline.live_catalog import LiveCatalog
from searec.pipeline.run import Run
from searec.pipeline.types import InterestsView, ItemView, ServedRun, UserView
from searec.pipeline.user_interests import InterestSource
from searec.store.event_store import EventStore

_MOST = 1_000


class Views:
    """Reads for people.

    Args:
        uses: what the engine uses each run for, as in `asking.ServedRun`.
    """

    def __init__(
        self,
        data: Dataset,
        live_catalog: LiveCatalog,
        histories: Histories,
        interests: InterestSource,
        events: EventStore | None,
        uses: Sequence[tuple[Run, Sequence[str]]],
    ) -> None:
        self._data, self._stock, self._histories, self._longings, self._events = (
            data,
            live_catalog,
            histories,
            interests,
            events,
        )
        self._lines = [
            ServedRun(run.label, run.model.name, tuple(what), kept_figures(run.folder)) for run, what in uses
        ]
        self._users: list[str] | None = None

    def user(self, user: str) -> UserView:
        """Attributes and history of a user.

        Raises:
            UnknownIdError: neither the dataset nor the events know the user.
            StorageError: the event store fails.
        """
        known = user in self._data.users
        attributes: dict[str, object] = {}
        if known:
            row = self._data.user_table.row(int(self._data.users.to_internal([user])[0]) - 1, named=True)
            attributes |= {name: value for name, value in row.items() if name != "user_id"}
        put = self._events.users_of([user]).get(user) if self._events is not None else None
        events = self._histories.read([user]).get(user, [])
        if not known and put is None and not events:
            raise UnknownIdError(
                f"unknown user id {user!r}", expected="a user of the dataset, or one who has done something since"
            )
        attributes |= put or {}
        told = {name: str(value) for name, value in attributes.items() if value not in (None, "")}
        return UserView(user, known, told, self._histories.shown(user, events, self._stock.catalog()))

    def users(self, prefix: str, count: int) -> list[str]:
        """Ids of users of the dataset that begin so, in order."""
        if self._users is None:
            self._users = sorted(self._data.users.texts.to_list())
        first = bisect.bisect_left(self._users, prefix)
        return [user for user in self._users[first : first + min(count, _MOST)] if user.startswith(prefix)]

    def interests(self, user: str) -> InterestsView:
        """What a user may want, with the graph behind it where there is one.

        Raises:
            StorageError: the store of interests fails.
        """
        longing = self._longings.of(user)
        graph = self._longings.graph(user)
        told = [(one.text, one.confidence, one.reason) for one in longing.interests]
        if graph is None:
            return InterestsView(user, longing.source, longing.made_at, told)
        return InterestsView(
            user, longing.source, longing.made_at, told, json.loads(graph.to_json()), draw_graph(graph)
        )

    def item(self, item: str) -> ItemView:
        """An item as it stands.

        Raises:
            UnknownIdError: there is none.
            StorageError: the event store fails.
        """
        catalog = self._stock.catalog()
        place = catalog.refuse_unknown(item)
        new = place > self._data.sizes.items
        return ItemView(
            item, catalog.title(place), catalog.about(place), "new" if new else "known", bool(catalog.gone[place])
        )

    def values(self) -> dict[str, list[str]]:
        """Columns to filter by, with their most frequent values."""
        return self._stock.last.base.values

    def served_runs(self) -> list[ServedRun]:
        """The runs in use and their kept figures."""
        return list(self._lines)
