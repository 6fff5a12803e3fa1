"""Residual quantisation: a vector as a few codes, each of the residual of those before (arXiv 2107.03312)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

_KMEANS_ROUNDS = 10
_SINKHORN_ROUNDS = 50
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Quantised:
    """Codes of a batch."""

    codes: Tensor  # [B, L] int64
    quantised: Tensor  # [B, D] the sum of the picked codes, with the gradient of the input
    loss: Tensor  # scalar


class ResidualQuantiser(nn.Module):
    """L codebooks of C codes: r_1 = z; c_l is the code nearest to r_l by L2; r_(l+1) = r_l - c_l.

    Codebooks start as k-means of the first training batch, level by level. Codes that no row has picked for
    `reseed_every` steps move to residuals of the batch at hand. What is drawn comes from PyTorch's generator.

    Args:
        levels: L.
        size: C.
        width: D.
        commitment: weight of ||r_l - sg[c_l]||^2 beside ||sg[r_l] - c_l||^2, each a mean over rows and width.
        reseed_every: training steps between two looks for dead codes, 0 for never.
        sinkhorn: epsilon of the balanced assignment (arXiv 1306.0895) at the last level in training, over distances
            scaled to [0, 1]; 0 for nearest codes.
    """

    initted: Tensor  # [] bool, whether k-means is done
    uses: Tensor  # [L, C] int64, rows since the last look
    steps: Tensor  # [] int64, training steps done

    def __init__(
        self,
        levels: int,
        size: int,
        width: int,
        *,
        commitment: float = 0.25,
        reseed_every: int = 20,
        sinkhorn: float = 0.0,
    ) -> None:
        super().__init__()
        self.levels, self.size = levels, size
        self.commitment, self.reseed_every, self.sinkhorn = commitment, reseed_every, sinkhorn
        self.books = nn.Parameter(torch.randn(levels, size, width) / width**0.5)
        self.register_buffer("initted", torch.tensor(False))
        self.register_buffer("uses", torch.zeros(levels, size, dtype=torch.int64))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, z: Tensor) -> Quantised:
        """Quantise [B, D]; in training also start, count and re-seed the codes. B may be 0."""
        if self.training and not self.initted:
            self._start(z.detach())
        residual, codes, terms = z, [], []
        left = []  # input of each level
        for level, book in enumerate(self.books):
            picked = self._pick(residual.detach(), level)
            code = book[picked]
            if len(z):
                terms.append(
                    F.mse_loss(code, residual.detach()) + self.commitment * F.mse_loss(residual, code.detach())
                )
            left.append(residual.detach())
            residual = residual - code.detach()
            codes.append(picked)
        if self.training:
            self._reseed(codes, left)
        quantised = z - residual.detach()  # the value of the codes' sum, the gradient of z: straight through
        loss = torch.stack(terms).mean() if terms else z.sum() * 0
        return Quantised(torch.stack(codes, dim=1), quantised, loss)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """Return the codes [N, L] of [N, D]."""
        blocks = []
        for part in torch.split(z, _ROWS_AT_ONCE):
            residual, codes = part, []
            for level, book in enumerate(self.books):
                codes.append(nearest(residual, book))
                residual = residual - book[codes[level]]
            blocks.append(torch.stack(codes, dim=1))
        return torch.cat(blocks)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the sum [N, D] of the codes [N, L]."""
        return torch.stack([book[codes[:, level]] for level, book in enumerate(self.books)]).sum(0)

    def _pick(self, residual: Tensor, level: int) -> Tensor:
        if self.training and self.sinkhorn and level == self.levels - 1 and len(residual):
            return balanced(distances(residual, self.books[level].detach()), self.sinkhorn)
        return nearest(residual, self.books[level].detach())

    @torch.no_grad()
    def _start(self, residual: Tensor) -> None:
        """Start the codes from the first process's rows, once it has any; every process calls this at the same step."""
        ready = torch.tensor(float(len(residual) > 0), device=residual.device)
        self._agree(ready)
        if not ready:
            return
        self.fit(residual)

    @torch.no_grad()
    def fit(self, residual: Tensor) -> Tensor:
        """Set the codebooks to k-means of the residuals [B, D], level by level; returns what is left."""
        for level in range(self.levels):
            if len(residual):
                centres = kmeans(residual, self.size)
                self.books[level, : len(centres)] = centres
            self._agree(self.books.data[level])
            residual = residual - self.books[level][nearest(residual, self.books[level])]
        self.initted.fill_(True)
        return residual

    @torch.no_grad()
    def _reseed(self, codes: list[Tensor], left: list[Tensor]) -> None:
        """Count the batch's codes, and move the dead ones every `reseed_every` steps."""
        self.uses += torch.stack([torch.bincount(picked, minlength=self.size) for picked in codes])
        self.steps += 1
        if not self.reseed_every or int(self.steps) % self.reseed_every:
            return
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.uses)
        for level, residual in enumerate(left):
            dead = (self.uses[level] == 0).nonzero()[:, 0]
            if len(dead) and len(residual):
                self.books[level, dead] = residual[torch.randint(len(residual), (len(dead),), device=residual.device)]
            self._agree(self.books.data[level])
        self.uses.zero_()

    @staticmethod
    def _agree(values: Tensor) -> None:
        """Copy the first process's values to all."""
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(values, 0)


def centre_and_spread(rows: NDArray[np.float32]) -> tuple[Tensor, float]:
    """Return the mean [E] of [N, E], and the root mean square of what is left, at least 1e-6."""
    centre = rows.mean(axis=0)
    return torch.from_numpy(centre), max(float(np.sqrt(np.square(rows - centre).mean())), 1e-6)


def distances(rows: Tensor, book: Tensor) -> Tensor:
    """Return squared L2 distances [B, C], up to a constant per row.

    Args:
        rows: [B, D].
        book: [C, D] codes.
    """
    return torch.addmm(book.square().sum(1), rows, book.T, alpha=-2)


def nearest(rows: Tensor, book: Tensor) -> Tensor:
    """Return the code nearest to each row, [B]; the first of equals.

    Args:
        rows: [B, D].
        book: [C, D] codes.
    """
    return distances(rows, book).argmin(dim=1)


def balanced(distance: Tensor, epsilon: float) -> Tensor:
    """Return codes [..., B] that are picked about equally often: Sinkhorn's optimal transport (arXiv 1306.0895).

    Args:
        distance: [..., B, C], up to a constant per row; the axes before B are separate problems.
        epsilon: of the entropy term, over distances scaled to [0, 1]; smaller is nearer to the nearest code.
    """
    cost = distance - distance.amin(dim=-1, keepdim=True)
    plan = -(cost / cost.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-12)).double() / epsilon
    for _ in range(_SINKHORN_ROUNDS):
        plan = plan - plan.logsumexp(dim=-2, keepdim=True)
        plan = plan - plan.logsumexp(dim=-1, keepdim=True)
    return plan.argmax(dim=-1)


def kmeans(rows: Tensor, size: int) -> Tensor:
    """Return centres [min(C, distinct rows), D] by Lloyd's rounds from rows drawn without replacement.

    Args:
        rows: [B, D].
        size: C.
    """
    distinct = torch.unique(rows, dim=0)
    centres: Tensor = distinct[torch.randperm(len(distinct), device=rows.device)[:size]].clone()
    for _ in range(_KMEANS_ROUNDS):
        picked = nearest(rows, centres)
        count = torch.bincount(picked, minlength=len(centres))[:, None]
        sums = torch.zeros_like(centres).index_add_(0, picked, rows)
        centres = torch.where(count > 0, sums / count.clamp(min=1), centres)
    return centres
