"""The dials of a simulated world."""

from datetime import date
from typing import Annotated

from pydantic import Field

from searec.config import Count, Natural, NonNegative, Seed, Share, settings


@settings
class World:
    """A shop, its users and what they do; `searec.data.synthetic.simulate` writes it as a dataset folder.

    Size:
        users, items: how many; at least one item for each product type of the tree.
        clicks: mean feed clicks a user, at least 3 (every user starts with 3).
        searches: mean searches of a user who is no sparse searcher, at least 10.
        start, days: first day and length; the end lies in the past.
        departments, families, types: branching of the category tree, broad to narrow.

    Behaviour (a share is between 0 and 1):
        interests: product types a user is after at one time.
        drift: share of a user's interests replaced every 30 days.
        sparse_share: share of users with 0 to 9 searches; the others have 10 or more.
        noise_share: share of searches that have nothing to do with the user: errands, or a department of no interest.
        overlap: share of the other searches that reveal nothing whose intent belongs to the feed's departments; the
            rest lies outside them.
        unclicked_share: share of the searches for products that end without a click; errands never have one.
        follow_share: share of feed clicks that go with the click before: a complement, half the time its exact partner.
        typo_share: share of the queries that name a product type and misspell it.
        skew: Zipf exponent of item popularity within a type, half of it for types within a department.
        profile: how strongly age, gender and city decide the departments; 0 not at all.

    Controls (worlds that differ in these alone share their feed, and so their targets, byte for byte):
        reveal: share of the users' last clicks whose type occurs before only in searches of theirs; 0 for none, when
            with `overlap` 0 no search says anything of the feed.
        needs: share of feed clicks that go neither with an interest nor with the click before; most are of a new type.
            Not a control: another share is another feed.
        inject: foreign searches, of other users, beside each search.
        archetypes: hidden clusters of users; 0 for none (`world_arcs`).
        arc_share: share of the last two clicks of a user that close an arc of the archetype.
        sparse_clicks: feed clicks of an archetype's sparse searchers, with at most one search; 0 for as many clicks as
            others have, and up to 9 searches.
        shuffle_arcs: give each user the arcs of an archetype drawn at random: a world of archetypes where neighbours
            know nothing.

    Result pages:
        shown: results on the page of a search (`world_pages`); 0 for no pages. With pages an item may be clicked again,
            and `unclicked_share` is not read.
        position_bias: a position is examined with the chance position ^ -position_bias; 0 for all alike.

    seed: same settings, same folder, byte for byte.
    truth: also write truth*.parquet: what is behind every search, feed click and user.
    """

    users: Count = 2_000
    items: Count = 1_500
    clicks: Annotated[float, Field(ge=3)] = 20.0
    searches: Annotated[float, Field(ge=10)] = 24.0
    start: date = date(2024, 1, 1)
    days: Annotated[int, Field(ge=2, le=3650)] = 180
    departments: Annotated[int, Field(ge=3, le=11)] = 11
    families: Annotated[int, Field(ge=1, le=6)] = 6
    types: Annotated[int, Field(ge=1, le=5)] = 5
    interests: Annotated[int, Field(ge=1, le=20)] = 4
    drift: Share = 0.2
    sparse_share: Share = 0.6
    noise_share: Share = 0.15
    overlap: Share = 0.6
    unclicked_share: Share = 0.25
    follow_share: Share = 0.3
    typo_share: Share = 0.04
    skew: NonNegative = 0.8
    profile: NonNegative = 1.0
    reveal: Share = 0.2
    needs: Share = 0.5
    inject: Annotated[int, Field(ge=0, le=8)] = 0
    archetypes: Natural = 0
    arc_share: Share = 0.6
    sparse_clicks: Natural = 4
    shuffle_arcs: bool = False
    shown: Annotated[int, Field(ge=0, le=100)] = 0
    position_bias: NonNegative = 1.0
    seed: Seed = 0
    truth: bool = False

    @property
    def months(self) -> int:
        """Spells of 30 days, the last one perhaps shorter."""
        return -(-self.days // 30)

    @property
    def block_users(self) -> int:
        """Users made at once: about a million events, so that memory stays flat whatever the size of the world."""
        a_user = self.clicks + self.searches * (1 - self.sparse_share) + 4 * self.sparse_share
        return max(64, min(16_384, int(1_000_000 / a_user)))


SAMPLE = World(
    users=800,
    items=600,
    clicks=14.0,
    searches=24.0,
    families=3,
    types=4,
    reveal=0.3,
    needs=0.3,
    archetypes=40,
    arc_share=0.25,
    sparse_clicks=0,
    seed=7,
)
"""The world of the packaged sample: searches announce later clicks, rich searchers inform sparse ones, some err."""
