"""Results of searches by their position on the page, and which of them were clicked: what click models read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searec.data.dataset import Dataset
from searec.data.ragged import Ints
from searec.data.split import Requests, requests_at
from searec.errors import DataError

REMEDY = "log the items of each result page in order, in the column 'shown' of searches"


@dataclass(frozen=True)
class ClickLog:
    """N results of S searches, by search and then position; an item that a page shows twice counts once, at the top.

    Attributes:
        search: [N] number of the search, 0..S-1.
        pair: [N] number of the query and item, 0..P-1.
        query: [N] query id.
        position: [N] on the page, from 1.
        is_clicked: [N].
        searches: S.
        pairs: P.
        off_page: clicks of these searches on items that their pages do not hold.
    """

    search: Ints
    pair: Ints
    query: Ints
    position: Ints
    is_clicked: NDArray[np.bool_]
    searches: int
    pairs: int
    off_page: int

    def where(self, is_used: NDArray[np.bool_]) -> "ClickLog":
        """Return the log of some searches, all pairs keeping their numbers.

        Args:
            is_used: [S] which.
        """
        rows = is_used[self.search]
        number = np.cumsum(is_used) - 1
        parts = (self.pair[rows], self.query[rows], self.position[rows], self.is_clicked[rows])
        return ClickLog(number[self.search[rows]], *parts, int(is_used.sum()), self.pairs, self.off_page)


def click_log(data: Dataset, is_used: NDArray[np.bool_] | None = None) -> ClickLog:
    """Return the results of the searches of a dataset that hold their result page.

    Args:
        data: the dataset.
        is_used: [searches] which of its searches to read; all by default.

    Raises:
        DataError: the log has no result pages.
    """
    searches = data.searches
    if searches.shown is None:
        raise DataError("the searches do not hold what was shown", got="no column 'shown'", remedy=REMEDY)
    has_page = searches.shown.lengths > 0
    rows = np.flatnonzero(has_page if is_used is None else has_page & is_used)
    if not len(rows):
        raise DataError("no search holds its result page", got="empty lists in 'shown'", remedy=REMEDY)
    item, search = searches.shown.take(rows)
    lengths = searches.shown.lengths[rows]
    position = np.arange(len(item)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    clicked, owner = searches.clicks.take(rows)
    width = data.sizes.items + 1
    key, clicked_key = search * width + item, np.unique(owner * width + clicked)
    first = np.sort(np.unique(key, return_index=True)[1])
    first = first[item[first] > 0]
    query = np.asarray(searches.query[rows]).astype(np.int64)[search[first]]
    pairs, pair = np.unique(query * width + item[first], return_inverse=True)
    return ClickLog(
        search=search[first],
        pair=pair,
        query=query,
        position=position[first],
        is_clicked=np.isin(key[first], clicked_key),
        searches=len(rows),
        pairs=len(pairs),
        off_page=int((~np.isin(clicked_key, key)).sum()),
    )


def search_positions(data: Dataset, requests: Requests) -> Ints:
    """Return [R] the search of the dataset that each request is, -1 where there is none.

    Args:
        data: the dataset.
        requests: R search requests with targets.
    """
    searches, place = data.searches, np.array(requests.search_end, dtype=np.int64)
    end = searches.offsets[np.asarray(requests.user) + 1]
    for row in range(len(place)):  # mostly the first: searches of one user at one instant are rare
        while place[row] < end[row] and searches.time[place[row]] == requests.time[row]:
            is_same = searches.query[place[row]] == requests.query[row]
            if is_same and requests.target[row] in searches.clicks.row(place[row]):
                break
            place[row] += 1
        else:
            place[row] = -1
    return place


def target_positions(data: Dataset, requests: Requests) -> Ints:
    """Return [R] the position from 1 at which each target was shown, 0 where it was not or there is no page.

    Args:
        data: the dataset.
        requests: R search requests with targets.
    """
    position = np.zeros(len(requests), dtype=np.int64)
    if (shown := data.searches.shown) is None:
        return position
    for row, search in enumerate(search_positions(data, requests).tolist()):
        if search >= 0 and len(at := np.flatnonzero(shown.row(search) == requests.target[row])):
            position[row] = at[0] + 1
    return position


def every_click(data: Dataset, requests: Requests) -> Requests:
    """Return a request for each click of the searches that the requests are, in their order.

    Args:
        data: the dataset.
        requests: R search requests with targets.
    """
    place = search_positions(data, requests)
    held = requests[place >= 0]
    target, origin = data.searches.clicks.take(place[place >= 0])
    return requests_at(data, "search", held.user[origin], held.time[origin], query=held.query[origin], target=target)
