"""The searches of a simulated world, drawn for a feed that is there already, and foreign searches among them.

A search announces a later feed click of a type that the feed does not hold before (`reveal`), opens an arc or is of
the signature (archetypes), is noise, or says nothing new of the feed to come: such a search never has a type whose
first feed click is still to come.
"""

from dataclasses import dataclass, replace

import numpy as np

from searec.data.synthetic.world import World
from searec.data.synthetic.world_arcs import SIGNATURE, Members
from searec.data.synthetic.world_events import (
    ERRAND_SHARE,
    MONTH,
    NEED_SHARE,
    OUTSIDE_INTERESTS,
    TASTE_SHARE,
    Block,
    People,
    draw_slot,
    fed_departments,
    without_repeats,
)
from searec.data.synthetic.world_feed import CLOSES_ARC, Feed
from searec.data.synthetic.world_items import Floats, Ints, Mask, Shop
from searec.data.synthetic.world_queries import (
    ARC,
    ERRAND,
    FOREIGN,
    INTEREST,
    NEED,
    OF_ARCHETYPE,
    OTHER,
    OUTSIDE,
    REVEAL,
    draw_queries,
    search_clicks,
)
from searec.errors import SettingsError

MOST_FOREIGN = 8
"""Of `World.inject`; its range says the same."""
_OPENED = 0.5  # of the arcs that sparse members close last, those whose first half they search for
_KEY = 1 << 49  # above the microseconds of ten years


@dataclass(frozen=True)
class _Searches:
    """S searches by user and time; number: searches of the user before each."""

    user: Ints
    time: Ints
    number: Ints


def simulate_searches(
    world: World,
    shop: Shop,
    people: People,
    members: Members | None,
    feed: Feed,
    *,
    user: Ints,
    time: Ints,
    errand_codes: Ints,
    rng: np.random.Generator,
) -> Block:
    """Draw the searches for a feed; return both.

    Args:
        world: the settings.
        shop: the catalogue.
        people: the users.
        members: their archetypes; None in a world without.
        feed: their feed.
        user: [S] user of each search.
        time: [S] its time.
        errand_codes: words of queries about nothing in the shop.
        rng: all draws come from it.

    Raises:
        SettingsError: `reveal` is more than the share of last clicks that can be announced.
    """
    searches = _Searches(user, time, np.arange(len(user)) - np.searchsorted(user, user))
    intent, kind = _draw_intents(world, shop, people, members, feed, searches, rng)
    taste = np.where(rng.random(len(user)) < TASTE_SHARE, people.taste[user], -1)
    target = shop.draw_item(np.maximum(kind, 0), taste, rng.random(len(user)))

    # The feed comes first, so that of two clicks on one item the feed's stays as it is.
    at = np.arange(len(feed.user), len(feed.user) + len(user))
    owner, item = np.concatenate((feed.user, user)), np.concatenate((feed.item, target))
    clicks = np.ones(len(owner), dtype=bool)
    clicks[at] = (intent != ERRAND) & (rng.random(len(user)) >= world.unclicked_share)
    clicks &= without_repeats(shop, owner, item, clicks, rng, ("type",) * 3)
    clicked, first = search_clicks(shop, rng, taste=people.taste, user=owner, item=item, clicks=clicks, search_at=at)
    return Block(
        age=people.age,
        gender=people.gender,
        city=people.city,
        user=feed.user,
        time=feed.time,
        item=feed.item,
        event=feed.event,
        search_user=user,
        search_time=time,
        words=draw_queries(world, shop, rng, errand_codes=errand_codes, target_item=item[at], intent=intent),
        clicked=clicked,
        clicked_first=first,
        intent=intent,
        intent_type=kind,
        returns=intent == REVEAL,
        number=np.arange(len(user)),
        foreign=np.zeros(len(user), dtype=np.int64),
    )


def _draw_intents(
    world: World,
    shop: Shop,
    people: People,
    members: Members | None,
    feed: Feed,
    searches: _Searches,
    rng: np.random.Generator,
) -> tuple[Ints, Ints]:
    """Intent (code of `INTENTS`) and product type (-1 for none) of each search."""
    user = searches.user
    free, opens = np.ones(len(user), dtype=bool), np.zeros(len(feed.user), dtype=bool)
    if members is not None:
        sparse = members.sparse
        free = sparse[user] | (searches.number >= SIGNATURE)
        opened = rng.random(len(sparse)) < _OPENED
        opens = (feed.source == CLOSES_ARC) & np.where(sparse, opened, True)[feed.user]
        opens &= ~sparse[feed.user] | (feed.left == 0)
    announced = _announced(world, feed, searches, free, opens, rng.random(len(feed.user)))
    search = _latest_search(feed, searches, free, announced | opens)
    click = np.full(len(user), -1)
    click[search[search >= 0]] = np.flatnonzero(search >= 0)

    intent, kind = _unrelated(world, shop, people, feed, searches, click < 0, rng)
    if members is not None:
        place = np.where(members.sparse[user], rng.integers(0, SIGNATURE, len(user)), searches.number % SIGNATURE)
        signed = (click < 0) & (searches.number < np.where(members.sparse[user], 1, SIGNATURE))
        intent[signed], kind[signed] = OF_ARCHETYPE, members.signature[user, place][signed]
        opening = (click >= 0) & opens[click]
        intent[opening], kind[opening] = ARC, members.searched[user[opening], feed.arc[click[opening]]]
    _refuse_news(feed, searches, rng, intent=intent, kind=kind)
    revealing = (click >= 0) & announced[click]
    intent[revealing], kind[revealing] = REVEAL, feed.kind[click[revealing]]
    return intent, kind


def _announced(world: World, feed: Feed, searches: _Searches, free: Mask, opens: Mask, chance: Floats) -> Mask:
    """[F] the feed clicks that a search is to announce: the share `reveal` of all users' last clicks, exactly.

    Of the last but one as many, and of the others at that rate, as far as searches reach.
    """
    fits = feed.is_new & (feed.source != CLOSES_ARC)
    announced = np.zeros(len(chance), dtype=bool)
    for part in (feed.left == 0, feed.left == 1, feed.left > 1):
        able = np.flatnonzero(
            part & fits & (_latest_search(feed, searches, free, announced | opens | (part & fits)) >= 0)
        )
        count = round(world.reveal * int(part.sum()))
        if count > len(able) and not feed.left[part].any():
            raise SettingsError(
                "too few last clicks can be announced by a search",
                where="setting 'reveal'",
                got=world.reveal,
                expected=f"at most {len(able) / int(part.sum()):.2f}",
                remedy="lower it, raise needs, clicks or searches, or lower sparse_share",
            )
        announced[able[np.argsort(chance[able], kind="stable")[:count]]] = True
    return announced


def _latest_search(feed: Feed, searches: _Searches, free: Mask, clicks: Mask) -> Ints:
    """[F] for each of some feed clicks the latest free search before it that no later click takes, -1 for none.

    The clicks of a user queue from the last to the first: the r-th takes search min over i <= r of (p_i + i) - r, where
    p_i is the last free search before click i.
    """
    rows, at = np.flatnonzero(clicks)[::-1], np.flatnonzero(free)
    user = feed.user[rows]
    before = np.searchsorted(searches.user[at] * _KEY + searches.time[at], user * _KEY + feed.time[rows]) - 1
    order = np.arange(len(rows)) - np.searchsorted(-user, -user)
    apart = user * (2 * (len(feed.user) + len(at)) + 2)  # keeps one user's running minimum clear of the next
    taken = np.minimum.accumulate(before + order + apart) - apart - order
    ok = taken >= np.searchsorted(searches.user[at], user)
    search = np.full(len(clicks), -1)
    search[rows[ok]] = at[taken[ok]]
    return search


def _unrelated(
    world: World,
    shop: Shop,
    people: People,
    feed: Feed,
    searches: _Searches,
    unrelated: Mask,
    rng: np.random.Generator,
) -> tuple[Ints, Ints]:
    """Intent and type of searches as if none announced anything; `unrelated` are those that do not."""
    user, count, fed = searches.user, len(searches.user), fed_departments(world)
    never = min(fed + OUTSIDE_INTERESTS, world.departments - 1)
    noisy = rng.random(count) * max(unrelated.mean() if count else 0.0, 1e-9) < world.noise_share
    noise = np.where(rng.random(count) < ERRAND_SHARE, ERRAND, OTHER)
    shared = np.where(rng.random(count) < NEED_SHARE, NEED, INTEREST)
    related = np.where(rng.random(count) < world.overlap, shared, OUTSIDE)
    intent = np.where(noisy, noise, related)

    clicked, has_clicked = _clicked_types(feed, searches, rng)
    intent[(intent == INTEREST) & ~has_clicked] = OUTSIDE
    kind = np.where(intent == INTEREST, clicked, -1)
    outside = people.outside[user, draw_slot(OUTSIDE_INTERESTS, count, rng), searches.time // MONTH]
    kind = np.where(intent == OUTSIDE, outside, kind)
    for code, low, high in ((NEED, 0, fed), (OTHER, never, world.departments)):
        department = people.departments[user, rng.integers(low, high, count)]
        kind = np.where(intent == code, shop.draw_type(department, rng.random(count)), kind)
    return intent, kind


def _clicked_types(feed: Feed, searches: _Searches, rng: np.random.Generator) -> tuple[Ints, Mask]:
    """[S] the type of a feed click of the user's before the search, and whether there is one."""
    first = np.searchsorted(feed.user, searches.user)
    count = np.searchsorted(feed.user * _KEY + feed.time, searches.user * _KEY + searches.time) - first
    place = first + (rng.random(len(first)) * count).astype(np.int64)
    return feed.kind[place.clip(0, len(feed.kind) - 1)], count > 0


def _refuse_news(feed: Feed, searches: _Searches, rng: np.random.Generator, *, intent: Ints, kind: Ints) -> None:
    """Redraw, in `intent` and `kind`, searches whose type has its first feed click later: a known one, or an errand."""
    types = int(max(feed.kind.max(initial=0), kind.max(initial=0))) + 1
    keys, first = np.unique(feed.user * types + feed.kind, return_index=True)
    key = searches.user * types + kind
    place = np.searchsorted(keys, key).clip(0, len(keys) - 1)
    news = (kind >= 0) & (keys[place] == key) & (feed.time[first[place]] > searches.time)
    clicked, has_clicked = _clicked_types(feed, searches, rng)
    intent[news] = np.where(has_clicked, INTEREST, ERRAND)[news]
    kind[news] = np.where(has_clicked, clicked, -1)[news]


def add_foreign(world: World, block: Block, rng: np.random.Generator) -> Block:
    """Return the block with `world.inject` searches of other users beside each search; those of less are among them.

    A foreign search keeps its query and clicks, without items that the user clicks anyway. It lies between the search
    and the event before or after it.

    Args:
        world: the settings.
        block: of users, without foreign searches.
        rng: all draws come from it.
    """
    user, count = block.search_user, len(block.search_user)
    size = np.bincount(user, minlength=len(block.age))[user]
    shape = (MOST_FOREIGN, count)
    drawn = (rng.random(shape) * (count - size)).astype(np.int64)
    source = (np.searchsorted(user, user) + size + drawn) % max(count, 1)
    time = _beside(block, rng.random(shape), rng.random(shape) < 0.5)
    more = np.tile(count > size, (world.inject, 1)).ravel()  # a user who alone searches has nobody to get one from
    beside = np.tile(np.arange(count), world.inject)[more]
    foreign = np.repeat(np.arange(1, world.inject + 1), count)[more]
    source, time = source[: world.inject].ravel()[more], time[: world.inject].ravel()[more]

    row = np.concatenate((np.arange(count), source))
    who, when = user[np.concatenate((np.arange(count), beside))], np.concatenate((block.search_time, time))
    length = np.diff(block.clicked_first)[row]
    search = np.repeat(np.arange(len(row)), length)
    item = block.clicked[_ranges(block.clicked_first[row], length)]
    keys = np.concatenate((block.user * _KEY + block.item, who[search] * _KEY + item))
    first = np.zeros(len(keys), dtype=bool)
    first[np.unique(keys, return_index=True)[1]] = True
    stays = first[len(block.user) :]

    order = np.lexsort((when, who))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    search, item = place[search[stays]], item[stays]
    clicked = item[np.argsort(search, kind="stable")]
    sizes = np.bincount(search, minlength=len(row))
    return replace(
        block,
        search_user=who[order],
        search_time=when[order],
        words=[part[row][order] for part in block.words],
        clicked=clicked,
        clicked_first=np.concatenate(([0], np.cumsum(sizes))),
        intent=np.concatenate((block.intent, np.full(len(beside), FOREIGN)))[order],
        intent_type=block.intent_type[row][order],
        returns=np.concatenate((block.returns, np.zeros(len(beside), dtype=bool)))[order],
        number=np.concatenate((block.number, beside))[order],
        foreign=np.concatenate((block.foreign, foreign))[order],
    )


def _beside(block: Block, chance: Floats, after: Mask) -> Ints:
    """[8, S] a time for each foreign search: between its search and the user's event before or after it."""
    user = np.concatenate((block.user, block.search_user))
    time = np.concatenate((block.time, block.search_time))
    order = np.lexsort((time, user))
    same = np.diff(user[order]) == 0
    gap = np.diff(time[order])
    to_next, to_last = np.zeros(len(user), dtype=np.int64), np.zeros(len(user), dtype=np.int64)
    to_next[order[:-1]], to_last[order[1:]] = np.where(same, gap, 0), np.where(same, gap, 0)
    to_next, to_last = to_next[len(block.user) :], to_last[len(block.user) :]
    after = np.where(to_last == 0, True, np.where(to_next == 0, False, after))
    # Eight places in the nearer two fifths of a gap of at least 1,000 microseconds: no two times are the same.
    part = (np.arange(MOST_FOREIGN)[:, None] + 0.1 + 0.8 * chance) / (2.5 * MOST_FOREIGN)
    times: Ints = block.search_time + np.where(after, part * to_next, -part * to_last).astype(np.int64)
    return times


def _ranges(first: Ints, length: Ints) -> Ints:
    """The numbers first, first + 1, ... of each length, end to end."""
    ends = np.cumsum(length)
    ranges: Ints = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(first - (ends - length), length)
    return ranges
