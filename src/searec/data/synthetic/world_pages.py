"""Result pages of simulated searches: what a shop that ranks by popularity shows, and clicks by position bias.

A page holds items of the searched type. The shop orders them by popularity, somewhat by the words of the query, and by
chance, so that one query shows a result at several positions. A result is clicked if its position is examined and it is
relevant, independently: more so with the query's words, and cheap for its type. So the log's order and the truth
differ, and clicks alone speak for the log's order.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from searec.data.synthetic.world import World
from searec.data.synthetic.world_events import Block
from searec.data.synthetic.world_items import TIERS, Floats, Ints, Mask, Shop, join_words

_RELEVANT = 0.5  # of the cheapest item of its type that has all words of the query
_WORDS, _PRICE = 0.65, 0.7  # shares of that which the words and a low price make
_MATCH, _NOISE = 0.8, 0.7  # of the shop's ranking, beside the logarithm of popularity


def examination(world: World) -> Floats:
    """Return [K] the chance that each position of a page is examined: position ^ -`position_bias`."""
    return np.arange(1.0, world.shown + 1) ** -world.position_bias


def add_pages(world: World, shop: Shop, block: Block, rng: np.random.Generator) -> Block:
    """Return the block with a result page for each search for products, and clicks drawn on it in place of its clicks.

    Args:
        world: with `shown` above 0.
        shop: the catalogue.
        block: of users.
        rng: all draws come from it.
    """
    searches = len(block.search_user)
    shown, clicked = np.full((searches, world.shown), -1), np.zeros((searches, world.shown), dtype=bool)
    chance = examination(world)
    for rows, items in _by_type(shop, block.intent_type):
        match = word_match(shop, [code[rows] for code in block.words], items)
        popularity = -world.skew * np.log(np.arange(1.0, len(items) + 1))
        score = popularity + _MATCH * match + _NOISE * rng.gumbel(size=match.shape)
        page = np.argsort(-score, axis=1)[:, : world.shown]
        width = page.shape[1]
        relevance = np.take_along_axis(relevance_of(shop, items, match), page, axis=1)
        shown[rows, :width] = items[page]
        clicked[rows, :width] = rng.random(page.shape) < chance[:width] * relevance
    return replace(
        block,
        clicked=shown[clicked],
        clicked_first=np.concatenate(([0], np.cumsum(clicked.sum(axis=1)))),
        shown=shown[shown >= 0],
        shown_first=np.concatenate(([0], np.cumsum((shown >= 0).sum(axis=1)))),
    )


def true_relevance(shop: Shop, words: pl.Series, block: Block) -> pl.DataFrame:
    """Return query, item_id and relevance of each distinct query of a block and each item of its type.

    `searec evaluate --labels` reads it. A query with items of several types, by a broader word, has those of all.

    Args:
        shop: the catalogue.
        words: texts of the codes.
        block: of users.
    """
    texts = join_words(words, block.words).str.to_lowercase()
    tables = []
    for rows, items in _by_type(shop, block.intent_type):
        first = rows[np.unique(np.stack([code[rows] for code in block.words]), axis=1, return_index=True)[1]]
        relevance = relevance_of(shop, items, word_match(shop, [code[first] for code in block.words], items))
        query = texts.gather(np.repeat(first, len(items)))
        item_id = shop.items["item_id"].gather(np.tile(items, len(first)))
        tables.append(pl.DataFrame({"query": query, "item_id": item_id, "relevance": relevance.ravel()}))
    schema = {"query": pl.String, "item_id": pl.String, "relevance": pl.Float64}
    every = pl.concat([pl.DataFrame(schema=schema), *tables])
    return every.group_by("query", "item_id").agg(pl.col("relevance").max()).sort("query", "item_id")


def _by_type(shop: Shop, intent_type: Ints) -> Iterator[tuple[Ints, Ints]]:
    """The searches of each product type, and its items, the most popular first."""
    order = np.argsort(intent_type, kind="stable")
    whole = len(shop.type_department) * TIERS * 2
    for kind in np.unique(intent_type[intent_type >= 0]).tolist():
        first, end = np.searchsorted(intent_type[order], (kind, kind + 1))
        yield order[first:end], shop.list_items[shop.list_first[whole + kind] : shop.list_first[whole + kind + 1]]


def word_match(shop: Shop, words: list[Ints], items: Ints) -> Floats:
    """Return [S, n] the share of each query's words beside the type that each item has; 1 without such words.

    Args:
        shop: the catalogue.
        words: four codes of S queries, as of `Block`.
        items: [n].
    """
    brand, adjective, _, variant = (code[:, None] for code in words)
    has: list[Mask] = [brand == shop.brand[items], adjective == shop.adjective[items]]
    has.append((variant == shop.first_half[items]) | (variant == shop.second_half[items]))
    given = np.stack([code > 0 for code in (brand, adjective, variant)])
    count = given.sum(axis=0)
    hits = (given & np.stack(has)).sum(axis=0)
    return np.where(count > 0, hits / np.maximum(count, 1), 1.0)


def relevance_of(shop: Shop, items: Ints, match: Floats) -> Floats:
    """Return [S, n] the chance of a click on each examined item.

    Args:
        shop: the catalogue.
        items: [n] all items of one type.
        match: [S, n] as of `word_match`.
    """
    price = shop.items["price"].to_numpy()[items]
    dearer = np.argsort(np.argsort(price, kind="stable")) / max(1, len(items) - 1)
    return np.asarray(_RELEVANT * (1 - _WORDS + _WORDS * match) * (1 - _PRICE * dearer))
