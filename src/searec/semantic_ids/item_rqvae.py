"""RQ-VAE of items: codebooks shared by text and behaviour, and specific ones for the rest (arXiv 2504.05730)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from searec.config import Count, Natural, NonNegative, settings
from searec.errors import SettingsError
from searec.nn.experts import mlp
from searec.nn.learner import Learner
from searec.nn.losses import Losses
from searec.semantic_ids.quantiser import ResidualQuantiser, centre_and_spread

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class ItemBatch:
    """Vectors [B, E] of items, one tensor a side."""

    sides: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.sides[0])

    def to(self, device: torch.device | str) -> "ItemBatch":
        """The batch on another device."""
        return ItemBatch(tuple(side.to(device, non_blocking=True) for side in self.sides))


class ItemRQVAE(Learner):
    """An encoder and a decoder for each side; shared and specific codebooks.

    Shared codes quantise z = [z_1 ; z_2] by residuals; specific codebooks quantise each side's part of the rest. A
    side's decoder reads its part of the shared sum plus its specific sum.

    Args:
        inside: widths E of each side's vectors.

    Raises:
        SettingsError: no codebook at all, or specific ones where there is one side.
    """

    name = "item-rqvae"

    @settings
    class Config:
        """Sizes and weights.

        hidden: widths between E and `width`, mirrored in the decoder; none for linear maps. shared, specific: books.
        shared_size: codes of a shared one, 0 for `size`. The rest as in `ResidualQuantiser`.
        """

        hidden: tuple[Count, ...] = (512, 256, 128, 64)
        width: Count = 32
        shared: Natural = 2
        specific: Natural = 2
        size: Count = 256
        shared_size: Natural = 0
        commitment: NonNegative = 0.25
        reseed_every: Natural = 20

    def __init__(self, config: Config, inside: Sequence[int]) -> None:
        super().__init__()
        if config.shared + config.specific == 0 or (config.specific and len(inside) == 1):
            raise SettingsError(
                "bad codebooks", got=f"{config.shared} shared, {config.specific} specific, {len(inside)} sides"
            )
        self.config = config
        for side, width in enumerate(inside):
            self.register_buffer(f"centre_{side}", torch.zeros(width))
            self.register_buffer(f"spread_{side}", torch.ones(()))
        self.encoders = nn.ModuleList(mlp(width, *config.hidden, config.width) for width in inside)
        self.decoders = nn.ModuleList(mlp(config.width, *config.hidden[::-1], width) for width in inside)
        wide = config.width * len(inside)
        shared_size = config.shared_size or config.size
        self.shared = self._quantiser(config.shared, shared_size, wide) if config.shared else None
        self.specific = (
            nn.ModuleList(self._quantiser(config.specific, config.size, config.width) for _ in inside)
            if config.specific
            else None
        )

    def _quantiser(self, levels: int, size: int, width: int) -> ResidualQuantiser:
        config = self.config
        return ResidualQuantiser(levels, size, width, commitment=config.commitment, reseed_every=config.reseed_every)

    def standardise(self, sides: Sequence[NDArray[np.float32]]) -> None:
        """Set mean and root mean square of `read` from vectors [N, E] a side; before any training."""
        for side, rows in enumerate(sides):
            centre, spread = centre_and_spread(rows)
            getattr(self, f"centre_{side}").copy_(centre)
            getattr(self, f"spread_{side}").fill_(spread)

    @torch.no_grad()
    def fit(self, sides: Sequence[NDArray[np.float32]]) -> None:
        """Make linear maps principal components, and codebooks k-means of residuals; there is nothing to train then.

        Args:
            sides: [N, E] vectors of each side. All sides count alike.
        """
        for side, rows in enumerate(sides):
            read = self.read(torch.from_numpy(np.asarray(rows, dtype=np.float32)), side)
            mean = read.mean(0)
            values, directions = torch.linalg.eigh(torch.cov(read.T, correction=0))
            width = min(self.config.width, len(values))
            scale = values[-width:].sum().clamp(min=1e-12).rsqrt() * width**0.5
            encode, decode = self.encoders[side][0], self.decoders[side][0]  # type: ignore[index]
            for weight in (encode.weight, decode.weight):
                weight.zero_()
            encode.weight[:width] = directions[:, -width:].T * scale
            encode.bias.copy_(-encode.weight @ mean)
            decode.weight[:, :width] = directions[:, -width:] / scale
            decode.bias.copy_(mean)
        rest = self.latents(sides)
        if self.shared is not None:
            rest = self.shared.fit(rest)
        if self.specific is not None:
            for quantise, part in zip(self.specific, self._parts(rest), strict=True):
                quantise.fit(part)  # type: ignore[operator]

    def read(self, vectors: Tensor, side: int) -> Tensor:
        """Return vectors as the encoder of a side reads them, [N, E].

        Args:
            vectors: [N, E].
            side: number of the side.
        """
        return (vectors - getattr(self, f"centre_{side}")) / getattr(self, f"spread_{side}")  # type: ignore[no-any-return]

    def loss(self, batch: ItemBatch) -> Losses:
        """Return the MSE of each side's reconstruction and the mean codebook and commitment loss."""
        rows = [self.read(vectors, side) for side, vectors in enumerate(batch.sides)]
        z = self._encoded(rows)
        total = torch.zeros_like(z)
        terms: list[tuple[Tensor, int]] = []
        if self.shared is not None:
            quantised = self.shared(z)
            total = quantised.quantised.detach()
            terms.append((quantised.loss, self.shared.levels))
        if self.specific is not None:
            sides = [quantise(part) for quantise, part in zip(self.specific, self._parts(z - total), strict=True)]
            total = total + torch.cat([side.quantised for side in sides], dim=1).detach()
            terms += [(side.loss, self.config.specific) for side in sides]
        through = z + (total - z).detach()  # the value of the codes, the gradient of z: straight through, once
        parts = {
            f"reconstruct_{side}": F.mse_loss(decode(part), x)
            for side, (decode, part, x) in enumerate(zip(self.decoders, self._parts(through), rows, strict=True))
        }
        parts["quantise"] = torch.stack([loss * levels for loss, levels in terms]).sum() / sum(
            levels for _, levels in terms
        )
        return Losses(parts, dict.fromkeys(parts, 1.0))

    @torch.no_grad()
    def latents(self, sides: Sequence[NDArray[np.float32]]) -> Tensor:
        """Return the encoded vectors [N, E] of each side, [N, sides x width]."""
        blocks = []
        for start in range(0, len(sides[0]), _ROWS_AT_ONCE):
            rows = [torch.from_numpy(side[start : start + _ROWS_AT_ONCE]).to(self.device) for side in sides]
            blocks.append(self._encoded([self.read(x, side) for side, x in enumerate(rows)]))
        return torch.cat(blocks)

    @torch.no_grad()
    def codes(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes [sides, N, shared + specific] and the residuals of the last ones.

        The residuals are [sides, N, width], or without specific codebooks [sides, N, sides x width].
        """
        count = len(self.encoders)
        rest = latents
        columns: list[Tensor] = []
        before = rest
        if self.shared is not None:
            columns, rest, before = self._residuals(self.shared, rest)
        if self.specific is None:
            shared = torch.stack(columns, dim=1)
            return shared.expand(count, -1, -1), before.expand(count, -1, -1)
        codes, left = [], []
        for quantise, part in zip(self.specific, self._parts(rest), strict=True):
            specific, _, last = self._residuals(quantise, part)  # type: ignore[arg-type]
            codes.append(torch.stack((*columns, *specific), dim=1))
            left.append(last)
        return torch.stack(codes), torch.stack(left)

    def last_books(self) -> list[Tensor]:
        """Return the codebook [C, D] of each side's last code."""
        quantisers = [self.shared] * len(self.encoders) if self.specific is None else list(self.specific)
        return [quantiser.books.detach()[-1] for quantiser in quantisers]  # type: ignore[union-attr, operator]

    def books(self, side: int) -> list[Tensor]:
        """Return a side's codebooks among the latents, [C, sides x width] each; zero outside the side's part."""
        books = [] if self.shared is None else list(self.shared.books.detach())
        if self.specific is not None:
            before, after = side * self.config.width, (len(self.specific) - side - 1) * self.config.width
            books += [F.pad(book, (before, after)) for book in self.specific[side].books.detach()]  # type: ignore[operator]
        return books

    @torch.no_grad()
    def explained(self, batch: ItemBatch) -> Tensor:
        """Return the share of variance that the reconstruction explains, [sides], at most 1."""
        latents = self._encoded([self.read(vectors, side) for side, vectors in enumerate(batch.sides)])
        total = torch.zeros_like(latents)
        if self.shared is not None:
            total = self.shared.decode(self.shared.encode(latents))
        if self.specific is not None:
            parts = zip(self.specific, self._parts(latents - total), strict=True)
            total = total + torch.cat([quantiser.decode(quantiser.encode(part)) for quantiser, part in parts], dim=1)  # type: ignore[operator]
        shares = []
        for side, (decode, part) in enumerate(zip(self.decoders, self._parts(total), strict=True)):
            rows = self.read(batch.sides[side], side)
            spread = (rows - rows.mean(0)).square().sum()
            shares.append(1 - (decode(part) - rows).square().sum() / spread.clamp(min=1e-12))
        return torch.stack(shares)

    def _encoded(self, rows: Sequence[Tensor]) -> Tensor:
        return torch.cat([encode(x) for encode, x in zip(self.encoders, rows, strict=True)], dim=1)

    def _parts(self, wide: Tensor) -> tuple[Tensor, ...]:
        return torch.split(wide, self.config.width, dim=1)

    @staticmethod
    def _residuals(quantiser: ResidualQuantiser, rest: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the codes of each level, the residual after all of them and the residual before the last."""
        codes = quantiser.encode(rest)
        before = rest - (quantiser.decode(codes) - quantiser.books[-1][codes[:, -1]])
        return list(codes.unbind(1)), rest - quantiser.decode(codes), before
