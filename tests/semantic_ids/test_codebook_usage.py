"""Use of codes by hand, collapse told and named, and user codes that cannot be."""

import numpy as np
import pytest
from numpy.typing import NDArray

from searec.errors import DataError
from searec.semantic_ids.codebook_usage import code_use, describe, shared
from searec.semantic_ids.user_code_table import NONE, UserCodes


def test_perplexity_by_hand() -> None:
    codes = np.array([[0, 5]] * 2 + [[1, 5]] * 1 + [[2, 5]] * 1)
    first, second = code_use(codes, 8)
    assert (first.level, first.size, first.users, first.used, first.largest) == (0, 8, 4, 3, 0.5)
    assert first.perplexity == pytest.approx(2**1.5)  # entropy of (1/2, 1/4, 1/4) is 1.5 bits
    assert (second.used, second.perplexity, second.largest) == (1, 1.0, 1.0)
    assert second.collapsed
    assert not first.collapsed


def test_collapse_by_low_perplexity_without_a_majority() -> None:
    codes = np.arange(256)[:, None] % 4  # a quarter each in 4 of 256 codes
    [use] = code_use(codes, 256)
    assert use.largest == 0.25
    assert use.collapsed
    [full] = code_use(np.arange(256)[:, None], 256)
    assert full.perplexity == pytest.approx(256)
    assert not full.collapsed


def test_few_users_cannot_fill_a_codebook() -> None:
    [use] = code_use(np.arange(5)[:, None], 256)
    assert not use.collapsed
    [one] = code_use(np.array([[3]]), 256)
    assert not one.collapsed
    [none] = code_use(np.zeros((0, 1), dtype=np.int16), 256)
    assert (none.perplexity, none.largest, none.collapsed) == (0.0, 0.0, False)


def test_collapse_is_named_with_a_remedy() -> None:
    text = describe(code_use(np.array([[0, 1], [0, 2], [0, 3]]), 4))
    assert "Level 1 has collapsed: 100% of the users have one code" in text
    assert "sinkhorn" in text
    assert "Level 2" not in text


def test_shared_tuples() -> None:
    assert shared(np.array([[1, 2], [1, 2], [1, 3], [4, 5]])) == (3, 0.5)
    assert shared(np.zeros((0, 2), dtype=np.int16)) == (0, 0.0)


def codes_of(*rows: object) -> NDArray[np.int16]:
    """Row 0 of padding, then rows of [[recommend], [search]]."""
    return np.array([[[NONE, NONE], [NONE, NONE]], *rows], dtype=np.int16)


def test_user_codes_tell_who_has_a_side() -> None:
    codes = UserCodes(codes_of([[0, 1], [NONE, NONE]], [[2, 3], [3, 0]]), 4)
    assert (codes.users, codes.levels) == (2, 2)
    assert codes.has().tolist() == [[False, False], [True, False], [True, True]]


@pytest.mark.parametrize(
    ("codes", "where"),
    [
        (codes_of([[0, 4], [0, 0]]), "user 1, recommend side, level 1"),
        (codes_of([[0, 1], [-2, 0]]), "user 1, search side, level 0"),
        (codes_of([[0, 1], [0, 0]], [[0, NONE], [0, 0]]), "user 2, recommend side, level 1"),
        (np.zeros((2, 2, 2), dtype=np.int16), "user 0, recommend side, level 0"),
    ],
)
def test_bad_codes_are_refused_by_place(codes: NDArray[np.int16], where: str) -> None:
    with pytest.raises(DataError, match="bad user code") as caught:
        UserCodes(codes, 4)
    assert where in str(caught.value)


def test_one_sided_table_is_refused() -> None:
    with pytest.raises(DataError, match="wrong shape"):
        UserCodes(np.zeros((3, 2), dtype=np.int16), 4)
