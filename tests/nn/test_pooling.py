"""Means over what is present, and ages."""

import torch
from torch import nn

from searec.nn.pooling import age, masked_mean, mean_embedding


def test_masked_mean_takes_what_is_present() -> None:
    x = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], [[5.0, 5.0], [5.0, 5.0], [5.0, 5.0]]])
    present = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(x, present).tolist() == [[2.0, 4.0], [0.0, 0.0]]


def test_mean_embedding_leaves_padding_out_wherever_it_stands() -> None:
    table = nn.Embedding(5, 3)
    ids = torch.tensor([[1, 0, 2], [0, 0, 0], [4, 4, 1]])
    expected = torch.stack(
        [(table.weight[1] + table.weight[2]) / 2, torch.zeros(3), (2 * table.weight[4] + table.weight[1]) / 3]
    )
    torch.testing.assert_close(mean_embedding(table, ids), expected)


def test_age_counts_newer_events_whatever_the_padding() -> None:
    present = torch.tensor([[True, True, True, False], [True, False, False, False], [False] * 4, [True] * 4])
    assert age(present, 9).tolist() == [[2, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [3, 2, 1, 0]]
    assert age(present, 2).tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]]
