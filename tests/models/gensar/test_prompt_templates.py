"""Prompts laid out of stretches of tokens, against a loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from searec.models.gensar.prompt_templates import TEMPLATE_TEXTS, TEMPLATES
from searec.models.gensar.token_pieces import TokenPieces

Stretch = tuple[int, int]
"""Where it begins, and how many tokens it has."""


@st.composite
def prompts(draw: st.DrawFn) -> tuple[list[int], list[int], list[list[Stretch]]]:
    """Fixed and fresh tokens, and as many stretches in each row.

    None reaches from the fixed ones into the fresh ones.
    """
    fixed = draw(st.lists(st.integers(1, 99), min_size=1, max_size=12))
    fresh = draw(st.lists(st.integers(100, 199), max_size=12))

    def stretch() -> Stretch:
        low, high = draw(st.sampled_from([(0, len(fixed)), (len(fixed), len(fixed) + len(fresh))]))
        start = draw(st.integers(low, high))
        return start, draw(st.integers(0, min(5, high - start)))

    width = draw(st.integers(1, 6))
    return fixed, fresh, [[stretch() for _ in range(width)] for _ in range(draw(st.integers(1, 4)))]


def laid(fixed: list[int], fresh: list[int], rows: list[list[Stretch]]) -> tuple[list[list[int]], list[list[bool]]]:
    pieces = TokenPieces(torch.tensor(fixed), torch.tensor(fresh, dtype=torch.long))
    start, length = torch.tensor(rows).unbind(2)
    tokens, inside = pieces.join(start, length)
    return tokens.tolist(), inside.tolist()


@settings(max_examples=200, deadline=None)
@given(prompts())
def test_laid_out_as_by_a_loop(prompt: tuple[list[int], list[int], list[list[Stretch]]]) -> None:
    fixed, fresh, rows = prompt
    every = fixed + fresh
    expected = [[token for start, length in row for token in every[start : start + length]] for row in rows]
    longest = max(1, *map(len, expected))
    tokens, inside = laid(fixed, fresh, rows)
    assert tokens == [row + [0] * (longest - len(row)) for row in expected]
    assert inside == [[place < len(row) for place in range(longest)] for row in expected]


def test_stretches_of_nothing_take_no_place() -> None:
    rows = [[(0, 0), (1, 2), (5, 0), (3, 1), (0, 0)], [(0, 0)] * 5]
    assert laid([7, 8, 9], [100, 101], rows) == ([[8, 9, 100], [0, 0, 0]], [[True] * 3, [False] * 3])
    assert laid([7], [], [[(0, 0)], [(0, 0)]]) == ([[0], [0]], [[False], [False]]), "at least one place"


def test_no_rows_are_one_empty_column() -> None:
    tokens, inside = TokenPieces(torch.tensor([7]), torch.tensor([100])).join(*torch.zeros(2, 0, 3, dtype=torch.long))
    assert tokens.shape == inside.shape == (0, 1)


def test_tokens_may_be_zero() -> None:
    """A token 0 in a stretch is a token, and one behind the end is none."""
    tokens, inside = laid([0, 5], [], [[(0, 2)], [(1, 1)]])
    assert tokens == [[0, 5], [5, 0]]
    assert inside == [[True, True], [True, False]]


@pytest.mark.parametrize("task", TEMPLATES)
def test_phrasings_are_told_apart(task: str) -> None:
    """Every one says something, and no two tasks say the same."""
    assert all(before for before, _ in TEMPLATES[task])
    assert len(set(TEMPLATES[task])) == len(TEMPLATES[task])
    others = {both for other, several in TEMPLATES.items() if other != task for both in several}
    assert not others & set(TEMPLATES[task])
    assert {part for both in TEMPLATES[task] for part in both if part} <= set(TEMPLATE_TEXTS)
