"""Profiles and ids of a simulated block of users."""

import polars as pl

from searec.data.synthetic.world_events import Block
from searec.data.synthetic.world_words import AGE_GROUPS, CITIES, GENDERS


def profile_table(block: Block, first: int) -> pl.DataFrame:
    """Return the block's rows of users.parquet.

    Args:
        block: of users.
        first: the number of its first user.
    """
    return pl.DataFrame(
        {
            "user_id": user_ids(first, len(block.age)),
            "age_group": pl.Series(AGE_GROUPS).gather(block.age),
            "gender": pl.Series(GENDERS).gather(block.gender),
            "city": pl.Series(CITIES).gather(block.city),
        }
    )


def search_ids(block: Block, first: int) -> pl.Series:
    """Return the ids of the block's searches: 's{number}', and 's{number}-{n}' of the n-th foreign one beside it.

    Args:
        block: of users.
        first: number of its first search.
    """
    number = pl.format("s{}", pl.lit(pl.Series(block.number + first)))
    nth = pl.lit(pl.Series(block.foreign))
    return pl.select(pl.when(nth == 0).then(number).otherwise(pl.format("{}-{}", number, nth))).to_series()


def user_ids(first: int, count: int) -> pl.Series:
    """Return 'u{first}' and the `count - 1` ids after it.

    Args:
        first: number of the first.
        count: how many.
    """
    return numbered("u", first, count)


def numbered(letter: str, first: int, count: int) -> pl.Series:
    """Return a letter with the numbers first, first + 1, ... after it.

    Args:
        letter: the prefix.
        first: number of the first.
        count: how many.
    """
    return pl.select(pl.format(f"{letter}{{}}", pl.int_range(first, first + count))).to_series()
