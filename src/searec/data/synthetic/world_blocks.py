"""The blocks of a world. Feed, searches and foreign searches have a stream of random numbers each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from searec.data.synthetic.world import World
from searec.data.synthetic.world_arcs import Archetypes, Members, draw_archetypes, draw_members
from searec.data.synthetic.world_events import Block, People, draw_people
from searec.data.synthetic.world_feed import Feed, draw_feed
from searec.data.synthetic.world_items import Ints, Mask, Shop, build_shop
from searec.data.synthetic.world_pages import add_pages
from searec.data.synthetic.world_searches import add_foreign, simulate_searches
from searec.data.synthetic.world_words import ERRANDS


@dataclass(frozen=True)
class Truth:
    """What no model sees of a block: what its users are after, their archetypes (if any) and the feed's sources."""

    people: People
    members: Members | None
    feed: Feed

    def revealed(self, block: Block) -> Mask:
        """Return [F] which feed clicks have a type that occurs before only in searches of the user's.

        Args:
            block: whose truth this is.
        """
        types = int(max(self.feed.kind.max(initial=0), block.intent_type.max(initial=0))) + 1
        announced = block.search_user[block.returns] * types + block.intent_type[block.returns]
        shown: Mask = self.feed.is_new & np.isin(self.feed.user * types + self.feed.kind, announced)
        return shown


@dataclass(frozen=True)
class Blocks:
    """Iterates over a world's blocks and the truth behind each; the same each time.

    words: texts of the codes of queries.
    """

    world: World
    shop: Shop
    words: pl.Series
    archetypes: Archetypes | None

    def __iter__(self) -> Iterator[tuple[Block, Truth]]:
        world, block_users = self.world, self.world.block_users
        _, *seeds = np.random.SeedSequence(world.seed).spawn(1 + -(-world.users // block_users))
        errands = np.arange(len(self.shop.words), len(self.words))
        for place, seed in enumerate(seeds):
            users = min(block_users, world.users - place * block_users)
            yield simulate_block(world, self.shop, self.archetypes, errands, users, seed)


def blocks(world: World) -> Blocks:
    """Build a world's shop and archetypes, and what makes its blocks.

    Args:
        world: the settings.

    Raises:
        SettingsError: fewer items than product types, or too few product types for archetypes.
    """
    shop = build_shop(world, np.random.default_rng(np.random.SeedSequence(world.seed).spawn(1)[0]))
    words = pl.concat([shop.words, pl.Series(shop.words.name, ERRANDS)])
    return Blocks(world, shop, words, draw_archetypes(world, shop) if world.archetypes else None)


def simulate_block(
    world: World,
    shop: Shop,
    archetypes: Archetypes | None,
    errand_codes: Ints,
    users: int,
    seed: np.random.SeedSequence,
) -> tuple[Block, Truth]:
    """Draw everything that a block of users does, and the truth behind it.

    Args:
        world: the settings.
        shop: the catalogue.
        archetypes: of the world; None in a world without.
        errand_codes: words of queries about nothing in the shop.
        users: how many users.
        seed: of the block.
    """
    of_feed, of_members, of_searches, of_foreign, of_pages = seed.spawn(5)
    rng = np.random.default_rng(of_feed)
    people = draw_people(world, shop, users, rng)
    members = None if archetypes is None else draw_members(world, archetypes, users, of_members)
    if members is not None:
        people = replace(people, taste=members.tier * 2 + people.taste % 2)
    feed, user, time = draw_feed(world, shop, people, members, rng)
    block = simulate_searches(
        world,
        shop,
        people,
        members,
        feed,
        user=user,
        time=time,
        errand_codes=errand_codes,
        rng=np.random.default_rng(of_searches),
    )
    if world.inject:
        block = add_foreign(world, block, np.random.default_rng(of_foreign))
    if world.shown:
        block = add_pages(world, shop, block, np.random.default_rng(of_pages))
    return block, Truth(people, members, feed)
