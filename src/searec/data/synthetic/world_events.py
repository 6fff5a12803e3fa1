"""What the events of a simulated world are drawn from: users, times and items, in whole columns.

Each user has feed departments (where the interests lie), two departments searched but never fed, and the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from searec.data.synthetic.world import World
from searec.data.synthetic.world_items import TIERS, Ints, Mask, Shop
from searec.data.synthetic.world_words import AGE_GROUPS, CITIES, GENDERS

EVENTS = ("click", "cart", "purchase")

MONTH = 30 * 86_400_000_000
DAY = 86_400_000_000
_FEED_DEPARTMENTS = 3
OUTSIDE_INTERESTS = 2
NEED_SHARE = 0.4  # of the shared searches: a type of the feed's departments that is no interest yet
ERRAND_SHARE = 0.5  # of the noisy searches
TASTE_SHARE = 0.7  # of the draws that keep to the user's price tier and audience
PARTNER_SHARE = 0.5  # of the clicks that follow another: exactly its partner item
CHAIN = 5  # a click that would be the fifth in a row to follow another starts afresh
EVENT_SHARES = (0.8, 0.9)  # click below the first, cart below the second, else purchase
_REDRAWS = (
    "type",
    "type",
    "type",
    "department",
    "department",
    "shop",
    "shop",
)  # how far each redraw of a repeated item may go


@dataclass(frozen=True)
class Block:
    """A block of U users: profile codes, E clicks of the feed and S searches, by user and then time.

    user is 0-based within the block, time in microseconds since the start, item 0-based. words: S x 4 codes of a query;
    clicked items of search s are clicked[clicked_first[s]:clicked_first[s + 1]]. A search of the user's has its number
    as `number` and 0 as `foreign`; the first, second, ... of other users beside it have that number and 1, 2, ...
    In a world with result pages shown and shown_first hold their items likewise.
    """

    age: Ints
    gender: Ints
    city: Ints
    user: Ints
    time: Ints
    item: Ints
    event: Ints
    search_user: Ints
    search_time: Ints
    words: list[Ints]
    clicked: Ints
    clicked_first: Ints
    intent: Ints
    intent_type: Ints
    returns: Mask
    number: Ints
    foreign: Ints
    shown: Ints | None = None
    shown_first: Ints | None = None


@dataclass(frozen=True)
class People:
    """departments [U, D] most liked first; feed, outside [U, slots, months] types; taste [U] tier x 2 + audience."""

    age: Ints
    gender: Ints
    city: Ints
    departments: Ints
    feed: Ints
    outside: Ints
    taste: Ints


def draw_people(world: World, shop: Shop, users: int, rng: np.random.Generator) -> People:
    """Draw profiles, the departments they lead to, and interests that drift.

    Args:
        world: the settings.
        shop: the catalogue.
        users: how many.
        rng: all draws come from it.
    """
    age = rng.choice(len(AGE_GROUPS), users, p=(0.18, 0.26, 0.21, 0.16, 0.11, 0.08))
    gender = rng.choice(len(GENDERS), users, p=(0.5, 0.46, 0.04))
    city = rng.integers(0, len(CITIES), users)
    lean, centre = np.array([d.lean for d in shop.departments]), np.array([d.age for d in shop.departments])
    sign = np.array([1.0, -1.0, 0.0])[gender]
    liking = 2.5 * sign[:, None] * lean - 0.7 * np.abs(age[:, None] - centre) + shop.city_lean[city]
    departments = np.argsort(-(world.profile * liking + rng.gumbel(size=liking.shape)), axis=1)
    fed = fed_departments(world)
    tier = rng.integers(0, TIERS, users)
    audience = np.where(gender == 2, rng.integers(0, 2, users), gender)
    return People(
        age=age,
        gender=gender,
        city=city,
        departments=departments,
        feed=_drifting(world, shop, departments[:, :fed], world.interests, rng),
        outside=_drifting(world, shop, departments[:, fed:-1][:, :OUTSIDE_INTERESTS], OUTSIDE_INTERESTS, rng),
        taste=tier * 2 + audience,
    )


def fed_departments(world: World) -> int:
    """Departments of a user's feed: three, fewer in a small tree, for one is searched only and one is neither."""
    return min(_FEED_DEPARTMENTS, world.departments - 2)


def _drifting(world: World, shop: Shop, departments: Ints, slots: int, rng: np.random.Generator) -> Ints:
    """[U, slots, months] types: each slot keeps its type until drift replaces it."""
    users, width = departments.shape
    shape = (users, slots, world.months)
    department = departments[np.arange(users)[:, None, None], rng.integers(0, width, shape)]
    fresh = shop.draw_type(department, rng.random(shape)).astype(np.int32)
    replaced = rng.random(shape) < world.drift
    since = np.maximum.accumulate(np.where(replaced, np.arange(world.months), 0), axis=2)
    types: Ints = np.take_along_axis(fresh, since, axis=2)
    return types


def draw_slot(slots: int, count: int, rng: np.random.Generator) -> Ints:
    """Draw an interest's place, the first likelier than the next (1, 1/2, 1/3, ...).

    Args:
        slots: how many places.
        count: how many draws.
        rng: all draws come from it.
    """
    cumulative = np.cumsum(1 / np.arange(1, slots + 1))
    slot: Ints = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right").clip(0, slots - 1)
    return slot


def event_counts(world: World, users: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Draw [U] feed clicks and [U] searches.

    Args:
        world: the settings.
        users: how many.
        rng: all draws come from it.
    """
    zeal = rng.standard_exponential(users)
    feed = 3 + rng.poisson((world.clicks - 3) * zeal)
    sparse = rng.random(users) < world.sparse_share
    few = few_searches(rng, users)
    many = 10 + rng.poisson((world.searches - 10) * (zeal + rng.standard_exponential(users)) / 2)
    return feed, np.where(sparse, few, many)


def few_searches(rng: np.random.Generator, users: int) -> Ints:
    """Draw 0 to 9 searches for each sparse searcher.

    Args:
        rng: all draws come from it.
        users: how many.
    """
    return (10 * rng.random(users) ** 1.5).astype(np.int64)


def event_times(
    world: World, feed: Ints, searches: Ints, rng: np.random.Generator, apart: int = 1
) -> tuple[Ints, Ints, Mask]:
    """Return user, time (microseconds since the start, increasing within a user) and whether it is a search, by event.

    Args:
        world: the settings.
        feed: [U] feed clicks.
        searches: [U] searches.
        rng: all draws come from it.
        apart: microseconds that two events of a user are apart at least.
    """
    users = len(feed)
    count = feed + searches
    user = np.repeat(np.arange(users), count)
    place = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    searching = np.empty(len(user), dtype=bool)
    searching[np.argsort(user + rng.random(len(user)), kind="stable")] = place < searches[user]

    # Gaps of a gamma law far below 1 come in bursts: visits of a few events with days between them.
    gap = rng.standard_gamma(0.3, len(user) + users)
    first_gap = np.arange(users) + np.cumsum(count) - count
    running = np.concatenate(([0.0], np.cumsum(gap)))
    base, total = running[first_gap], running[first_gap + count + 1] - running[first_gap]
    part = (running[np.arange(len(user)) + user + 1] - base[user]) / total[user]
    whole = world.days * DAY
    joined = (0.4 * rng.random(users) * whole).astype(np.int64)
    room = whole - joined - count * apart - 1
    time = joined[user] + (part.clip(0, 1) * room[user]).astype(np.int64) + place * apart
    return user, time, searching


def draw_items(
    world: World,
    shop: Shop,
    rng: np.random.Generator,
    *,
    taste: Ints,
    user: Ints,
    kind: Ints,
    feed_at: Ints,
    carried: Mask,
) -> tuple[Ints, Ints]:
    """Return [events] the item of each event, and [F] how many clicks in a row each feed click has followed.

    Clicks that follow another get their type here, in `kind`, too.

    Args:
        world: the settings.
        shop: the catalogue.
        rng: all draws come from it.
        taste: [U] taste of each user.
        user: [events] user of each event.
        kind: [events] product type of each event.
        feed_at: [F] places of the feed clicks.
        carried: [F] feed clicks that follow none.
    """
    count = len(user)
    own_interest = np.where(rng.random(count) < TASTE_SHARE, taste[user], -1)
    item = shop.draw_item(kind, own_interest, rng.random(count))

    place = np.arange(len(feed_at))
    opens = np.ones(len(feed_at), dtype=bool)
    opens[1:] = user[feed_at[1:]] != user[feed_at[:-1]]
    fresh = opens | carried | (rng.random(len(feed_at)) >= world.follow_share)
    depth = (place - np.maximum.accumulate(np.where(fresh, place, 0))) % CHAIN
    for step in range(1, CHAIN):
        now = feed_at[depth == step]
        before = feed_at[np.flatnonzero(depth == step) - 1]
        paired = rng.random(len(now)) < PARTNER_SHARE
        side = np.where(paired, 0, rng.integers(0, 2, len(now)))
        kind[now] = shop.complements[kind[before], side]
        item[now] = np.where(
            paired, shop.partner[item[before]], shop.draw_item(kind[now], own_interest[now], rng.random(len(now)))
        )
    return item, depth


def without_repeats(
    shop: Shop,
    user: Ints,
    item: Ints,
    clicks: Mask,
    rng: np.random.Generator,
    redraws: Sequence[str] = _REDRAWS,
) -> Mask:
    """Redraw items a user would click twice, in `item`: of its type, department, then any. False where that failed.

    So an item is clicked by a user once, in the feed or in search.

    Args:
        shop: the catalogue.
        user: [events] user of each event.
        item: [events] item of each event; of two equal ones the later is redrawn.
        clicks: [events] whether the event has a click.
        rng: all draws come from it.
        redraws: how far each redraw may go.
    """
    rows, items = np.flatnonzero(clicks), len(shop.item_type)
    for widen in (*redraws, None):
        _, first = np.unique(user[rows] * items + item[rows], return_index=True)
        again = np.ones(len(rows), dtype=bool)
        again[first] = False
        repeat = rows[again]
        if widen is None or len(repeat) == 0:
            break
        kind = shop.item_type[item[repeat]]
        if widen == "department":
            kind = shop.draw_type(shop.type_department[kind], rng.random(len(repeat)))
        elif widen == "shop":
            kind = rng.integers(0, len(shop.type_department), len(repeat))
        item[repeat] = shop.any_item(kind, rng.random(len(repeat)))
    keep = np.ones(len(user), dtype=bool)
    keep[repeat] = False
    return keep
