"""The queries of simulated searches, and what is clicked after them."""

from collections.abc import Sequence

import numpy as np

from searec.data.synthetic.world import World
from searec.data.synthetic.world_items import Ints, Mask, Shop
from searec.data.synthetic.world_words import ERRANDS

INTENTS = ("interest", "need", "outside", "other department", "errand", "reveal", "arc", "signature", "foreign")
INTEREST, NEED, OUTSIDE, OTHER, ERRAND, REVEAL, ARC, OF_ARCHETYPE, FOREIGN = range(9)

_MORE_CLICKS = (0.25, 0.08)  # of clicked searches with a second, a third click
# Share of queries by what they hold beside the product type: (words before, words after, share).
_PATTERNS = (
    ("", "", 0.28),
    ("adjective", "", 0.24),
    ("brand", "", 0.12),
    ("brand adjective", "", 0.05),
    ("", "first", 0.10),
    ("", "second", 0.06),
    ("adjective", "first", 0.08),
    ("broad", "", 0.07),
)


def search_clicks(
    shop: Shop, rng: np.random.Generator, *, taste: Ints, user: Ints, item: Ints, clicks: Mask, search_at: Ints
) -> tuple[Ints, Ints]:
    """Return the clicked items of the searches, end to end, and where each search's begin ([S + 1]).

    Args:
        shop: the catalogue.
        rng: all draws come from it.
        taste: [U] taste of each user.
        user: [events] user of each event.
        item: [events] item of each event.
        clicks: [events] whether it has a click.
        search_at: [S] places of the searches.
    """
    target_item, who = item[search_at], user[search_at]
    count, share = len(search_at), rng.random(len(search_at))
    more = [shop.draw_item(shop.item_type[target_item], taste[who], rng.random(count)) for _ in _MORE_CLICKS]
    repeated = np.flatnonzero(np.concatenate([clicks[search_at] & (share < limit) for limit in _MORE_CLICKS]))

    # Of equal pairs (user, item) unique keeps the first, and what is clicked anyway comes first.
    owner = np.concatenate([user[clicks], who[repeated % count]])
    chosen = np.concatenate([item[clicks], np.concatenate(more)[repeated]])
    _, first = np.unique(owner * len(shop.item_type) + chosen, return_index=True)
    new = np.zeros(count * len(_MORE_CLICKS), dtype=bool)
    new[repeated[first[first >= clicks.sum()] - clicks.sum()]] = True
    mask = np.stack([clicks[search_at], *new.reshape(len(_MORE_CLICKS), count)], axis=1)
    return np.stack([target_item, *more], axis=1)[mask], np.concatenate(([0], np.cumsum(mask.sum(axis=1))))


def draw_queries(
    world: World, shop: Shop, rng: np.random.Generator, *, errand_codes: Ints, target_item: Ints, intent: Ints
) -> list[Ints]:
    """Return four codes a query: words of the target item's title or its broader family, or an errand.

    Args:
        world: the settings.
        shop: the catalogue.
        rng: all draws come from it.
        errand_codes: words of queries about nothing in the shop.
        target_item: [S] the item whose words are used.
        intent: [S] codes of `INTENTS`.
    """
    count = len(target_item)
    shares = np.cumsum([share for _, _, share in _PATTERNS])
    pattern = np.searchsorted(shares, rng.random(count) * shares[-1], side="right").clip(0, len(_PATTERNS) - 1)
    kind = shop.item_type[target_item]

    def held(part: Sequence[str], word: str) -> Mask:
        rows: Mask = np.array([word in words.split() for words in part])[pattern]
        return rows

    before, after = [row[0] for row in _PATTERNS], [row[1] for row in _PATTERNS]
    name = np.where(
        rng.random(count) < world.typo_share, shop.type_typos[kind, rng.integers(0, 2, count)], shop.type_name[kind]
    )
    name = np.where(held(before, "broad"), shop.type_broad[kind], name)
    errand = intent == ERRAND
    return [
        np.where(held(before, "brand") & ~errand, shop.brand[target_item], 0),
        np.where(held(before, "adjective") & ~errand, shop.adjective[target_item], 0),
        np.where(errand, errand_codes[rng.integers(0, len(ERRANDS), count)], name),
        np.where(
            errand,
            0,
            np.select(
                [held(after, "first"), held(after, "second")],
                [shop.first_half[target_item], shop.second_half[target_item]],
            ),
        ),
    ]
