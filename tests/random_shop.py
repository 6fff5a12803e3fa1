"""A small shop drawn at random: users, items, clicks and searches for `make_data`."""

from typing import Any

import numpy as np

ITEMS = "abcdefgh"
QUERIES = ("red", "red lamp", "a very long query about a lamp", "!!!", "lamp red")


def random_tables(seed: int, titles: str = "thing {}") -> dict[str, Any]:
    """8 items, 5 users of whom one does not search, up to 40 clicks and 25 searches within half a minute.

    So that some tie.
    """
    rng = np.random.default_rng(seed)
    users = [f"u{n}" for n in range(5)]
    feed = {(users[rng.integers(5)], ITEMS[rng.integers(8)], int(rng.integers(30))) for _ in range(40)}
    searches = [
        (
            users[rng.integers(4)],
            QUERIES[rng.integers(5)],
            int(rng.integers(30)),
            [ITEMS[n] for n in rng.integers(0, 8, rng.integers(0, 4))],
        )
        for _ in range(25)
    ]
    return {
        "items": {letter: titles.format(letter) for letter in ITEMS},
        "users": users,
        "feed": sorted(feed),
        "searches": searches,
    }
