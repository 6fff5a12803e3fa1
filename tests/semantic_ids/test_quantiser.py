"""Residual quantiser: known answers by hand, scikit-learn's k-means, balance, re-seeding, and gradients."""

import itertools
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from sklearn.cluster import KMeans
from torch import Tensor

from searec.semantic_ids.quantiser import ResidualQuantiser, balanced, distances, kmeans, nearest


def hand_made() -> ResidualQuantiser:
    """Tens at the first level, ones at the second."""
    quantiser = ResidualQuantiser(2, 3, 2, commitment=0.5, reseed_every=0)
    tens = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]
    ones = [[0.0, 0.0], [1.0, 1.0], [-1.0, 0.0]]
    quantiser.books.data = torch.tensor([tens, ones])
    quantiser.initted.fill_(True)
    return quantiser


def test_codes_of_residuals_by_hand() -> None:
    quantiser = hand_made()
    z = torch.tensor([[11.0, 1.5], [-0.8, 9.0], [0.1, 0.0]])
    found = quantiser(z)
    assert found.codes.tolist() == [[1, 1], [2, 2], [0, 0]]
    assert torch.equal(found.codes, quantiser.encode(z))
    assert torch.allclose(found.quantised, torch.tensor([[11.0, 1.0], [-1.0, 10.0], [0.0, 0.0]]))
    assert torch.allclose(quantiser.decode(found.codes), found.quantised)


def test_loss_by_hand() -> None:
    """One row, D = 2: residuals (1, 1.5) and (0, 0.5) are left by the levels, each counted with weight 1 and 0.5."""
    loss = hand_made()(torch.tensor([[11.0, 1.5]])).loss
    first, second = (1 + 1.5**2) / 2, 0.5**2 / 2
    assert loss.item() == pytest.approx(1.5 * (first + second) / 2)


def test_straight_through_hands_the_gradient_on() -> None:
    z = torch.tensor([[11.0, 1.5], [-0.8, 9.0]], requires_grad=True)
    weight = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    (hand_made()(z).quantised * weight).sum().backward()
    assert torch.equal(z.grad, weight)


def test_loss_moves_codes_to_rows_and_rows_to_codes() -> None:
    quantiser = hand_made()
    z = torch.tensor([[11.0, 1.5]], requires_grad=True)
    quantiser(z).loss.backward()
    moved = quantiser.books.grad.abs().sum(-1) > 0
    assert moved.tolist() == [[False, True, False], [False, True, False]]  # only what was picked
    # Codes feel weight 1, rows 0.5, of 2 x residual / D over 2 levels. (1, 1.5) is left for the first, (0, 0.5) after
    # the second.
    assert torch.allclose(quantiser.books.grad[:, 1], -torch.tensor([[1.0, 1.5], [0.0, 0.5]]) / 2)
    assert torch.allclose(z.grad, torch.tensor([[1.0, 2.0]]) / 4)
    quantiser.commitment = 0.0
    z.grad = None
    quantiser(z).loss.backward()
    assert not z.grad.any()


def test_no_rows_is_no_loss() -> None:
    quantiser = ResidualQuantiser(2, 4, 3)
    found = quantiser(torch.zeros(0, 3, requires_grad=True))
    found.loss.backward()
    assert found.codes.shape == (0, 2)
    assert found.loss.item() == 0
    assert not quantiser.initted  # it still waits for rows to start from


def blobs(rows: int = 240, clusters: int = 6) -> Tensor:
    """[rows, 2] round far centres, in turn."""
    angle = torch.arange(clusters) * 2 * torch.pi / clusters
    centres = 100 * torch.stack((angle.cos(), angle.sin()), dim=1)
    return centres.repeat(rows // clusters, 1) + torch.randn(rows, 2, generator=torch.Generator().manual_seed(0))


def test_kmeans_is_as_good_as_scikit_learns() -> None:
    rows = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    ours = kmeans(rows, 8)
    theirs = KMeans(8, init=rows[:8].numpy(), n_init=1, max_iter=10).fit(rows.numpy())
    inertia = (rows - ours[nearest(rows, ours)]).square().sum().item()
    assert inertia < 1.05 * theirs.inertia_  # another local optimum may be better


def test_kmeans_goes_on_as_scikit_learns_from_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.unique(blobs(), dim=0)
    start = torch.randperm(len(rows), generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(torch, "randperm", lambda *_, **__: start)
    theirs = KMeans(6, init=rows[start[:6]].numpy(), n_init=1, max_iter=10, tol=0.0).fit(rows.numpy())
    assert torch.allclose(kmeans(rows, 6), torch.from_numpy(theirs.cluster_centers_), atol=1e-3)


def test_kmeans_of_fewer_rows_than_codes_is_the_rows() -> None:
    centres = kmeans(torch.tensor([[1.0], [2.0], [1.0]]), 8)
    assert sorted(centres.flatten().tolist()) == [1.0, 2.0]


def test_starts_as_kmeans_level_by_level() -> None:
    torch.manual_seed(0)
    quantiser = ResidualQuantiser(3, 8, 2, reseed_every=0).train()
    rows = torch.randn(400, 2)
    left = [rows.square().mean().item()]
    quantiser(rows)
    assert quantiser.initted
    codes = quantiser.encode(rows)
    for level in range(1, 4):
        part = sum(quantiser.books[at][codes[:, at]] for at in range(level))
        left.append((rows - part).square().mean().item())
    assert all(after < before / 3 for before, after in itertools.pairwise(left))
    books = quantiser.books.clone()
    quantiser(torch.randn(400, 2) + 50)
    assert torch.equal(books, quantiser.books)  # it starts once


def test_eval_starts_and_counts_nothing() -> None:
    quantiser = ResidualQuantiser(2, 4, 2).eval()
    before = {name: value.clone() for name, value in quantiser.state_dict().items()}
    quantiser(torch.randn(50, 2))
    assert all(torch.equal(value, before[name]) for name, value in quantiser.state_dict().items())


def test_dead_codes_move_to_residuals_and_others_stay() -> None:
    torch.manual_seed(0)
    quantiser = hand_made().train()
    quantiser.reseed_every = 3
    z = torch.tensor([[10.0, 0.5], [0.0, 9.5]]).repeat(
        8, 1
    )  # the first code of level 0 and the last of level 1 are never near
    before = quantiser.books.detach().clone()
    for _ in range(2):
        quantiser(z)
        assert torch.equal(quantiser.books, before)
    quantiser(z)
    changed = (quantiser.books != before).any(-1)
    assert changed.tolist() == [[True, False, False], [False, True, True]]
    rows = {tuple(row) for row in z.tolist()}
    assert tuple(quantiser.books[0, 0].tolist()) in rows
    assert not quantiser.uses.any()  # counts begin anew
    quantiser.reseed_every = 0
    after = quantiser.books.detach().clone()
    for _ in range(6):
        quantiser(z)
    assert torch.equal(quantiser.books, after)


def test_sinkhorn_balances_what_nearest_would_collapse() -> None:
    torch.manual_seed(0)
    rows = torch.randn(400, 4)
    book = torch.cat((torch.zeros(1, 4), 3 * torch.randn(7, 4)))  # the first code is nearest for most
    by_nearest = torch.bincount(nearest(rows, book), minlength=8)
    by_plan = torch.bincount(balanced(distances(rows, book), 0.02), minlength=8)
    assert by_nearest.max() > 250
    assert by_plan.min() > 25
    assert by_plan.max() < 80


def test_sinkhorn_agrees_with_the_best_assignment() -> None:
    """Two codes, four rows: two rows each, whoever loses least by leaving the nearer code."""
    distance = torch.tensor([[0.0, 9.0], [0.0, 8.0], [0.0, 1.0], [0.0, 2.0]])
    assert balanced(distance, 0.01).tolist() == [0, 0, 1, 1]


def test_sinkhorn_is_of_training_only() -> None:
    torch.manual_seed(0)
    quantiser = ResidualQuantiser(1, 8, 2, sinkhorn=0.02, reseed_every=0).train()
    quantiser(torch.randn(200, 2))
    lopsided = torch.randn(200, 2) * 0.1
    balanced_codes = quantiser(lopsided).codes
    plain = quantiser.eval()(lopsided).codes
    assert torch.equal(plain, quantiser.encode(lopsided))
    assert balanced_codes.unique().numel() > plain.unique().numel()


def test_sinkhorn_is_of_the_last_level_only() -> None:
    torch.manual_seed(0)
    quantiser = ResidualQuantiser(2, 8, 2, sinkhorn=0.02, reseed_every=0).train()
    quantiser(torch.randn(200, 2))
    lopsided = torch.randn(200, 2) * 0.1
    trained, plain = quantiser(lopsided).codes, quantiser.encode(lopsided)
    assert torch.equal(trained[:, 0], plain[:, 0])
    assert torch.bincount(trained[:, 1], minlength=8).max() < torch.bincount(plain[:, 1], minlength=8).max()


def test_a_seed_repeats_bit_for_bit() -> None:
    def learned(seed: int) -> Tensor:
        torch.manual_seed(seed)
        quantiser = ResidualQuantiser(2, 4, 2, reseed_every=2).train()
        for _ in range(4):
            quantiser(torch.randn(30, 2))
        return quantiser.books.detach()

    assert torch.equal(learned(0), learned(0))
    assert not torch.equal(learned(0), learned(1))


def one_of_two(rank: int, folder: Path) -> None:
    """A process with rows of its own, none at first; it leaves its codebooks in `folder`."""
    torch.distributed.init_process_group("gloo", f"file://{folder / 'meet'}", rank=rank, world_size=2)
    quantiser = ResidualQuantiser(2, 8, 2, reseed_every=2).train()
    generator = torch.Generator().manual_seed(rank)
    torch.manual_seed(rank)
    for step in range(6):
        rows = torch.randn(0 if step == rank == 0 else 20, 2, generator=generator) + 50 * rank
        quantiser(rows)
    torch.save((quantiser.books.detach(), quantiser.initted), folder / f"books{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_keep_the_same_codes(tmp_path: Path) -> None:
    """One has no rows to start from at first, both see rows of their own, and dead codes move.

    The codebooks stay one.
    """
    torch.multiprocessing.spawn(one_of_two, (tmp_path,), nprocs=2)
    (one, started), (other, _) = (torch.load(tmp_path / f"books{rank}.pt") for rank in (0, 1))
    assert started
    assert torch.equal(one, other)
