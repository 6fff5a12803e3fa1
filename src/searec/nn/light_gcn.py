"""LightGCN over two bipartite user-code graphs, without ever forming a user's neighbourhood (gserec.md, Stage 3).

With U0 the users, C0 the codes and A the normalised user-code matrix of a side, layer k of LightGCN (arXiv 2002.02126)
is U_k = A C_(k-1) and C_k = A' U_(k-1). So C_1 = A'U0 takes one pass over the users, C_k = (A'A) C_(k-2) for k >= 2
takes a |C| x |C| matrix that is known beforehand, and a user's result takes only its L rows:
(U0 + A (C_0 + ... + C_(K-1))) / (K + 1).
This is the algebra of the full product, not an approximation of it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _UsersToCodes(torch.autograd.Function):
    """A' U: each code's sum over its users; backwards each user's sum over its codes."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, members: Tensor, starts: Tensor, nodes: Tensor) -> Tensor:
        ctx.save_for_backward(nodes)
        return F.embedding_bag(members, users, starts, mode="sum", include_last_offset=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (nodes,) = ctx.saved_tensors
        padded = F.pad(gradients[0], (0, 0, 0, 1))  # the last row is "no code" and zero
        return F.embedding_bag(nodes, padded, mode="sum"), None, None, None


class UserCodeGraphs(nn.Module):
    """Two graphs over one user table: users with their codes of either side; a user has L edges in each, or none.

    A code is a node (side, level, index), numbered in that order from 0 to M - 1, M = 2 x L x size.

    Args:
        users: U; row 0 of a user table is padding.
        levels, size: L and the codes a level.
    """

    nodes: Tensor  # [U + 1, 2, L] int32, M where a user has no code; its own users know their nodes only through this
    known: Tensor  # [U + 1] bool, users that are part of the graph; the others only read from it
    scale: Tensor  # [M + 1] degree^-1/2 of a code times L^-1/2 of its users, 0 for "no code"
    members: Tensor  # [E] known users by code
    starts: Tensor  # [M + 1] where each code's users start in `members`
    member_nodes: Tensor  # [U + 1, 2 L] nodes of known users, M for the others
    gram: Tensor  # [2, M / 2, M / 2] A'A of each side

    def __init__(self, users: int, levels: int, size: int) -> None:
        super().__init__()
        self.levels, self.size = levels, size
        self.count = 2 * levels * size
        self.register_buffer("codes", torch.full((users + 1, 2, levels), -1, dtype=torch.int16))
        self.register_buffer("known", torch.ones(users + 1, dtype=torch.bool))
        self.link(self.codes, self.known)

    @torch.no_grad()
    def link(self, codes: Tensor, known: Tensor) -> None:
        """Build the graphs.

        Args:
            codes: [U + 1, 2, L] int16, -1 where a user has none on a side.
            known: [U + 1] bool; only these users are part of the graphs, the others read from their codes.
        """
        device = codes.device
        self.codes, self.known = codes, known
        nodes = self.nodes_of(codes)
        member_nodes = torch.where(known[:, None, None], nodes, self.count).flatten(1)
        flat = member_nodes.flatten()
        degree = torch.bincount(flat, minlength=self.count + 1)[: self.count]
        scale = (degree.clamp(min=1) * self.levels).rsqrt().float()
        order = flat.argsort(stable=True)[: int(degree.sum())]
        starts = F.pad(degree.cumsum(0), (1, 0))
        gram = torch.zeros(2, self.count // 2, self.count // 2, device=device)
        half = nodes.view(-1, 2, self.levels) % (self.count // 2)
        for side in (0, 1):
            here = half[known & (codes[:, side, 0] >= 0), side]
            for level in range(self.levels):
                pairs = (here[:, level, None].long() * (self.count // 2) + here).flatten()
                gram[side].view(-1).add_(torch.bincount(pairs, minlength=gram[side].numel()))
            side_scale = scale.view(2, -1)[side]
            gram[side] *= side_scale[:, None] * side_scale
        parts = {
            "nodes": nodes,
            "scale": F.pad(scale, (0, 1)),
            "members": torch.div(order, member_nodes.shape[1], rounding_mode="floor"),
            "starts": starts,
            "member_nodes": member_nodes,
            "gram": gram,
        }
        for name, tensor in parts.items():
            self.register_buffer(name, tensor.contiguous(), persistent=False)

    def nodes_of(self, codes: Tensor) -> Tensor:
        """Return the node of each code, [..., 2, L]; `count` where it is -1."""
        first = torch.arange(2 * self.levels, device=codes.device).view(2, self.levels) * self.size
        return torch.where(codes < 0, self.count, codes.long() + first)

    def propagate(self, users: Tensor, codes: Tensor, layers: int) -> tuple[Tensor, Tensor]:
        """Light graph convolution of the codes.

        Args:
            users: [U + 1, D] the user table.
            codes: [M, D] the code table.
            layers: K; 0 leaves everything as it is.

        Returns:
            [M + 1, D] scaled sum over layers 0..K-1, what users read; [M + 1, D] mean over layers 0..K, the codes.
            The last row of both is "no code" and zero.
        """
        scale = self.scale[:-1, None]
        with torch.autocast(users.device.type, enabled=False):
            if layers == 0:
                return F.pad(torch.zeros_like(codes), (0, 0, 0, 1)), F.pad(codes, (0, 0, 0, 1))
            sums = _UsersToCodes.apply(users, self.members, self.starts, self.member_nodes)  # type: ignore[no-untyped-call]
            layer = [codes, scale * sums]
            for _ in range(2, layers + 1):
                layer.append(torch.bmm(self.gram, layer[-2].view(2, -1, codes.shape[1])).view_as(codes))
            read = scale * torch.stack(layer[:layers]).sum(0)
            mean = torch.stack(layer[: layers + 1]).mean(0)
        return F.pad(read, (0, 0, 0, 1)), F.pad(mean, (0, 0, 0, 1))

    def embed(self, users: Tensor, nodes: Tensor, read: Tensor, layers: int) -> Tensor:
        """Return e_u on either side, [B, 2, D]: the mean over layers 0..K of users with these nodes.

        Args:
            users: [B, D] rows of the user table, zero for users that have none.
            nodes: [B, 2, L].
            read: [M + 1, D] of `propagate`.
            layers: K.
        """
        gathered = F.embedding_bag(nodes.flatten(0, 1), read, mode="sum").view(len(nodes), 2, -1)
        return (users[:, None] + gathered) / (layers + 1)
