"""The user-code graphs against the plain thing: LightGCN by products with one sparse matrix of all nodes."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

from searec.nn.light_gcn import UserCodeGraphs

USERS, LEVELS, SIZE, WIDTH = 23, 3, 5, 7


def drawn(seed: int = 0, absent: float = 0.3) -> Tensor:
    """[U + 1, 2, L] codes; some users have none on a side, user 0 has none at all."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, SIZE, (USERS + 1, 2, LEVELS)).astype(np.int16)
    codes[rng.random((USERS + 1, 2)) < absent] = -1
    codes[0] = -1
    return torch.from_numpy(codes)


def made(codes: Tensor, known: Tensor | None = None) -> UserCodeGraphs:
    graphs = UserCodeGraphs(USERS, LEVELS, SIZE)
    graphs.link(codes, torch.ones(USERS + 1, dtype=torch.bool) if known is None else known)
    return graphs


def tables(seed: int = 1) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    users = torch.randn(USERS + 1, WIDTH, dtype=torch.float64)
    users[0] = 0
    return users.requires_grad_(), torch.randn(2 * LEVELS * SIZE, WIDTH, dtype=torch.float64).requires_grad_()


def plain(codes: np.ndarray, users: Tensor, table: Tensor, layers: int, side: int) -> tuple[Tensor, Tensor]:
    """LightGCN over one side's graph: D^-1/2 A D^-1/2 of all nodes, layer by layer, and the mean over layers 0..K."""
    half = LEVELS * SIZE
    rows = [
        (user, level * SIZE + int(codes[user, side, level])) for user in range(1, USERS + 1) for level in range(LEVELS)
    ]
    rows = [(user, code) for user, code in rows if codes[user, side, 0] >= 0]
    count = USERS + 1 + half
    a = np.zeros((count, count))
    for user, code in rows:
        a[user, USERS + 1 + code] = a[USERS + 1 + code, user] = 1
    degree = a.sum(1)
    root = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    sparse = scipy.sparse.coo_matrix(root[:, None] * a * root[None, :])
    matrix = torch.sparse_coo_tensor(
        np.stack([sparse.row, sparse.col]), sparse.data, (count, count), check_invariants=True
    )
    layer = torch.cat((users, table[side * half : (side + 1) * half]))
    found = [layer]
    for _ in range(layers):
        found.append(torch.sparse.mm(matrix, found[-1]))
    mean = torch.stack(found).mean(0)
    return mean[: USERS + 1], mean[USERS + 1 :]


@pytest.mark.parametrize("layers", [0, 1, 2, 3, 4])
def test_equals_plain_lightgcn(layers: int) -> None:
    codes = drawn()
    graphs = made(codes).double()
    users, table = tables()
    everyone = torch.arange(USERS + 1)

    def ours() -> tuple[Tensor, Tensor]:
        read, mean = graphs.propagate(users, table, layers)
        return graphs.embed(users[everyone], graphs.nodes[everyone], read, layers), mean

    (embedded, mean), half = ours(), LEVELS * SIZE
    assert not mean[-1].any()
    theirs = [plain(codes.numpy(), users, table, layers, side) for side in (0, 1)]
    for side, (of_users, of_codes) in enumerate(theirs):
        torch.testing.assert_close(embedded[:, side], of_users, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mean[side * half : (side + 1) * half], of_codes, atol=1e-5, rtol=1e-5)
    weight = torch.randn(USERS + 1, 2, WIDTH, dtype=torch.float64)
    weight_codes = torch.randn(2 * half, WIDTH, dtype=torch.float64)
    own = torch.autograd.grad((embedded * weight).sum() + (mean[:-1] * weight_codes).sum(), (users, table))
    total: Any = sum(
        (of_users * weight[:, side]).sum() + (of_codes * weight_codes[side * half : (side + 1) * half]).sum()
        for side, (of_users, of_codes) in enumerate(theirs)
    )
    for mine, other in zip(own, torch.autograd.grad(total, (users, table)), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_a_user_without_codes_is_alone() -> None:
    codes = drawn()
    codes[5] = -1
    graphs, (users, table) = made(codes).double(), tables()
    read, _ = graphs.propagate(users, table, 2)
    torch.testing.assert_close(graphs.embed(users[5:6], graphs.nodes[5:6], read, 2)[0, 0], users[5] / 3)
    changed = users.detach().clone()
    changed[5] += 1
    again, _ = graphs.propagate(changed, table, 2)
    torch.testing.assert_close(again, read)


def test_users_with_a_code_in_common_reach_each_other_and_others_do_not() -> None:
    codes = torch.full((USERS + 1, 2, LEVELS), -1, dtype=torch.int16)
    codes[1, 0], codes[2, 0], codes[3, 0] = (
        torch.tensor(own, dtype=torch.int16) for own in ([0, 1, 2], [0, 3, 4], [1, 2, 3])
    )
    graphs, (users, table) = made(codes).double(), tables()

    def reach(user: int, of: int) -> bool:
        read, _ = graphs.propagate(users, table, 2)
        value = graphs.embed(users[user : user + 1].detach(), graphs.nodes[user : user + 1], read, 2).sum()
        return bool(torch.autograd.grad(value, users)[0][of].any())

    assert reach(1, 2) and reach(2, 1) and reach(1, 1)
    assert not reach(1, 3) and not reach(3, 1)


def test_a_user_who_came_later_reads_but_is_not_read() -> None:
    codes = drawn(absent=0.0)
    known = torch.ones(USERS + 1, dtype=torch.bool)
    known[7] = False
    without = codes.clone()
    without[7] = -1
    graphs, smaller = made(codes, known).double(), made(without).double()
    users, table = tables()
    read, mean = graphs.propagate(users, table, 3)
    for mine, other in zip((read, mean), smaller.propagate(users, table, 3), strict=True):
        torch.testing.assert_close(mine, other)
    assert graphs.embed(torch.zeros(1, WIDTH), graphs.nodes[7:8], read, 3).abs().sum() > 0
