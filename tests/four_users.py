"""A log by hand, and logs drawn at random, small enough to work everything out.

Four users, six items, seconds since `START`.
"""

from typing import Any

import numpy as np
from hypothesis import strategies as st

US = 1_000_000
START = int(np.datetime64("2023-05-01", "us").astype(np.int64))
LETTERS = "abcdef"

# anna has 4 feed events and 3 searches with clicks; ben 2 and 1 (too few); carl none; dora 3 feed events, two of them
# at once.
LOG: dict[str, Any] = {
    "items": {letter: f"thing {letter}" for letter in LETTERS},
    "users": ["anna", "ben", "carl", "dora"],
    "feed": [
        ("anna", "a", 10),
        ("anna", "b", 20),
        ("anna", "c", 30),
        ("anna", "d", 40),
        ("ben", "a", 10),
        ("ben", "b", 20),
        ("dora", "a", 10),
        ("dora", "b", 50),
        ("dora", "c", 50),
    ],
    "searches": [
        ("anna", "x", 5, ["e"]),
        ("anna", "y", 15, []),
        ("anna", "y", 20, ["f", "a"]),
        ("anna", "z", 35, ["b", "c"]),
        ("anna", "z", 45, []),
        ("ben", "x", 15, ["c"]),
    ],
}

WHEN = st.integers(0, 12)
USER = st.sampled_from(["u0", "u1", "u2"])
ITEM = st.sampled_from(LETTERS)
RANDOM_LOG = st.fixed_dictionaries(
    {
        "feed": st.lists(st.tuples(USER, ITEM, WHEN), max_size=25, unique=True),
        "searches": st.lists(st.tuples(USER, st.sampled_from("xyz"), WHEN, st.lists(ITEM, max_size=3)), max_size=15),
    }
)
"""Feed and searches of three users, u0 to u2, within twelve seconds, so that many tie."""
