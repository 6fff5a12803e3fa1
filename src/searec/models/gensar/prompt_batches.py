"""What a generative model reads: histories, queries, items and texts as tokens, laid out for a whole batch at once."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.data.batch import Batch
from searec.models.gensar.prompt_templates import PHRASES, Shelf
from searec.text.tokenizer import Tokens

REC, QUERY, SRC = range(3)
"""Behaviour tokens, after those of text: a recommended item, a query, a searched item."""
BEHAVIOURS = 3
_SPREAD, _RANGE = 2654435761, 1 << 32  # Knuth's multiplicative hash

Laid = tuple[Tensor, Tensor]
"""Tokens [B, L], 0 at the end, and where there are any [B, L]."""


class Prompts(nn.Module):
    """Lays out prompts; it has no weights, but moves with its model and draws phrasings where the model is in training.

    Args:
        codes: [2, I + 1, K] the tokens of each item's codes for recommendation and for search.
        tokens: of texts. first: token of the first behaviour; users' tokens follow on the last.
        user_tokens: see `GenSAR.Config`. query_tokens: read of a query.
    """

    shelf: Tensor  # [F] item pieces (behaviour token and identifier) of both sides, then the phrases
    phrases: Tensor  # [tasks, phrasings, 2, 2] begin and length of both parts

    def __init__(self, codes: Tensor, tokens: Tokens, *, first: int, user_tokens: int, query_tokens: int) -> None:
        super().__init__()
        self.tokens, self.first, self.user_tokens, self.query_tokens = tokens, first, user_tokens, query_tokens
        self.items, self.piece = codes.shape[1], codes.shape[2] + 1
        marks = torch.tensor([first + REC, first + SRC], device=codes.device)
        pieces = torch.cat((marks[:, None, None].expand(-1, self.items, 1), codes), dim=2)
        parts = [part for several in PHRASES.values() for both in several for part in both]
        words, lengths = tokens.ids(parts, 1 << 16)
        places = np.stack((pieces.numel() + np.cumsum(lengths) - lengths, lengths), axis=1).reshape(
            len(PHRASES), -1, 2, 2
        )
        self.register_buffer("phrases", torch.from_numpy(places).to(codes.device), persistent=False)
        self.register_buffer(
            "shelf", torch.cat((pieces.flatten(), torch.from_numpy(words).to(codes.device))), persistent=False
        )

    def users(self, batch: Batch, task: str) -> Laid:
        """Prompts of a task on users: recommend, search or query. A history is events by time, each with its behaviour token."""
        flat, lengths = self.tokens.ids(batch.texts, self.query_tokens)
        device = self.shelf.device
        fresh = torch.from_numpy(np.insert(flat, np.cumsum(lengths) - lengths, self.first + QUERY)).to(
            device
        )  # each begins with <query>
        length = torch.from_numpy(lengths + 1).to(device)
        begin = length.cumsum(0) - length + len(self.shelf)
        phrase = self._phrase(task, len(batch))
        starts, sizes = [phrase[:, 0, :1]], [phrase[:, 0, 1:]]
        if self.user_tokens:
            user = batch.user.long()[:, None]
            starts.append(len(self.shelf) + len(fresh) + user * _SPREAD % _RANGE % self.user_tokens)
            sizes.append(torch.ones_like(user))
            fresh = torch.cat((fresh, self.first + BEHAVIOURS + torch.arange(self.user_tokens, device=device)))
        clicks = batch.feed_item.long()
        asked = batch.search_query.long()
        found = batch.search_click[:, :, 0].long() * (asked > 0)
        # An event is two stretches: a click and nothing, or a query and its click.
        event = torch.cat(
            (
                torch.stack((clicks * self.piece, clicks), 2),
                torch.stack((begin[asked], (self.items + found) * self.piece), 2),
            ),
            dim=1,
        )
        click_size = torch.stack(((clicks > 0) * self.piece, torch.zeros_like(clicks)), 2)
        size = torch.cat((click_size, torch.stack((length[asked] * (asked > 0), (found > 0) * self.piece), 2)), dim=1)
        order = (
            torch.cat((batch.feed_time, batch.search_time), 1).argsort(dim=1, stable=True)[..., None].expand(-1, -1, 2)
        )
        starts.append(event.gather(1, order).flatten(1))
        sizes.append(size.gather(1, order).flatten(1))
        if task == "search":
            row = batch.query.long()[:, None]
            starts += [phrase[:, 1, :1], begin[row]]
            sizes += [phrase[:, 1, 1:], length[row]]
        return Shelf(self.shelf, fresh).lay(torch.cat(starts, 1), torch.cat(sizes, 1))

    def asked(self, batch: Batch) -> Laid:
        """The requests' queries."""
        flat, lengths = (
            torch.from_numpy(found).to(self.shelf.device) for found in self.tokens.ids(batch.texts, self.query_tokens)
        )
        begin, row = lengths.cumsum(0) - lengths, batch.query.long()[:, None]
        return Shelf(flat, flat[:0]).lay(begin[row], lengths[row])

    def query(self, task: str, text: Tensor, inside: Tensor) -> Laid:
        """Prompts of a query [B, T] and nobody's history."""
        return self.text(task, F.pad(text, (1, 0), value=self.first + QUERY), F.pad(inside, (1, 0), value=True))

    def text(self, task: str, text: Tensor, inside: Tensor) -> Laid:
        """Prompts of a text [B, T]."""
        phrase = self._phrase(task, len(text))
        begin = len(self.shelf) + torch.arange(len(text), device=text.device) * text.shape[1]
        start, length = torch.stack((phrase[:, 0, 0], begin), 1), torch.stack((phrase[:, 0, 1], inside.sum(1)), 1)
        return Shelf(self.shelf, text.flatten()).lay(start, length)

    def item(self, task: str, side: int, items: Tensor) -> Laid:
        """Prompts of the identifiers of items [B] on a side."""
        phrase = self._phrase(task, len(items))
        piece = (side * self.items + items) * self.piece
        start = torch.stack((phrase[:, 0, 0], piece), 1)
        return Shelf(self.shelf, self.shelf[:0]).lay(
            start, torch.stack((phrase[:, 0, 1], torch.full_like(piece, self.piece)), 1)
        )

    def _phrase(self, task: str, rows: int) -> Tensor:
        """[rows, 2, 2] a phrasing for each row: drawn in training, the first one otherwise."""
        several = self.phrases[list(PHRASES).index(task)]
        if not self.training:
            return several[:1].expand(rows, -1, -1)
        return several[torch.randint(len(several), (rows,), device=several.device)]
