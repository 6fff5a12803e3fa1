"""Rows of ids as sets."""

import torch

from searec.nn.sets import is_first, is_in


def test_values_are_looked_up_in_their_own_row() -> None:
    values, known = torch.tensor([[1, 5, 9], [1, 5, 9]]), torch.tensor([[5, 1], [7, 9]])
    assert is_in(values, known).tolist() == [[True, True, False], [False, False, True]]


def test_the_first_of_equal_values_in_each_row() -> None:
    assert is_first(torch.tensor([[3, 1, 3, 1], [2, 2, 2, 4]])).tolist() == [
        [True, True, False, False],
        [True, False, False, True],
    ]
