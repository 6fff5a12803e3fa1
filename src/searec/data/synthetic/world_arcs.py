"""Archetypes of a simulated world: hidden clusters of users whose needs follow each other in arcs of their own.

An archetype has a signature (product types, in one price tier, that its users click or search for early) and arcs: who
searches for the first type later buys the second. Types are drawn evenly from the whole tree, so no text tells an arc.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searec.data.synthetic.world import World
from searec.data.synthetic.world_items import TIERS, Ints, Shop
from searec.errors import SettingsError

SIGNATURE, ARCS = 3, 3
_STREAM = 1 << 20  # a key that no block of users has


@dataclass(frozen=True)
class Archetypes:
    """N archetypes: signature [N, 3] types, tier [N], and arcs: searched [N, 3] types, then bought [N, 3] types."""

    signature: Ints
    tier: Ints
    searched: Ints
    bought: Ints


@dataclass(frozen=True)
class Members:
    """The archetype of U users, the arcs they live by and in which order.

    archetype, sparse: [U]. searched, bought: [U, 3] types; those of another archetype where arcs are shuffled.
    """

    archetype: Ints
    sparse: NDArray[np.bool_]
    signature: Ints
    tier: Ints
    searched: Ints
    bought: Ints


def draw_archetypes(world: World, shop: Shop) -> Archetypes:
    """Draw the archetypes of a world, the same for all of its users.

    Args:
        world: the settings.
        shop: the catalogue.

    Raises:
        SettingsError: too few product types for a signature and arcs of different types.
    """
    rng = np.random.default_rng(np.random.SeedSequence(world.seed, spawn_key=(_STREAM,)))
    types, needed = len(shop.type_department), SIGNATURE + 2 * ARCS
    if types < needed:
        raise SettingsError(
            "too few product types for archetypes",
            where="settings 'departments', 'families' and 'types'",
            got=types,
            expected=f"at least {needed}",
            remedy="raise them, or leave archetypes at 0",
        )
    drawn = np.argsort(rng.random((world.archetypes, types)), axis=1)[:, :needed]
    signature, searched, bought = np.split(drawn, (SIGNATURE, SIGNATURE + ARCS), axis=1)
    return Archetypes(signature, rng.integers(0, TIERS, world.archetypes), searched, bought)


def draw_members(world: World, archetypes: Archetypes, users: int, seed: np.random.SeedSequence) -> Members:
    """Draw the archetype of each user, and whether they are sparse searchers.

    Args:
        world: the settings.
        archetypes: of the world.
        users: how many.
        seed: of a stream of its own.
    """
    stream, other = (np.random.default_rng(part) for part in seed.spawn(2))
    archetype = stream.integers(0, world.archetypes, users)
    order = np.argsort(stream.random((users, ARCS)), axis=1)
    sparse = stream.random(users) < world.sparse_share
    arcs = other.integers(0, world.archetypes, users) if world.shuffle_arcs else archetype
    return Members(
        archetype,
        sparse,
        archetypes.signature[archetype],
        archetypes.tier[archetype],
        np.take_along_axis(archetypes.searched[arcs], order, axis=1),
        np.take_along_axis(archetypes.bought[arcs], order, axis=1),
    )


def arc_clicks(
    share: float, members: Members, user: Ints, number: Ints, left: Ints, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return [F] which feed clicks close an arc.

    Of a user's last two clicks a share does; a rich searcher's other arcs are closed by clicks from the third on.

    Args:
        share: of the last two clicks.
        members: the users.
        user: [F] user of each click.
        number: [F] clicks of the user before it.
        left: [F] clicks of the user after it.
        rng: all draws come from it.
    """
    chance = rng.random(len(user))
    late = left < 2
    priority = np.where(late, np.where(chance < share, -1.0, 2.0), chance)
    priority[~late & (members.sparse[user] | (number < 2))] = 2.0
    order = np.lexsort((priority, user))
    place = np.empty(len(user), dtype=np.int64)
    place[order] = np.arange(len(user))
    place -= np.searchsorted(user, user)
    closes: NDArray[np.bool_] = (place < ARCS) & (priority < 1)
    return closes
