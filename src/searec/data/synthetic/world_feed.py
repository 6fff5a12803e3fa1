"""The feed of a simulated world, drawn before the searches, so that worlds with other searches share it.

A click is an interest, a need (a type of the user's departments, perhaps new), or goes with the click before; in a
world of archetypes it may also be of the archetype's signature, or close one of its arcs.
"""

from dataclasses import dataclass

import numpy as np

from searec.data.synthetic.world import World
from searec.data.synthetic.world_arcs import ARCS, SIGNATURE, Members, arc_clicks
from searec.data.synthetic.world_events import (
    EVENT_SHARES,
    MONTH,
    People,
    draw_items,
    draw_slot,
    event_counts,
    event_times,
    fed_departments,
    few_searches,
    without_repeats,
)
from searec.data.synthetic.world_items import Ints, Mask, Shop

SOURCES = ("interest", "need", "follow", "signature", "arc")
BY_INTEREST, BY_NEED, FOLLOWS, OF_SIGNATURE, CLOSES_ARC = range(5)
APART = 1000
"""Microseconds between two events of a user at least, so that foreign searches fit between them."""
_SPARSE_SEARCHES = 0.5  # of the sparse members of an archetype have one search, the others none


@dataclass(frozen=True)
class Feed:
    """F feed clicks by user and time, with where each comes from.

    kind: product type; source: code of `SOURCES`; depth: clicks in a row that it follows; arc: which of the user's arcs
    it closes, if its source is one. number, left: clicks of the user before and after it.
    """

    user: Ints
    time: Ints
    item: Ints
    event: Ints
    kind: Ints
    source: Ints
    depth: Ints
    arc: Ints
    number: Ints
    left: Ints

    @property
    def is_new(self) -> Mask:
        """[F] whether no earlier feed click of the user has the type."""
        _, first = np.unique(self.user * (int(self.kind.max(initial=0)) + 1) + self.kind, return_index=True)
        new = np.zeros(len(self.user), dtype=bool)
        new[first] = True
        return new


def draw_feed(
    world: World, shop: Shop, people: People, members: Members | None, rng: np.random.Generator
) -> tuple[Feed, Ints, Ints]:
    """Draw a block's feed clicks, and user and time of its searches.

    Args:
        world: the settings.
        shop: the catalogue.
        people: the users.
        members: their archetypes; None in a world without.
        rng: all draws come from it.
    """
    feed, searches = event_counts(world, len(people.age), rng)
    if members is not None:
        one = rng.random(len(feed)) < _SPARSE_SEARCHES
        fewer = world.sparse_clicks > 0
        feed = np.where(members.sparse, max(world.sparse_clicks, 3) if fewer else feed, np.maximum(feed, ARCS + 3))
        searches = np.where(members.sparse, one if fewer else few_searches(rng, len(feed)), np.maximum(searches, 10))
    all_users, all_times, searching = event_times(world, feed, searches, rng, APART)
    user, time = all_users[~searching], all_times[~searching]
    number, left = _numbers(user)

    count, month, fed = len(user), time // MONTH, fed_departments(world)
    needed = rng.random(count) < world.needs
    department = people.departments[user, rng.integers(0, fed, count)]
    kind = np.where(
        needed,
        shop.draw_type(department, rng.random(count)),
        people.feed[user, draw_slot(world.interests, count, rng), month],
    ).astype(np.int64)
    source = np.where(needed, BY_NEED, BY_INTEREST)
    arc = np.full(count, -1)
    if members is not None:
        arc = _draw_of_archetypes(world, members, user, number, left, rng, kind=kind, source=source)
    item, depth = draw_items(
        world,
        shop,
        rng,
        taste=people.taste,
        user=user,
        kind=kind,
        feed_at=np.arange(count),
        carried=source >= OF_SIGNATURE,
    )
    drawn_kind = kind.copy()
    source[depth > 0] = FOLLOWS
    keep = without_repeats(shop, user, item, np.ones(count, dtype=bool), rng)
    step = rng.random(count)
    event = (step >= EVENT_SHARES[0]).astype(np.int64) + (step >= EVENT_SHARES[1])
    kind = shop.item_type[item].astype(np.int64)
    source[(kind != drawn_kind) & (source != FOLLOWS)] = BY_NEED  # redrawn, for the user knew all items of the type
    number, left = _numbers(user[keep])
    user, time, item, event, kind = user[keep], time[keep], item[keep], event[keep], kind[keep]
    drawn = Feed(user, time, item, event, kind, source[keep], depth[keep], arc[keep], number, left)
    return drawn, all_users[searching], all_times[searching]


def _numbers(user: Ints) -> tuple[Ints, Ints]:
    """[F] how many clicks of the user come before each, and after it; `user` ascends."""
    place = np.arange(len(user))
    return place - np.searchsorted(user, user), np.searchsorted(user, user, side="right") - 1 - place


def _draw_of_archetypes(
    world: World,
    members: Members,
    user: Ints,
    number: Ints,
    left: Ints,
    rng: np.random.Generator,
    *,
    kind: Ints,
    source: Ints,
) -> Ints:
    """Write the clicks that members owe to their archetype into `kind` and `source`; [F] the arc that each closes."""
    closes = arc_clicks(world.arc_share, members, user, number, left, rng)
    signed = members.sparse[user] & ~closes & ((number < SIGNATURE - 1) | (world.sparse_clicks > 0))
    place = rng.integers(0, SIGNATURE, len(user))
    kind[signed] = members.signature[user, place][signed]
    source[signed] = OF_SIGNATURE
    arc: Ints = np.cumsum(closes) - closes  # arcs closed before, over all users
    arc -= arc[np.searchsorted(user, user)]
    kind[closes] = members.bought[user[closes], arc[closes]]
    source[closes] = CLOSES_ARC
    return np.where(closes, arc, -1)
