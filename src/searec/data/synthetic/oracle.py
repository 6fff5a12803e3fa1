"""What can be known of each user's last feed click in a simulated world: the probability of every item.

Three grades of knowledge: the oracle knows what a user is after, every archetype's arcs and the user's own history;
without neighbours the arcs are unknown; without searches the user's own searches too.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse

from searec.data.synthetic.world import World
from searec.data.synthetic.world_arcs import ARCS
from searec.data.synthetic.world_blocks import Truth, blocks
from searec.data.synthetic.world_events import CHAIN, MONTH, PARTNER_SHARE, TASTE_SHARE, Block, fed_departments
from searec.data.synthetic.world_feed import BY_INTEREST, BY_NEED, CLOSES_ARC, FOLLOWS, OF_SIGNATURE, SOURCES
from searec.data.synthetic.world_items import TIERS, Floats, Ints, Mask, Shop
from searec.data.synthetic.world_queries import ARC, NEED, REVEAL

Knowledge = Literal["oracle", "no neighbours", "no searches"]
KNOWLEDGE: tuple[Knowledge, ...] = ("oracle", "no neighbours", "no searches")
_REVEALED = len(SOURCES)
_OPEN = 4  # searches that may announce the click, by age


@dataclass(frozen=True)
class _Last:
    """A block's last feed clicks, one a user: rows into the feed, and what is known before them.

    open: [U, 4] types searched for as a need and not clicked since, the latest first, -1 for none. remaining: [U, 3]
    types of the arcs not closed yet, in no order, -1 for none; opened [U]: the type that an opened arc leads to, or -1.
    """

    row: Ints
    before: Ints
    source: Ints
    revealed: Mask
    open: Ints
    remaining: Ints
    opened: Ints
    sparse: Mask


class Oracle:
    """Probabilities of the last feed clicks of a world's users, from the process that made them.

    How often a click comes of an interest, a need, an arc and so on is counted over users who look alike (in the
    number of open searches, say); what it is then follows from the process.
    """

    def __init__(self, world: World) -> None:
        source = blocks(world)
        self._world, self._shop = world, source.shop
        parts, clicked, counts = [], [], [np.zeros(1, dtype=np.int64)]
        for block, truth in source:
            earlier = truth.feed.left > 0
            parts.append(self._block(block, truth))
            clicked.append(block.item[earlier])
            counts.append(np.bincount(block.user[earlier], minlength=len(block.age)))
        self._clicked, self._clicked_first = np.concatenate(clicked), np.cumsum(np.concatenate(counts))
        self._taste = np.concatenate([taste for taste, _, _, _ in parts])
        self._partner = np.concatenate([partner for _, partner, _, _ in parts])
        self._partner_share = {k: np.concatenate([share[k] for _, _, share, _ in parts]) for k in KNOWLEDGE}
        self._types = {k: np.concatenate([types[k] for _, _, _, types in parts]) for k in KNOWLEDGE}
        self._items = item_probabilities(self._shop)
        clicks = np.bincount(self._clicked, minlength=len(self._shop.item_type))
        self._popular = clicks / max(1, clicks.sum())

    def scores(self, users: Ints, knowledge: Knowledge) -> Floats:
        """Return [U, I] the probability of each item to be the last feed click; of items equally likely, popular first.

        Args:
            users: [U] 0-based numbers of users.
            knowledge: what is known.
        """
        scores = np.tile(1e-6 * self._popular, (len(users), 1))
        for taste in np.unique(self._taste[users]):
            rows = np.flatnonzero(self._taste[users] == taste)
            scores[rows] += self._types[knowledge][users[rows]] @ self._items[taste]
        np.add.at(scores, (np.arange(len(users)), self._partner[users]), self._partner_share[knowledge][users])
        self._redraw_clicked(scores, users)
        return scores

    def _redraw_clicked(self, scores: Floats, users: Ints) -> None:
        """Move, in `scores`, what falls on items clicked before to the other items of their type, evenly.

        Of a type without others it goes to the department's types.
        """
        shop = self._shop
        first, length = self._clicked_first[users], np.diff(self._clicked_first)[users]
        row = np.repeat(np.arange(len(users)), length)
        item = self._clicked[np.repeat(first - np.cumsum(length) + length, length) + np.arange(len(row))]
        moved = np.zeros((len(users), len(shop.type_department)))
        left = np.tile(np.bincount(shop.item_type), (len(users), 1))
        np.add.at(moved, (row, shop.item_type[item]), scores[row, item])
        np.subtract.at(left, (row, shop.item_type[item]), 1)
        inside = shop.type_department == np.arange(len(shop.departments))[:, None]
        weight = np.diff(shop.type_cumulative) * (left > 0)
        department = (moved * (left == 0)) @ inside.T / np.maximum(weight @ inside.T, 1e-12)
        moved = np.where(left > 0, moved + weight * department[:, shop.type_department], 0)
        scores += (moved / np.maximum(left, 1))[:, shop.item_type]
        scores[row, item] = 0

    def _block(self, block: Block, truth: Truth) -> tuple[Ints, Ints, dict[Knowledge, Floats], dict[Knowledge, Floats]]:
        """Taste and partner of the click before [U]; by knowledge, the latter's probability [U] and types' [U, T]."""
        last, feed, shop = self._last(block, truth), truth.feed, self._shop
        users, types = len(last.row), len(shop.type_department)
        rows = np.arange(users)
        can_follow = feed.depth[last.before] < CHAIN - 1
        count = (last.open >= 0).sum(axis=1)
        looks = (last.sparse * 2 + can_follow) * 2 + (last.remaining >= 0).any(axis=1)
        with_searches = (looks * (_OPEN + 1) + count) * 2 + (last.opened >= 0)
        source = np.where(last.revealed, _REVEALED, last.source)

        base = np.zeros((len(SOURCES), users, types))
        month, people = feed.time[last.row] // MONTH, truth.people
        for place in range(self._world.interests):
            base[BY_INTEREST, rows, people.feed[rows, place, month]] += 1 / (place + 1)
        popularity = np.diff(shop.type_cumulative)
        for place in range(fed_departments(self._world)):
            inside = shop.type_department == people.departments[:, place, None]
            base[BY_NEED] += inside * popularity / (inside * popularity).sum(axis=1, keepdims=True)
        for side in (0, 1):
            base[FOLLOWS, rows, shop.complements[feed.kind[last.before], side]] += 1
        if truth.members is not None:
            for place in range(truth.members.signature.shape[1]):
                base[OF_SIGNATURE, rows, truth.members.signature[:, place]] += 1
        base[CLOSES_ARC] = 1
        base /= np.maximum(base.sum(axis=2, keepdims=True), 1e-12)

        shares: dict[Knowledge, Floats] = {}
        chances: dict[Knowledge, Floats] = {}
        for knowledge in KNOWLEDGE:
            searched = knowledge != "no searches"
            arcs = base[CLOSES_ARC]
            if truth.members is not None and knowledge == "oracle" and not self._world.shuffle_arcs:
                arcs = _arc_types(last, types)
            drawn = source if searched else last.source
            share = _shares(with_searches if searched else looks, drawn, _REVEALED + 1)
            chance = np.einsum("us,sut->ut", share[:, :CLOSES_ARC], base[:CLOSES_ARC])
            chance -= share[:, FOLLOWS, None] * base[FOLLOWS] * PARTNER_SHARE
            chance += share[:, CLOSES_ARC, None] * arcs
            if searched:
                chance += share[:, _REVEALED, None] * _open_types(last, feed.kind[last.row], count, types)
            chances[knowledge], shares[knowledge] = chance, share[:, FOLLOWS] * PARTNER_SHARE
        return people.taste, shop.partner[feed.item[last.before]], shares, chances

    def _last(self, block: Block, truth: Truth) -> _Last:
        feed = truth.feed
        row = np.flatnonzero(feed.left == 0)
        users, types = len(row), len(self._shop.type_department)
        clicked = feed.user[feed.left > 0] * types + feed.kind[feed.left > 0]
        visible = (block.foreign == 0) & (block.search_time < feed.time[row][block.search_user])
        needs = np.flatnonzero(visible & np.isin(block.intent, (NEED, REVEAL)))
        needs = needs[~np.isin(block.search_user[needs] * types + block.intent_type[needs], clicked)][::-1]
        keys = block.search_user[needs] * types + block.intent_type[needs]
        needs = needs[np.sort(np.unique(keys, return_index=True)[1])]
        user = block.search_user[needs]
        place = np.arange(len(needs)) - np.searchsorted(-user, -user)
        open_types = np.full((users, _OPEN), -1)
        inside = place < _OPEN
        open_types[user[inside], place[inside]] = block.intent_type[needs[inside]]

        remaining, opened = np.full((users, ARCS), -1), np.full(users, -1)
        if truth.members is not None:
            closed = np.zeros(users, dtype=np.int64)
            earlier = (feed.left > 0) & (feed.arc >= 0)
            np.maximum.at(closed, feed.user[earlier], feed.arc[earlier] + 1)
            remaining = np.where(np.arange(ARCS) >= closed[:, None], truth.members.bought, -1)
            searched = np.flatnonzero(visible & (block.intent == ARC))
            who = block.search_user[searched]
            arc = closed[who].clip(0, ARCS - 1)
            due = (closed[who] < ARCS) & (block.intent_type[searched] == truth.members.searched[who, arc])
            opened[who[due]] = truth.members.bought[who, arc][due]
        sparse = np.zeros(users, dtype=bool) if truth.members is None else truth.members.sparse
        return _Last(
            row,
            np.maximum(row - 1, 0),
            feed.source[row],
            truth.revealed(block)[row],
            open_types,
            remaining,
            opened,
            sparse,
        )


def _shares(stratum: Ints, source: Ints, sources: int) -> Floats:
    """[U, sources] how often the last click comes of each source among the users of a user's stratum."""
    counts = np.zeros((int(stratum.max(initial=0)) + 1, sources))
    np.add.at(counts, (stratum, source), 1)
    shares: Floats = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[stratum]
    return shares


def _open_types(last: _Last, target: Ints, count: Ints, types: int) -> Floats:
    """[U, T] which open search announces the click, by how many there are and how old each is among them."""
    rows, place = np.nonzero(last.open >= 0)
    hits = last.revealed[rows] & (last.open[rows, place] == target[rows])
    counts = np.zeros((_OPEN + 1, _OPEN))
    np.add.at(counts, (count[rows[hits]], place[hits]), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    chance = np.zeros((len(last.row), types))
    chance[rows, last.open[rows, place]] = share[count[rows], place]
    return chance


def _arc_types(last: _Last, types: int) -> Floats:
    """[U, T] what an arc's end is: that of the arc that the user opened, else each of those not closed alike."""
    chance = np.zeros((len(last.row), types))
    rows, place = np.nonzero(last.remaining >= 0)
    np.add.at(chance, (rows, last.remaining[rows, place]), 1.0)
    known = np.flatnonzero(last.opened >= 0)
    chance[known] = 0
    chance[known, last.opened[known]] = 1
    chance /= np.maximum(chance.sum(axis=1, keepdims=True), 1e-12)
    return chance


def item_probabilities(shop: Shop) -> list[scipy.sparse.csr_matrix]:
    """Return, for each taste, [T, I] the probability of each item among those of a product type.

    Args:
        shop: the catalogue.
    """
    types, items = len(shop.type_department), len(shop.item_type)
    weight = np.diff(shop.list_cumulative)
    size = np.diff(shop.list_first)
    total = np.add.reduceat(np.append(weight, 0.0), shop.list_first[:-1]) * (size > 0)
    lists = scipy.sparse.csr_matrix(
        (weight / np.repeat(total, size), shop.list_items, shop.list_first), shape=(len(size), items)
    )
    whole = lists[types * TIERS * 2 :]
    tables = []
    for taste in range(TIERS * 2):
        narrow = np.arange(types) * TIERS * 2 + taste
        narrow = np.where(size[narrow] > 0, narrow, types * TIERS * 2 + np.arange(types))
        tables.append((TASTE_SHARE * lists[narrow] + (1 - TASTE_SHARE) * whole).tocsr())
    return tables
