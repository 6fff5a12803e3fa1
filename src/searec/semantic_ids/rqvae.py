"""Two-sided RQ-VAE: text vectors of feed and search history to codes, with codebooks for each side (gserec.md)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from searec.config import Count, Natural, NonNegative, Positive, settings
from searec.nn.contrast import info_nce
from searec.nn.experts import mlp
from searec.nn.learner import Learner
from searec.nn.losses import Losses
from searec.semantic_ids.quantiser import ResidualQuantiser, centre_and_spread
from searec.semantic_ids.user_code_table import SIDES

_ROWS_AT_ONCE = 16_384


@dataclass(frozen=True)
class TextBatch:
    """Vectors [B, 2, E] of users' texts and which are there [B, 2]; sides as in `SIDES`."""

    vectors: Tensor
    present: Tensor

    def __len__(self) -> int:
        return len(self.vectors)

    def to(self, device: torch.device | str) -> "TextBatch":
        """The batch on another device."""
        return TextBatch(self.vectors.to(device, non_blocking=True), self.present.to(device, non_blocking=True))


class TwoSidedRQVAE(Learner):
    """On each side encoder, residual quantiser and decoder; a contrast holds the two latents of a user together.

    Unit vectors of E components have a mean square of 1 / E, so little that quantisation outweighs reconstruction and
    latents shrink to a point; `standardise` prevents that.

    Args:
        inside: E, width of the text vectors.
    """

    centre: Tensor  # [2, E]
    spread: Tensor  # [2]

    name = "rqvae"

    @settings
    class Config:
        """Sizes and weights.

        hidden: widths between E and `width`, mirrored in the decoder; the rest as in `ResidualQuantiser` and `loss`.
        """

        hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = (512, 256, 128, 64)
        width: Count = 32
        levels: Count = 4
        size: Count = 256
        commitment: NonNegative = 0.25
        contrast_weight: NonNegative = 1e-4
        temperature: Positive = 0.1
        reseed_every: Natural = 20
        sinkhorn: NonNegative = 0.0

    def __init__(self, config: Config, inside: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centre", torch.zeros(len(SIDES), inside))
        self.register_buffer("spread", torch.ones(len(SIDES)))
        widths = (inside, *config.hidden, config.width)
        self.encoders = nn.ModuleList(mlp(*widths) for _ in SIDES)
        self.decoders = nn.ModuleList(mlp(*widths[::-1]) for _ in SIDES)
        self.quantisers = nn.ModuleList(
            ResidualQuantiser(
                config.levels,
                config.size,
                config.width,
                commitment=config.commitment,
                reseed_every=config.reseed_every,
                sinkhorn=config.sinkhorn,
            )
            for _ in SIDES
        )

    def standardise(self, vectors: NDArray[np.float32], present: NDArray[np.bool_]) -> None:
        """Set mean and root mean square of `read` from these vectors; before any training.

        Args:
            vectors: [N, 2, E].
            present: [N, 2].
        """
        for side in range(len(SIDES)):
            rows = vectors[present[:, side], side]
            if len(rows):
                self.centre[side], self.spread[side] = centre_and_spread(rows)

    def read(self, vectors: Tensor, side: int) -> Tensor:
        """Return vectors as the encoder of a side reads them, [N, E].

        Args:
            vectors: [N, E].
            side: as in `SIDES`.
        """
        return (vectors - self.centre[side]) / self.spread[side]

    def loss(self, batch: TextBatch) -> Losses:
        """Return reconstruction (MSE) and quantisation of each present side, and the contrast L_RQ-CL."""
        parts: dict[str, Tensor] = {}
        latents = []
        for side, name in enumerate(SIDES):
            rows = self.read(batch.vectors[batch.present[:, side], side], side)
            latent = self.encoders[side](rows)
            quantised = self.quantisers[side](latent)
            again = self.decoders[side](quantised.quantised)
            parts[f"reconstruct_{name}"] = F.mse_loss(again, rows) if len(rows) else again.sum() * 0
            parts[f"quantise_{name}"] = quantised.loss
            latents.append(latent[batch.present[batch.present[:, side]].all(dim=1)])
        weights = dict.fromkeys(parts, 1.0)
        if self.config.contrast_weight:
            parts["contrast"] = info_nce(latents[0], latents[1], self.config.temperature, both_sides=True)
            weights["contrast"] = self.config.contrast_weight
        return Losses(parts, weights)

    @torch.no_grad()
    def explained(self, batch: TextBatch) -> Tensor:
        """Return the share of variance that the reconstruction explains a side, [2], at most 1; 0 without rows."""
        shares = torch.zeros(len(SIDES))
        for side in range(len(SIDES)):
            rows = self.read(batch.vectors[batch.present[:, side], side], side)
            if len(rows) == 0:
                continue
            error = torch.zeros((), device=rows.device)
            for part in torch.split(rows, _ROWS_AT_ONCE):
                quantiser: ResidualQuantiser = self.quantisers[side]  # type: ignore[assignment]
                again = self.decoders[side](quantiser.decode(quantiser.encode(self.encoders[side](part))))
                error += (again - part).square().sum()
            spread = (rows - rows.mean(0)).square().sum()
            shares[side] = 1 - error / spread.clamp(min=1e-12)
        return shares

    @torch.no_grad()
    def codes(self, vectors: NDArray[np.float32], side: int) -> NDArray[np.int16]:
        """Return the codes [N, L] of one side.

        Args:
            vectors: [N, E].
            side: as in `SIDES`.
        """
        quantiser: ResidualQuantiser = self.quantisers[side]  # type: ignore[assignment]
        blocks = [
            quantiser.encode(self.encoders[side](self.read(part.to(self.device), side))).cpu()
            for part in torch.split(torch.from_numpy(vectors), _ROWS_AT_ONCE)
        ]
        return torch.cat(blocks).numpy().astype(np.int16)
