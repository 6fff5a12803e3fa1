"""RQ-VAE of items: codes against a plain rendering, straight through once, each loss moves what it should.

And what is learned.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from searec.errors import SettingsError
from searec.semantic_ids.item_rqvae import ItemBatch, ItemRQVAE

INSIDE = (6, 5)
TINY = {"hidden": (16, 8), "width": 4, "shared": 2, "specific": 2, "size": 4, "reseed_every": 0}
LEVELS = [(2, 2), (1, 3), (0, 2), (2, 0)]
"""Shared and specific codebooks."""


def model(inside: Sequence[int] = INSIDE, **changes: object) -> ItemRQVAE:
    torch.manual_seed(0)
    return ItemRQVAE(ItemRQVAE.Config(**{**TINY, **changes}), inside)


def batch(rows: int = 24, inside: Sequence[int] = INSIDE, seed: int = 1) -> ItemBatch:
    generator = torch.Generator().manual_seed(seed)
    return ItemBatch(tuple(torch.randn(rows, width, generator=generator) for width in inside))


def started(inside: Sequence[int] = INSIDE, **changes: object) -> ItemRQVAE:
    """A model whose codebooks are k-means of a batch, in evaluation mode."""
    learner = model(inside, **changes).train()
    learner.loss(batch(inside=inside))
    return learner.eval()


def nearest(row: Tensor, book: Tensor) -> int:
    return int(torch.stack([(row - code).square().sum() for code in book]).argmin())


def plain(learner: ItemRQVAE, z: Tensor) -> tuple[list[list[int]], list[Tensor], list[Tensor]]:
    """One item's latent z [sides x width].

    Codes, what the last one stands for, and what the decoder reads, of each side.
    """
    sides, width = len(learner.encoders), learner.config.width
    shared, rest, before = [], z, z
    for book in learner.shared.books if learner.shared is not None else []:
        shared.append(nearest(rest, book))
        before, rest = rest, rest - book[shared[-1]]
    codes, left, read = [], [], []
    for side in range(sides):
        half = slice(side * width, (side + 1) * width)
        own, part, last = list(shared), rest[half], before
        for book in learner.specific[side].books if learner.specific is not None else []:
            own.append(nearest(part, book))
            last, part = part, part - book[own[-1]]
        codes.append(own)
        left.append(last)
        read.append(z[half] - part)
    return codes, left, read


@pytest.mark.parametrize(("shared", "specific"), LEVELS)
@torch.no_grad()
def test_codes_equal_a_plain_rendering(shared: int, specific: int) -> None:
    """Shared codes by residuals of z; their rest is cut in halves; each half goes on by its own codebooks."""
    learner = started(shared=shared, specific=specific)
    latents = learner.latents([side.numpy() for side in batch(seed=2).sides])
    codes, left = learner.codes(latents)
    books = learner.last_books()
    assert codes.shape == (2, 24, shared + specific)
    for row, z in enumerate(latents):
        expected, rests, _ = plain(learner, z)
        for side in (0, 1):
            assert codes[side, row].tolist() == expected[side]
            torch.testing.assert_close(left[side, row], rests[side], atol=1e-5, rtol=0)
            assert nearest(left[side, row], books[side]) == codes[side, row, -1], (
                "the last code codes what is left for it"
            )
    assert torch.equal(codes[0, :, :shared], codes[1, :, :shared])
    if specific:
        assert not torch.equal(codes[0], codes[1])


@pytest.mark.parametrize(("shared", "specific"), LEVELS)
@torch.no_grad()
def test_a_decoder_reads_its_half_of_the_shared_sum_and_its_own_sum(shared: int, specific: int) -> None:
    learner = started(shared=shared, specific=specific)
    rows = batch(seed=2)
    losses = learner.loss(rows).parts
    read = [plain(learner, z)[2] for z in learner.latents([side.numpy() for side in rows.sides])]
    shares = learner.explained(rows)
    for side, given in enumerate(rows.sides):
        again = learner.decoders[side](torch.stack([parts[side] for parts in read]))
        assert losses[f"reconstruct_{side}"].item() == pytest.approx(F.mse_loss(again, given).item(), rel=1e-4)
        spread = (given - given.mean(0)).square().sum()
        assert shares[side].item() == pytest.approx(1 - float((again - given).square().sum() / spread), abs=1e-4)


def test_quantisation_loss_by_hand() -> None:
    """Mean over all codebooks: each of the two shared ones counts as much as each of the four specific ones.

    In every gradient too.
    """
    learner = started()
    rows = batch(seed=2)
    terms = []

    def left(rest: Tensor, book: Tensor) -> Tensor:
        code = torch.stack([book[nearest(row, book)] for row in rest])
        terms.append(F.mse_loss(code, rest.detach()) + 0.25 * F.mse_loss(rest, code.detach()))
        return rest - code.detach()

    rest = torch.cat([encode(x) for encode, x in zip(learner.encoders, rows.sides, strict=True)], 1)
    for book in learner.shared.books:
        rest = left(rest, book)
    for quantise, half in zip(learner.specific, rest.split(4, dim=1), strict=True):
        rest = half
        for book in quantise.books:
            rest = left(rest, book)
    assert len(terms) == 6
    expected, loss = torch.stack(terms).mean(), learner.loss(rows).parts["quantise"]
    torch.testing.assert_close(loss, expected)
    weights = [*learner.encoders.parameters(), learner.shared.books, *learner.specific.parameters()]
    for one, other in zip(torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def moved(learner: ItemRQVAE) -> set[str]:
    """Parts that a gradient reached, an encoder or a decoder of a side, or codebooks."""
    found = set()
    for name, weights in learner.named_parameters():
        if weights.grad is not None and weights.grad.any():
            first, second, *_ = name.split(".")
            found.add(first if first == "shared" else f"{first}.{second}")
    return found


@pytest.mark.parametrize(
    ("part", "moves"),
    [
        ("reconstruct_0", {"encoders.0", "decoders.0"}),
        ("reconstruct_1", {"encoders.1", "decoders.1"}),
        ("quantise", {"encoders.0", "encoders.1", "shared", "specific.0", "specific.1"}),
    ],
)
def test_each_loss_moves_its_parts_alone(part: str, moves: set[str]) -> None:
    learner = model().train()
    learner.loss(batch())  # k-means; from here on codes differ from latents
    learner.loss(batch(seed=2)).parts[part].backward()
    assert moved(learner) == moves


def test_one_side_has_shared_codebooks_alone() -> None:
    learner = model((6,), specific=0, shared=3).train()
    rows = batch(inside=(6,))
    learner.loss(rows)
    losses = learner.loss(batch(inside=(6,), seed=2))
    assert losses.parts.keys() == {"reconstruct_0", "quantise"}
    losses.total.backward()
    assert moved(learner) == {"encoders.0", "decoders.0", "shared"}
    learner.eval()
    latents = learner.latents([rows.sides[0].numpy()])
    codes, left = learner.codes(latents)
    assert codes.shape == (1, 24, 3)
    assert codes[0].tolist() == [plain(learner, z)[0][0] for z in latents]
    assert nearest(left[0, 5], learner.last_books()[0]) == codes[0, 5, -1]


@pytest.mark.parametrize(("shared", "specific"), LEVELS)
def test_straight_through_hands_the_gradient_on_once(shared: int, specific: int) -> None:
    """However many codebooks: what a latent feels of the reconstruction is what the decoder's input feels."""
    learner = started(shared=shared, specific=specific)
    kept: list[Tensor] = []

    def keep(_: object, __: object, out: Tensor) -> None:
        out.retain_grad()
        kept.append(out)

    def keep_input(_: object, given: tuple[Tensor, ...]) -> None:
        given[0].retain_grad()
        kept.append(given[0])

    for encode, decode in zip(learner.encoders, learner.decoders, strict=True):
        encode.register_forward_hook(keep)
        decode.register_forward_pre_hook(keep_input)
    parts = learner.loss(batch(seed=2)).parts
    (parts["reconstruct_0"] + parts["reconstruct_1"]).backward()
    latents, inputs = kept[:2], kept[2:]
    for latent, read in zip(latents, inputs, strict=True):
        assert torch.equal(latent.grad, read.grad)
        assert latent.grad.any()
        assert not torch.allclose(latent, read), "yet the decoder reads codes"


def test_read_is_standardised_by_what_was_given() -> None:
    learner = model()
    rows = [side.numpy() * 0.05 + 3 for side in batch(200).sides]
    learner.standardise(rows)
    for side, given in enumerate(rows):
        read = learner.read(torch.from_numpy(given), side)
        assert torch.allclose(read.mean(0), torch.zeros(INSIDE[side]), atol=1e-4)
        assert read.square().mean().item() == pytest.approx(1, abs=1e-3)
    learner.standardise([np.ones((4, width), dtype=np.float32) for width in INSIDE])
    assert learner.read(torch.ones(1, 6), 0).isfinite().all(), "vectors that are all the same"


def test_latents_are_of_the_standardised_vectors() -> None:
    learner = model()
    rows = [side.numpy() * 0.05 + 3 for side in batch(50).sides]
    learner.standardise(rows)
    expected = [
        encode(learner.read(torch.from_numpy(given), side))
        for side, (encode, given) in enumerate(zip(learner.encoders, rows, strict=True))
    ]
    torch.testing.assert_close(learner.latents(rows), torch.cat(expected, 1).detach())


def test_latents_are_encoded_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, rows = model(), [side.numpy() for side in batch(50).sides]
    whole = learner.latents(rows)
    monkeypatch.setattr("searec.semantic_ids.item_rqvae._ROWS_AT_ONCE", 7)
    torch.testing.assert_close(learner.latents(rows), whole)


def planted(rows: int = 300) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    """Three groups that both sides tell, and on each side two more that the other knows nothing of."""
    rng = np.random.default_rng(0)
    group = np.stack((rng.integers(0, 3, rows), rng.integers(0, 2, rows), rng.integers(0, 2, rows)))
    sides = []
    for side, width in enumerate(INSIDE):
        vectors = 0.1 * rng.normal(size=(rows, width))
        vectors[:, :3] += 4 * np.eye(3)[group[0]]
        vectors[:, 3] += 4 * group[1 + side]
        sides.append(vectors.astype(np.float32))
    return sides, group


def learned(seed: int, steps: int) -> ItemRQVAE:
    sides, _ = planted()
    torch.manual_seed(seed)
    learner = ItemRQVAE(ItemRQVAE.Config(**{**TINY, "hidden": (32, 16), "reseed_every": 5}), INSIDE).train()
    learner.standardise(sides)
    rows = ItemBatch(tuple(torch.from_numpy(side) for side in sides))
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-2)
    for _ in range(steps):
        learner.loss(rows).total.backward()
        optimizer.step()
        optimizer.zero_grad()
    return learner.eval()


def test_planted_groups_come_back() -> None:
    sides, group = planted()
    rows = ItemBatch(tuple(torch.from_numpy(side) for side in sides))
    untrained, trained = (learned(0, steps).explained(rows) for steps in (0, 120))
    assert (untrained < 0.5).all()
    assert (trained > 0.9).all()
    learner = learned(0, 120)
    codes, _ = learner.codes(learner.latents(sides))
    for side in (0, 1):
        of_code: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
        for own, told in zip(codes[side].tolist(), group[[0, 1 + side]].T.tolist(), strict=True):
            of_code.setdefault(tuple(own), set()).add(tuple(told))
        assert all(len(groups) == 1 for groups in of_code.values()), "no identifier mixes two groups"


def test_a_seed_repeats_bit_for_bit() -> None:
    one, again, other = (learned(seed, 12).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.items())
    assert not torch.equal(one["shared.books"], other["shared.books"])


def test_batches_know_their_length_and_go_to_a_device() -> None:
    rows = batch(7)
    assert len(rows) == 7
    assert [side.shape for side in rows.to("meta").sides] == [(7, 6), (7, 5)]
    assert {side.device.type for side in rows.to("meta").sides} == {"meta"}


@pytest.mark.parametrize(
    ("inside", "shared", "specific"),
    [((6, 5), 0, 0), ((6,), 0, 0), ((6,), 2, 1), ((6,), 0, 3)],
    ids=["none", "none, one side", "both", "specific"],
)
def test_bad_codebooks_are_refused(inside: tuple[int, ...], shared: int, specific: int) -> None:
    with pytest.raises(
        SettingsError, match=f"bad codebooks; got: {shared} shared, {specific} specific, {len(inside)} sides"
    ):
        model(inside, shared=shared, specific=specific)


def test_what_it_knows_is_in_its_state() -> None:
    learner, rows = learned(0, 3), planted()[0]
    again = model(hidden=(32, 16))
    again.load_state(learner.state())
    assert torch.equal(again.eval().latents(rows), learner.latents(rows))
    assert torch.equal(again.codes(again.latents(rows))[0], learner.codes(learner.latents(rows))[0])
    assert math.isfinite(again.loss(ItemBatch(tuple(map(torch.from_numpy, rows)))).total.item())


@pytest.mark.parametrize(("shared", "specific"), LEVELS)
def test_books_of_a_side_add_up_to_what_its_decoder_reads(shared: int, specific: int) -> None:
    learner = started(shared=shared, specific=specific)
    z = learner.latents([side.numpy() for side in batch().sides])
    codes, _ = learner.codes(z)
    for row in range(len(z)):
        read = plain(learner, z[row])[2]
        for side in range(len(INSIDE)):
            total = sum(book[code] for book, code in zip(learner.books(side), codes[side, row], strict=True))
            part = slice(side * learner.config.width, (side + 1) * learner.config.width)
            assert isinstance(total, Tensor)
            assert torch.allclose(total[part], read[side], atol=1e-5)


def test_principal_components_keep_what_few_dimensions_hold() -> None:
    """Four groups in two dimensions of each side: a code for each explains all, in one pass."""
    generator = np.random.default_rng(0)
    group = generator.integers(0, 4, 60)
    sides = [
        (generator.normal(size=(4, 2)) @ generator.normal(size=(2, width)))[group].astype(np.float32)
        for width in INSIDE
    ]
    learner = model(hidden=(), width=2, shared=1, specific=1, size=4).eval()
    learner.fit(sides)
    explained = learner.explained(ItemBatch(tuple(map(torch.from_numpy, sides))))
    assert explained.tolist() == pytest.approx([1, 1], abs=1e-4)
    codes, _ = learner.codes(learner.latents(sides))
    assert len({(int(code), one) for code, one in zip(codes[0, :, 0], group, strict=True)}) == 4


def test_shared_codebooks_may_be_smaller() -> None:
    learner = model(hidden=(), shared_size=2)
    assert learner.shared is not None and learner.specific is not None
    assert learner.shared.books.shape[1] == 2 and learner.specific[0].books.shape[1] == TINY["size"]
