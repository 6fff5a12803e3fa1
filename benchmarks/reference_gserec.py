"""GSERec as its authors built it (arXiv 2508.04145, stages 3 and 4), rendered plainly.

What searec's own model is timed against.

Every step multiplies the whole user-code graph through, twice K times; histories are padded to one length; each
encoded history is
repeated for every candidate before the candidate reads it; rows are made one at a time in Python. Choices left open
are made
in its favour: rows without a history are not encoded, graphs are CSR, losses mask in place, rows hold ids of sessions
whose words
and clicks are a table of the model.

From searec it takes arrays and requests, and imports nothing of it.
"""

import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from reference_evaluate import CUTOFFS, rank_of
from reference_loader import Arrays, Row, RowDataset

Tensors = dict[str, Tensor]
REC, SRC = 0, 1
"""The sides, as in the user codes."""


@dataclass(frozen=True)
class Sessions:
    """The search sessions as padded tables; row 0 is empty, row n is session n - 1.

    query: [S + 1] rows of `words`; click: [S + 1, P] item ids; words: [Q + 1, W] word ids.
    """

    query: Tensor
    click: Tensor
    words: Tensor

    @classmethod
    def of(cls, arrays: Arrays, clicks: int = 5, words: int = 8) -> "Sessions":
        """From the arrays of an encoded dataset; the first `clicks` of a session, the first `words` of a query."""
        query = np.concatenate(([0], arrays["searches.query"])).astype(np.int64)
        click = _table(arrays["searches.clicked.offsets"], arrays["searches.clicked"], clicks)
        text = _table(arrays["query_words.offsets"], arrays["query_words"], words)
        return cls(
            torch.from_numpy(query),
            torch.from_numpy(np.concatenate((np.zeros_like(click[:1]), click))),
            torch.from_numpy(text),
        )


def _table(offsets: NDArray[Any], values: NDArray[Any], width: int) -> NDArray[np.int64]:
    """[R, width] the first values of each row, 0 pads."""
    place = offsets[:-1, None] + np.arange(width)
    padded = np.concatenate((values, np.zeros(1, dtype=values.dtype)))
    return np.where(place < offsets[1:, None], padded[np.minimum(place, len(values))], 0).astype(np.int64)


class FixedRows(RowDataset):
    """One example a row, as arrays of one length.

    User, feed [L], searches [S] (session ids) and candidates [N], the target first.

    Args:
        feed, searches: newest events kept; shorter histories are padded with 0 at the end.
        candidates: [R, N] ready lists; without them, `negatives` are drawn for each row, from the list of events.
    """

    def __init__(
        self,
        arrays: Arrays,
        requests: Any,
        *,
        feed: int = 20,
        searches: int = 20,
        negatives: int = 4,
        candidates: NDArray[Any] | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__(
            arrays, requests, feed, searches, negatives=0 if candidates is not None else negatives, seed=seed
        )
        self.candidates = candidates

    def __getitem__(self, index: int) -> Row:
        user, target = int(self.requests.user[index]), int(self.requests.target[index])
        feed, searches = np.zeros(self.max_feed, dtype=np.int64), np.zeros(self.max_searches, dtype=np.int64)
        first, end = self._window("interactions", user, int(self.requests.feed_end[index]), self.max_feed)
        feed[: end - first] = self.arrays["interactions.item"][first:end]
        first, end = self._window("searches", user, int(self.requests.search_end[index]), self.max_searches)
        searches[: end - first] = np.arange(first + 1, end + 1)
        ready = self.candidates
        chosen = [target, *self._draw(user, target)] if ready is None else ready[index]
        return {"user": user, "feed": feed, "searches": searches, "candidates": np.asarray(chosen, dtype=np.int64)}

    def _item(self) -> int:
        events = self.arrays["interactions.item"]
        return int(events[self.random.randrange(len(events))])


def reference_rows(
    rows: FixedRows, batch: int, *, shuffle: bool = False, workers: int = 0, seed: int = 1
) -> DataLoader[Row]:
    """The usual DataLoader with the usual collate."""
    return DataLoader(rows, batch, shuffle=shuffle, num_workers=workers, generator=torch.Generator().manual_seed(seed))


class LightGCN(nn.Module):
    """Propagation over one graph of users and codes: mean over layers 0..K of (D^-1/2 A D^-1/2)^k X.

    Args:
        user, code: [E] the nodes at the two ends of each edge.
        nodes: users and codes together. layers: K.
    """

    def __init__(self, user: Tensor, code: Tensor, nodes: int, layers: int) -> None:
        super().__init__()
        self.layers = layers
        start, end = torch.cat((user, code)), torch.cat((code, user))
        degree = torch.bincount(start, minlength=nodes).float()
        weight = (degree[start] * degree[end]).rsqrt()
        with warnings.catch_warnings():  # torch calls CSR a beta
            warnings.simplefilter("ignore", UserWarning)
            graph = (
                torch.sparse_coo_tensor(torch.stack((start, end)), weight, (nodes, nodes)).coalesce().to_sparse_csr()
            )
        self.graph: Tensor
        self.register_buffer("graph", graph)

    def forward(self, nodes: Tensor) -> Tensor:
        """[nodes, D] of [nodes, D]."""
        layers = [nodes]
        for _ in range(self.layers):
            layers.append(self.graph @ layers[-1])
        return torch.stack(layers, dim=1).mean(dim=1)


class Contrast(nn.Module):
    """InfoNCE of pairs, similarity tanh(z W z') / tau with W and tau learned.

    2N anchors, each against 2N - 2 others.
    """

    def __init__(self, width: int, temperature: float) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(temperature))
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(width, width)))

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """The mean loss of [N, D] and [N, D]; 0 of no pair."""
        if len(one) == 0:
            return one.sum()
        both = torch.cat((one, other))
        similarity = torch.tanh(both @ self.weight @ both.T) / self.temperature
        similarity = similarity.masked_fill(torch.eye(len(both), dtype=torch.bool, device=both.device), -torch.inf)
        return F.cross_entropy(similarity, torch.arange(len(both), device=both.device).roll(len(one)))


class Side(nn.Module):
    """What one side's history goes through.

    Encoder layer, code fusion, target attention, and its contrast with the codes.
    """

    def __init__(self, width: int, heads: int, length: int, dropout: float, temperature: float) -> None:
        super().__init__()
        self.position = nn.Parameter(nn.init.xavier_normal_(torch.empty(length, width)))
        self.encoder = nn.TransformerEncoderLayer(width, heads, width, dropout, batch_first=True)
        self.fusion = nn.TransformerDecoderLayer(width, heads, width, dropout, batch_first=True)
        self.target = nn.Parameter(nn.init.xavier_normal_(torch.empty(width, width)))
        self.contrast = Contrast(width, temperature)

    def encode(self, events: Tensor, empty: Tensor) -> Tensor:
        """Encoded [B, L, D]; zeros for a row without any event. empty: [B, L] where padding stands."""
        some = ~empty.all(dim=1)
        out = torch.zeros_like(events)
        if some.any():
            out[some] = self.encoder((events + self.position)[some], src_key_padding_mask=empty[some])
        return out

    def fuse(self, history: Tensor, empty: Tensor, codes: Tensor, coded: Tensor) -> Tensor:
        """The history [B, L, D] after it attended to the user's codes [B, C, D]; rows without one of both stay.

        coded: [B].
        """
        some = ~empty.all(dim=1) & coded
        out = history.clone()
        if some.any():
            out[some] = self.fusion(history[some], codes[some], tgt_key_padding_mask=empty[some])
        return out

    def pool(self, history: Tensor, empty: Tensor, candidate: Tensor) -> Tensor:
        """softmax(H W v) H, [R, D], of histories [R, L, D] and as many candidates [R, D]."""
        score = (history @ self.target @ candidate.unsqueeze(-1)).squeeze(-1).masked_fill(empty, -1e16)
        return (score.softmax(dim=-1).unsqueeze(1) @ history).squeeze(1)

    def agree(self, history: Tensor, empty: Tensor, codes: Tensor, coded: Tensor) -> Tensor:
        """L_His-CL of this side: encoded history and codes, each mean-pooled, of rows that have both."""
        some = ~empty.all(dim=1) & coded
        here = ~empty[some]
        pooled = (history[some] * here.unsqueeze(-1)).sum(dim=1) / here.sum(dim=1, keepdim=True)
        return self.contrast(pooled, codes[some].mean(dim=1))  # type: ignore[no-any-return]


class ReferenceGSERec(nn.Module):
    """The whole model.

    Args:
        codes: [U + 1, 2, levels] codes of every user on both sides, -1 where there are none; row 0 is padding.
        sessions: the search sessions by id.
        items, words: how many there are. size: codes a level.
        feed, searches: lengths of the histories. layers: K. hidden: of the predictor.
        user_weight, history_weight: of L_U-CL and of both sides' L_His-CL.
    """

    def __init__(
        self,
        codes: NDArray[np.int16],
        sessions: Sessions,
        *,
        items: int,
        words: int,
        size: int = 256,
        width: int = 64,
        feed: int = 20,
        searches: int = 20,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.1,
        hidden: Sequence[int] = (200, 80),
        temperature: float = 0.1,
        user_weight: float = 0.1,
        history_weight: float = 0.01,
    ) -> None:
        super().__init__()
        users, levels = len(codes), codes.shape[2]
        self.user_weight, self.history_weight = user_weight, history_weight
        given = torch.from_numpy(codes.astype(np.int64))
        place = torch.arange(2 * levels).view(2, levels) * size + given  # [U + 1, 2, levels]: rows of the code table
        self.user_codes: Tensor
        self.coded: Tensor
        self.register_buffer("coded", given[:, :, 0] >= 0)
        self.register_buffer("user_codes", torch.where(self.coded.unsqueeze(-1), place, 0))
        self.session_query: Tensor
        self.session_click: Tensor
        self.query_words: Tensor
        for name, table in (
            ("session_query", sessions.query),
            ("session_click", sessions.click),
            ("query_words", sessions.words),
        ):
            self.register_buffer(name, table)
        self.user = nn.Embedding(users, width)
        self.code = nn.Embedding(2 * levels * size, width)
        self.item = nn.Embedding(items + 1, width, padding_idx=0)
        self.word = nn.Embedding(words + 1, width, padding_idx=0)
        for embedding in (self.user, self.code, self.item, self.word):
            nn.init.xavier_normal_(embedding.weight)
        with torch.no_grad():
            self.item.weight[0] = 0
            self.word.weight[0] = 0
        self.graphs = nn.ModuleList()
        for side in (REC, SRC):
            user = self.coded[:, side].nonzero()[:, 0]
            code = users + self.user_codes[user, side].flatten()
            self.graphs.append(LightGCN(user.repeat_interleave(levels), code, users + self.code.num_embeddings, layers))
        self.sides = nn.ModuleList(Side(width, heads, length, dropout, temperature) for length in (feed, searches))
        self.contrast = Contrast(width, temperature)
        steps: list[nn.Module] = []
        for inside, outside in itertools.pairwise((5 * width, *hidden)):
            steps += [nn.Linear(inside, outside), nn.ReLU(), nn.Dropout(dropout)]
        self.predictor = nn.Sequential(*steps, nn.Linear(hidden[-1], 1))

    def forward(self, batch: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """Scores [B, N]; L_U-CL; L_His-CL of both sides together."""
        user, candidates = batch["user"], batch["candidates"]
        rows, count = candidates.shape
        nodes = torch.cat((self.user.weight, self.code.weight))
        candidate = self.item(candidates).flatten(0, 1)
        events = (self.item(batch["feed"]), self._sessions(batch["searches"]))
        empties = (batch["feed"] == 0, batch["searches"] == 0)
        interests, users, history_loss = [], [], candidate.new_zeros(())
        for place, (graph, side) in enumerate(zip(self.graphs, self.sides, strict=True)):
            assert isinstance(side, Side)
            reached = graph(nodes)
            of_user, of_code = reached.split((self.user.num_embeddings, self.code.num_embeddings))
            users.append(of_user[user])
            codes, coded = of_code[self.user_codes[user, place]], self.coded[user, place]
            encoded = side.encode(events[place], empties[place])
            if self.training:
                history_loss = history_loss + side.agree(encoded, empties[place], codes, coded)
            fused = side.fuse(encoded, empties[place], codes, coded)
            interests.append(
                side.pool(fused.repeat_interleave(count, 0), empties[place].repeat_interleave(count, 0), candidate)
            )
        repeated = [each.repeat_interleave(count, 0) for each in users]
        scores = self.predictor(torch.cat((*interests, *repeated, candidate), dim=-1)).view(rows, count)
        both = self.coded[user].all(dim=1)
        user_loss = self.contrast(users[REC][both], users[SRC][both]) if self.training else history_loss
        return scores, user_loss, history_loss

    def loss(self, batch: Tensors) -> Tensor:
        """BCE of the target (column 0) and the negatives + 0.1 L_U-CL + 0.01 L_His-CL; in training mode."""
        scores, user_loss, history_loss = self(batch)
        clicked = torch.zeros_like(scores)
        clicked[:, 0] = 1
        click_loss = F.binary_cross_entropy_with_logits(scores, clicked)
        return click_loss + self.user_weight * user_loss + self.history_weight * history_loss  # type: ignore[no-any-return]

    def score(self, batch: Tensors) -> Tensor:
        """[B, N] scores of the candidates; in evaluation mode."""
        return self(batch)[0]  # type: ignore[no-any-return]

    def _sessions(self, ids: Tensor) -> Tensor:
        """[B, S, D]: mean of the query's words plus mean of the clicked items."""
        return _mean(self.word, self.query_words[self.session_query[ids]]) + _mean(self.item, self.session_click[ids])


def _mean(table: nn.Embedding, ids: Tensor) -> Tensor:
    """[..., D] mean over the last axis of ids, padding left out."""
    return table(ids).sum(dim=-2) / (ids != 0).sum(dim=-1, keepdim=True).clamp(min=1)  # type: ignore[no-any-return]


def adam(model: nn.Module, lr: float = 1e-3, weight_decay: float = 1e-5) -> torch.optim.Optimizer:
    """The optimiser as published: torch's default one."""
    return torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)


def train_steps(
    model: ReferenceGSERec, loader: Iterable[Tensors], steps: int, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """Learn from the first `steps` batches; how many examples they held, and the mean loss."""
    model.train()
    examples, total, done = 0, 0.0, 0
    for batch in itertools.islice(loader, steps):
        loss = model.loss(batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        examples, total, done = examples + len(batch["user"]), total + loss.item(), done + 1
    return examples, total / max(1, done)


@torch.no_grad()
def evaluate(model: ReferenceGSERec, loader: Iterable[Tensors]) -> tuple[int, dict[str, float]]:
    """How many users, and their mean HR, NDCG and MRR.

    Candidates hold the target first, half of those that tie stand before it.
    """
    model.eval()
    sums = {"mrr": 0.0} | {f"{metric}@{k}": 0.0 for metric, cutoffs in CUTOFFS.items() for k in cutoffs}
    users = 0
    for batch in loader:
        for scores in model.score(batch).tolist():
            rank = rank_of(scores, 0)
            users += 1
            sums["mrr"] += 1 / rank
            for k in CUTOFFS["hit"]:
                sums[f"hit@{k}"] += rank <= k
            for k in CUTOFFS["ndcg"]:
                sums[f"ndcg@{k}"] += 1 / math.log2(rank + 1) if rank <= k else 0.0
    return users, {name: value / max(1, users) for name, value in sums.items()}
