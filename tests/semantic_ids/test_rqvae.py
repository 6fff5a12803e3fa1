"""Two-sided RQ-VAE: sides stay apart, absent texts are hidden, each loss teaches what it should.

Planted clusters come back.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import homogeneity_score
from torch import Tensor

from searec.nn.contrast import info_nce
from searec.semantic_ids.rqvae import TextBatch, TwoSidedRQVAE

WIDTH = 6
TINY = TwoSidedRQVAE.Config(hidden=(16, 8), width=4, levels=2, size=4, reseed_every=5)


def model(**changes: object) -> TwoSidedRQVAE:
    torch.manual_seed(0)
    return TwoSidedRQVAE(TwoSidedRQVAE.Config(**{**vars(TINY), **changes}), WIDTH)


def batch(rows: int = 12) -> TextBatch:
    """Row 0 has no texts, row 1 no search text, row 2 no recommendation text."""
    present = torch.ones(rows, 2, dtype=torch.bool)
    present[0] = False
    present[1, 1] = present[2, 0] = False
    return TextBatch(torch.randn(rows, 2, WIDTH, generator=torch.Generator().manual_seed(1)), present)


def test_absent_texts_are_hidden() -> None:
    rows = batch()
    one, other = (model().train() for _ in range(2))
    changed = torch.where(rows.present[:, :, None], rows.vectors, 99.0)
    torch.manual_seed(2)
    first = one.loss(rows)
    torch.manual_seed(2)
    second = other.loss(TextBatch(changed, rows.present))
    assert all(torch.equal(first.parts[name], second.parts[name]) for name in first.parts)


def test_a_side_nobody_has_costs_nothing() -> None:
    rows = batch()
    rows.present[:, 1] = False
    learner = model().train()
    losses = learner.loss(rows)
    losses.total.backward()
    assert (
        losses.parts["reconstruct_search"].item()
        == losses.parts["quantise_search"].item()
        == losses.parts["contrast"].item()
        == 0
    )
    assert losses.parts["reconstruct_recommend"].item() > 0
    assert not learner.quantisers[1].initted
    for part in (learner.encoders[1], learner.decoders[1]):
        assert not any(weights.grad.any() for weights in part.parameters())


@pytest.mark.parametrize(
    ("part", "moves"),
    [
        ("reconstruct_recommend", {"encoders.0", "decoders.0"}),
        ("reconstruct_search", {"encoders.1", "decoders.1"}),
        ("quantise_recommend", {"encoders.0", "quantisers.0"}),
        ("quantise_search", {"encoders.1", "quantisers.1"}),
        ("contrast", {"encoders.0", "encoders.1"}),
    ],
)
def test_each_loss_moves_its_parts_alone(part: str, moves: set[str]) -> None:
    learner = model().train()
    learner.loss(batch())  # k-means; from here on codes differ from latents
    learner.loss(batch()).parts[part].backward()
    moved = {
        ".".join(name.split(".")[:2])
        for name, weights in learner.named_parameters()
        if weights.grad is not None and weights.grad.any()
    }
    assert moved == moves


def test_reconstruction_reaches_the_encoder_through_the_codes() -> None:
    """Straight through: the gradient at the latent is the decoder's gradient at the quantised vector."""
    learner = model().eval()
    rows = batch().vectors[:, 0]
    latent = learner.encoders[0](rows).detach().requires_grad_()
    quantised = learner.quantisers[0](latent).quantised
    F.mse_loss(learner.decoders[0](quantised), rows).backward()
    point = quantised.detach().clone().requires_grad_()
    F.mse_loss(learner.decoders[0](point), rows).backward()
    assert torch.allclose(latent.grad, point.grad)
    assert latent.grad.any()


def test_contrast_by_hand() -> None:
    """NT-Xent of two users, four views: one positive and 2N - 2 = 2 negatives an anchor."""
    a, b = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    views = F.normalize(torch.cat((a, b)), dim=1)
    total = 0.0
    for anchor, positive in ((0, 2), (1, 3), (2, 0), (3, 1)):
        others = [math.exp(float(views[anchor] @ views[k]) / 0.5) for k in range(4) if k != anchor]
        total -= math.log(math.exp(float(views[anchor] @ views[positive]) / 0.5) / sum(others))
    assert info_nce(a, b, 0.5, both_sides=True).item() == pytest.approx(total / 4, rel=1e-5)


def test_contrast_takes_users_with_both_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    monkeypatch.setattr("searec.semantic_ids.rqvae.info_nce", lambda a, b, *_, **__: seen.extend((a, b)) or a.sum() * 0)
    learner, rows = model(), batch()
    learner.loss(rows)
    whole = slice(3, None)
    for side, latents in enumerate(seen):
        assert torch.allclose(latents, learner.encoders[side](rows.vectors[whole, side]))


def test_no_contrast_is_no_part() -> None:
    assert "contrast" not in model(contrast_weight=0.0).loss(batch()).parts


def test_standardise_is_of_the_present_rows() -> None:
    learner, rows = model(), batch()
    vectors, present = rows.vectors.numpy() * 0.05 + 3, rows.present.numpy()
    learner.standardise(vectors.astype(np.float32), present)
    for side in (0, 1):
        read = learner.read(torch.from_numpy(vectors[present[:, side], side]), side)
        assert torch.allclose(read.mean(0), torch.zeros(WIDTH), atol=1e-4)
        assert read.square().mean().item() == pytest.approx(1, abs=1e-3)


def planted(rows: int = 600) -> tuple[TextBatch, NDArray[np.int64]]:
    """Two coarse groups, each of two fine ones, along axes of each side's own. Returns the group of each row too."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 4, size=rows)
    vectors = rng.normal(size=(rows, 2, WIDTH)) * 0.1
    for side in (0, 1):
        vectors[:, side, side] += 6 * (group // 2) - 3
        vectors[:, side, side + 2] += 3 * (group % 2) - 1.5
    return TextBatch(torch.from_numpy(vectors.astype(np.float32)), torch.ones(rows, 2, dtype=torch.bool)), group


def test_planted_clusters_come_back() -> None:
    rows, group = planted()
    learner = model(hidden=(32, 16)).train()
    learner.standardise(rows.vectors.numpy(), rows.present.numpy())
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-2)
    untrained = learner.explained(rows)
    for _ in range(150):
        learner.loss(rows).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    learner.eval()
    explained = learner.explained(rows)
    assert (explained > 0.9).all()
    assert (untrained < 0.5).all()
    for side in (0, 1):
        codes = learner.codes(rows.vectors[:, side].numpy(), side)
        assert codes.shape == (len(rows), 2)
        together = codes[:, 0] * 4 + codes[:, 1]
        assert homogeneity_score(group, together) > 0.99  # no code tuple mixes two groups


def test_codes_of_a_side_are_its_own() -> None:
    learner = model().train()
    learner.loss(batch())
    vectors = batch().vectors[:, 0].numpy()
    before = learner.codes(vectors, 0)
    assert not np.array_equal(before, learner.codes(vectors, 1))
    for weights in learner.encoders[1].parameters():
        torch.nn.init.normal_(weights)
    assert np.array_equal(before, learner.codes(vectors, 0))
