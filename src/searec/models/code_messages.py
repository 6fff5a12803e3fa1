"""Messages along user codes: what rich searchers with a user's codes clicked in the feed (GSERec, arXiv 2508.04145).

A user is the mean of vectors of the items clicked after searches; one without such clicks, of those clicked in the
feed. Residual k-means over rich searchers makes codes of it. The message of a code counts the feed clicks of its rich
searchers: counts stay exact where a mean of vectors would blur them.
"""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.data.batch import Batch, Batcher, Needs
from searec.data.click_vectors import click_vectors
from searec.data.leakage.findings import Finding, Leaks
from searec.data.ragged import Ints, first_not_before
from searec.data.schema import Task
from searec.data.sparse import SparseRows
from searec.data.split import Split, requests_at
from searec.models.growth import Growth
from searec.semantic_ids.quantiser import kmeans, nearest

VectorSource = Literal["clicks", "text"]
Assignment = Literal["own", "shuffled", "one"]
WIDTH = 64
LEAST_SENDERS = 32
"""Rich searchers below which there is nothing to group."""
_SHARPNESS, _PRIOR = 50.0, 200.0
"""A message is log(1 + sharpness x share of clicks); `prior` clicks of each share are those of the level above."""
_RESTARTS = 4
_AT_ONCE = 1024
_STATE = ("vectors", "codebooks", "codes", "weights", "offsets", "columns", "values", "of_text")


class CodeMessages(nn.Module):
    """Codes of users from their clicks, and the feed clicks of rich searchers by code.

    Args:
        users: how many, U.
        items: how many, I.
        length: feed clicks and searches read of a user.
        search_clicks: clicks read of a search.
    """

    vectors: Tensor  # [I + 1, W] of items, zero where nothing is known
    codebooks: Tensor  # [L, C, W]
    codes: Tensor  # [U + 1, L] codes of rich searchers, -1 for other users
    weights: Tensor  # [U + 1] of rich searchers, 0 for other users
    offsets: Tensor  # feed clicks [U + 1, I + 1] of rich searchers, times their weight, by rows
    columns: Tensor
    values: Tensor
    of_text: Tensor  # [1] whether vectors are of text
    sum_offsets: Tensor  # feed clicks [nodes + 1, I + 1] by code
    sum_columns: Tensor
    sum_values: Tensor

    def __init__(self, users: int, items: int, length: int, search_clicks: int) -> None:
        super().__init__()
        self.users, self.items = users, items
        self.needs = Needs(feed=length, searches=length, search_clicks=search_clicks, words=1)
        for name in _STATE:
            self.register_buffer(name, None)
        for name in ("sum_offsets", "sum_columns", "sum_values"):
            self.register_buffer(name, None, persistent=False)

    @property
    def is_fitted(self) -> bool:
        """Whether there are codes."""
        return self.vectors is not None

    def clear(self) -> None:
        """Do without codes and messages."""
        for name in self._buffers:
            setattr(self, name, None)

    # --- fitting ---

    def fit(
        self,
        split: Split,
        tasks: tuple[Task, ...],
        vectors: Tensor,
        *,
        source: VectorSource,
        rich_from: int,
        levels: int,
        codes: int,
        assignment: Assignment,
        seed: int,
    ) -> bool:
        """Make codes and messages from training events; return False, and clear all, if too few users search enough.

        Args:
            split: whose training events are read.
            tasks: those that the model learns; they set the cut-off.
            vectors: [I + 1, W] of items.
            source: what they are made from.
            rich_from: searches from which a user sends messages.
            levels: L.
            codes: C of each level; 0 for `code_count`.
            assignment: the senders' own codes; codes shuffled among them, or one code for all, as controls.
            seed: of the codebooks.
        """
        self.clear()
        cutoff = split.cutoff(tasks)
        sessions = _searches_before(split, cutoff)
        senders = np.flatnonzero(sessions >= rich_from)
        if len(senders) < LEAST_SENDERS:
            return False
        self.vectors, self.of_text = vectors, torch.tensor([source == "text"])
        latents, is_known = self._latents_at(split, senders, cutoff[senders])
        size = 1 if assignment == "one" else codes or code_count(len(senders))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.codebooks = residual_codebooks(latents[is_known], 1 if assignment == "one" else levels, size)
        codes_sent = self.codes_of(latents, is_known)
        if assignment == "shuffled":
            codes_sent = codes_sent[np.random.default_rng(seed).permutation(len(senders))]
        self.codes = torch.full((self.users + 1, codes_sent.shape[1]), -1, dtype=torch.int32)
        self.codes[senders] = codes_sent.to(torch.int32)
        self.weights = torch.zeros(self.users + 1)
        self.weights[senders] = torch.from_numpy(np.log1p(sessions[senders]).astype(np.float32))
        clicks = SparseRows.of(scipy.sparse.diags(self.weights.numpy()) @ _feed_clicks(split, tasks, senders))
        self.offsets, self.columns, self.values = clicks.offsets, clicks.columns, clicks.values
        self.link()
        return True

    def _latents_at(self, split: Split, users: Ints, time: Ints) -> tuple[Tensor, Tensor]:
        """`latents` of users before times."""
        requests = requests_at(split.data, "recommend", users.astype(np.int32), time)
        batcher = Batcher(split.data, self.needs)
        parts = [
            self.latents(batcher.batch(requests[slice(at, at + _AT_ONCE)])) for at in range(0, len(users), _AT_ONCE)
        ]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def link(self) -> None:
        """Sum the senders' clicks by code."""
        nodes = self.nodes(self.codes)
        user, level = torch.nonzero(nodes > 0, as_tuple=True)
        node = nodes[user, level].cpu().numpy()
        shape = (self.node_count + 1, self.users + 1)
        member = scipy.sparse.csr_matrix((np.ones(len(node), np.float32), (node, user.cpu().numpy())), shape=shape)
        sums = SparseRows.of((member @ self._matrix()).tocsr())
        for name, part in zip(("offsets", "columns", "values"), (sums.offsets, sums.columns, sums.values), strict=True):
            setattr(self, f"sum_{name}", part.to(self.vectors.device))

    def _matrix(self) -> scipy.sparse.csr_matrix:
        """[U + 1, I + 1] the senders' clicks."""
        parts = tuple(part.cpu().numpy() for part in (self.values, self.columns, self.offsets))
        return scipy.sparse.csr_matrix(parts, shape=(self.users + 1, self.items + 1))

    # --- codes ---

    def latents(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return unit vectors [B, W] of users: of clicks after searches, or of the feed; and where one is known [B].

        Args:
            batch: B requests.
        """
        of_searches, has_searches = self._mean(batch.search_click.flatten(1))
        of_feed, has_feed = self._mean(batch.feed_item)
        latents = torch.where(has_searches[:, None], of_searches, of_feed)
        return F.normalize(latents, dim=1), has_searches | has_feed

    def _mean(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Mean vector [B, W] of the items [B, T] that have one, and whether any has."""
        vectors = F.embedding(items.long(), self.vectors)
        count = (vectors != 0).any(2).sum(1, keepdim=True)
        return vectors.sum(1) / count.clamp(min=1), count.squeeze(1) > 0

    def codes_of(self, latents: Tensor, is_known: Tensor) -> Tensor:
        """Return codes [B, L], -1 where nothing is known.

        Args:
            latents: [B, W].
            is_known: [B].
        """
        codes, rest = [], latents
        for book in self.codebooks:
            code = nearest(rest, book)
            codes.append(torch.where(is_known, code, -1))
            rest = rest - book[code]
        return torch.stack(codes, 1)

    def nodes(self, codes: Tensor) -> Tensor:
        """Return rows [B, L] of the messages, 0 for none: at each level, of those with the same codes up to it.

        Args:
            codes: [B, L].
        """
        size, node, nodes, before = self.codebooks.shape[1], torch.zeros_like(codes[:, 0]).long(), [], 1
        for level, code in enumerate(codes.long().unbind(1)):
            node = node * size + code
            nodes.append(torch.where(code >= 0, node + before, 0))
            before += size ** (level + 1)
        return torch.stack(nodes, 1)

    @property
    def node_count(self) -> int:
        """Prefixes of codes of all levels."""
        levels, size, _ = self.codebooks.shape
        return sum(int(size ** (level + 1)) for level in range(levels))

    # --- messages ---

    def forward(self, batch: Batch) -> Tensor:
        """Return the messages [B, I + 1]; what the user sent is left out.

        The share of an item among the clicks of a level's senders is drawn to that of the level above, which has more.

        Args:
            batch: B requests.
        """
        nodes = self.nodes(self.codes_of(*self.latents(batch)))
        user = batch.user.long()
        sends = self.nodes(self.codes[user]) == nodes
        width = self.items + 1
        sums = SparseRows(self.sum_offsets, self.sum_columns, self.sum_values, width)
        sent = SparseRows(self.offsets, self.columns, self.values, width)
        share = torch.zeros(len(nodes), width, device=nodes.device)
        for level in range(nodes.shape[1]):
            sender = torch.where(sends[:, level] & (nodes[:, level] > 0), user, 0)
            clicks = (sums.sum(nodes[:, level, None]) - sent.sum(sender[:, None])).clamp(min=0)
            share = (clicks + _PRIOR * share) / (clicks.sum(1, keepdim=True) + _PRIOR)
        return torch.log1p(_SHARPNESS * share)

    # --- state ---

    def shape_as(self, state: Mapping[str, Tensor]) -> None:
        """Make room for what a state holds.

        Args:
            state: name in the module -> tensor.
        """
        self.clear()
        for name in _STATE:
            if name in state:
                setattr(self, name, state[name])

    def grown(self, growth: Growth) -> dict[str, Tensor]:
        """Return the state for data that has grown: new items are in no message, new users send none.

        Args:
            growth: to that data.
        """
        if not self.is_fitted:
            return {}
        users, items = growth.source("users"), growth.source("items")
        is_known = scipy.sparse.diags((items > 0).astype(np.float32))
        clicks = SparseRows.of((self._matrix()[users].tocsc()[:, items] @ is_known).tocsr())
        return {
            "codebooks": self.codebooks,
            "vectors": self.vectors[items],
            "codes": self.codes[users],
            "weights": self.weights[users],
            "offsets": clicks.offsets,
            "columns": clicks.columns,
            "values": clicks.values,
            "of_text": self.of_text,
        }

    def leaks(self, split: Split, tasks: tuple[Task, ...]) -> Leaks:
        """Return clicks in messages that are not those before the cut-off.

        Args:
            split: that the messages were made from.
            tasks: those that the model learns.
        """
        if not self.is_fitted:
            return Leaks()
        senders = np.flatnonzero(self.weights.cpu().numpy() > 0)
        sessions = _searches_before(split, split.cutoff(tasks))
        weights = np.where(self.weights.cpu().numpy() > 0, np.log1p(sessions), 0)
        expected = scipy.sparse.diags(weights) @ _feed_clicks(split, tasks, senders)
        wrong = int((abs(self._matrix() - expected) > 1e-3).sum())
        checked = {"clicks in messages": len(self.values)}
        if not wrong:
            return Leaks(checked)
        what = f"{wrong:,} of {len(self.values):,} clicks in messages are not those before the cut-off"
        return Leaks(checked, (Finding("error", what, "user codes", remedy="train it again"),))


def code_count(senders: int) -> int:
    """Return the codes of a level: the power of two nearest to twice the root of the senders, from 4 to 256.

    Args:
        senders: how many.
    """
    return int(2 ** min(8, max(2, round(math.log2(2 * math.sqrt(senders))))))


def residual_codebooks(rows: Tensor, levels: int, size: int) -> Tensor:
    """Return codebooks [L, C, W] of residual k-means, each the best of four starts, drawn from PyTorch's generator.

    Args:
        rows: [n, W].
        levels: L.
        size: C; repeated codes fill up.
    """
    books = []
    for _ in range(levels):
        started = [kmeans(rows, size) for _ in range(_RESTARTS)]
        book = min(started, key=lambda book: float((rows - book[nearest(rows, book)]).square().sum()))
        books.append(book[torch.arange(size).clamp(max=len(book) - 1)])
        rows = rows - book[nearest(rows, book)]
    return torch.stack(books)


def text_vectors(text: Tensor) -> Tensor:
    """Return unit vectors [I + 1, 64] of the largest principal components of text vectors.

    Args:
        text: [I + 1, W], row 0 is padding.
    """
    centred = text[1:].float() - text[1:].float().mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    return F.pad(F.normalize(centred @ axes[:WIDTH].T, dim=1), (0, 0, 1, 0))


def vectors_of_clicks(split: Split, tasks: tuple[Task, ...]) -> Tensor:
    """Return unit vectors [I + 1, 64] of items by who clicked them in training.

    Args:
        split: whose training events are read.
        tasks: those that the model learns; they set the cut-off.
    """
    return F.pad(torch.from_numpy(click_vectors(split, WIDTH, tasks)), (0, 0, 1, 0))


def _searches_before(split: Split, cutoff: Ints) -> Ints:
    """[U + 1] searches of each user before the cut-off."""
    searches = split.data.searches
    first = np.asarray(searches.offsets[:-1])
    return first_not_before(searches.time, first, searches.offsets[1:], cutoff) - first


def _feed_clicks(split: Split, tasks: tuple[Task, ...], users: Ints) -> scipy.sparse.csr_matrix:
    """[U + 1, I + 1] 1 where one of some users clicked an item in the feed, in training."""
    feed, sizes = split.data.interactions, split.data.sizes
    owner = np.repeat(np.arange(sizes.users + 1), np.diff(feed.offsets))
    counted = (feed.time < split.cutoff(tasks)[owner]) & np.isin(owner, users)
    place = (owner[counted], np.asarray(feed.item)[counted])
    shape = (sizes.users + 1, sizes.items + 1)
    clicks = scipy.sparse.csr_matrix((np.ones(int(counted.sum()), np.float32), place), shape=shape)
    clicks.data[:] = 1
    return clicks
