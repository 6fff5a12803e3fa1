"""What a generative model reads: histories, queries, items and texts as tokens, for a whole batch at once."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.data.batch import Batch
from searec.models.gensar.prompt_templates import TEMPLATES
from searec.models.gensar.token_pieces import TokenPieces
from searec.text.tokenizer import Tokens

FEED_ITEM, QUERY, FOUND_ITEM = range(3)
"""Behaviour tokens, after those of text: an item clicked in the feed, a query, an item clicked after a search."""
BEHAVIOURS = 3

Prompts = tuple[Tensor, Tensor]
"""Tokens [B, L], 0 at the end, and where there is one [B, L]."""


class PromptBuilder(nn.Module):
    """Builds prompts. It has no weights, but moves with its model and draws phrasings while the model is in training.

    Args:
        codes: [2, I + 1, K] the tokens of each item's codes for recommendation and for search.
        tokens: of texts.
        first: the first behaviour token; those of users follow on the last.
        user_tokens: see `GenSAR.Config`.
        user_places: [U + 1] which of these tokens each user has.
        query_tokens: read of a query.
    """

    pieces: Tensor  # [F] items (behaviour token and identifier) of both sides, then the phrasings
    user_places: Tensor
    phrasings: Tensor  # [tasks, phrasings, 2, 2] start and length of both texts

    def __init__(
        self,
        codes: Tensor,
        tokens: Tokens,
        *,
        first: int,
        user_tokens: int,
        user_places: Tensor | None,
        query_tokens: int,
    ) -> None:
        super().__init__()
        self.register_buffer("user_places", user_places, persistent=False)
        self.tokens, self.first, self.user_tokens, self.query_tokens = tokens, first, user_tokens, query_tokens
        self.items, self.width = codes.shape[1], codes.shape[2] + 1
        marks = torch.tensor([first + FEED_ITEM, first + FOUND_ITEM], device=codes.device)
        items = torch.cat((marks[:, None, None].expand(-1, self.items, 1), codes), dim=2)
        texts = [text for phrasings in TEMPLATES.values() for pair in phrasings for text in pair]
        words, lengths = tokens.ids(texts, 1 << 16)
        places = np.stack((items.numel() + np.cumsum(lengths) - lengths, lengths), axis=1)
        places = places.reshape(len(TEMPLATES), -1, 2, 2)
        pieces = torch.cat((items.flatten(), torch.from_numpy(words).to(codes.device)))
        self.register_buffer("phrasings", torch.from_numpy(places).to(codes.device), persistent=False)
        self.register_buffer("pieces", pieces, persistent=False)

    def users(self, batch: Batch, task: str) -> Prompts:
        """Return prompts of users: their events by time, each with its behaviour token.

        Args:
            batch: B requests.
            task: "recommend", "search" or "query".
        """
        flat, lengths = self.tokens.ids(batch.texts, self.query_tokens)
        device = self.pieces.device
        marked = np.insert(flat, np.cumsum(lengths) - lengths, self.first + QUERY)  # each begins with <query>
        fresh = torch.from_numpy(marked).to(device)
        length = torch.from_numpy(lengths + 1).to(device)
        begin = length.cumsum(0) - length + len(self.pieces)
        phrasing = self._phrasing(task, len(batch))
        starts, sizes = [phrasing[:, 0, :1]], [phrasing[:, 0, 1:]]
        if self.user_tokens:
            place = self.user_places[batch.user.long()].long()[:, None]
            starts.append(len(self.pieces) + len(fresh) + place)
            sizes.append(torch.ones_like(place))
            fresh = torch.cat((fresh, self.first + BEHAVIOURS + torch.arange(self.user_tokens, device=device)))
        clicks = batch.feed_item.long()
        queries = batch.search_query.long()
        clicked = batch.search_click[:, :, 0].long() * (queries > 0)
        # An event is two pieces: a click and nothing, or a query and its click.
        click_start = torch.stack((clicks * self.width, clicks), 2)
        query_start = torch.stack((begin[queries], (self.items + clicked) * self.width), 2)
        click_size = torch.stack(((clicks > 0) * self.width, torch.zeros_like(clicks)), 2)
        query_size = torch.stack((length[queries] * (queries > 0), (clicked > 0) * self.width), 2)
        order = (
            torch.cat((batch.feed_time, batch.search_time), 1).argsort(dim=1, stable=True)[..., None].expand(-1, -1, 2)
        )
        starts.append(torch.cat((click_start, query_start), dim=1).gather(1, order).flatten(1))
        sizes.append(torch.cat((click_size, query_size), dim=1).gather(1, order).flatten(1))
        if task == "search":
            row = batch.query.long()[:, None]
            starts += [phrasing[:, 1, :1], begin[row]]
            sizes += [phrasing[:, 1, 1:], length[row]]
        return TokenPieces(self.pieces, fresh).join(torch.cat(starts, 1), torch.cat(sizes, 1))

    def queries(self, batch: Batch) -> Prompts:
        """Return the queries of the requests."""
        flat, lengths = (
            torch.from_numpy(part).to(self.pieces.device) for part in self.tokens.ids(batch.texts, self.query_tokens)
        )
        begin, row = lengths.cumsum(0) - lengths, batch.query.long()[:, None]
        return TokenPieces.of(flat).join(begin[row], lengths[row])

    def query(self, task: str, text: Tensor, inside: Tensor) -> Prompts:
        """Return prompts of a query and no history.

        Args:
            task: of `TEMPLATES`.
            text: [B, T] tokens.
            inside: [B, T] where there is one.
        """
        return self.text(task, F.pad(text, (1, 0), value=self.first + QUERY), F.pad(inside, (1, 0), value=True))

    def text(self, task: str, text: Tensor, inside: Tensor) -> Prompts:
        """Return prompts of a text; arguments as of `query`.

        Args:
            task: of `TEMPLATES`.
            text: [B, T] tokens.
            inside: [B, T] where there is one.
        """
        phrasing = self._phrasing(task, len(text))
        begin = len(self.pieces) + torch.arange(len(text), device=text.device) * text.shape[1]
        start = torch.stack((phrasing[:, 0, 0], begin), 1)
        return TokenPieces(self.pieces, text.flatten()).join(start, torch.stack((phrasing[:, 0, 1], inside.sum(1)), 1))

    def item(self, task: str, side: int, items: Tensor) -> Prompts:
        """Return prompts of the identifiers of items.

        Args:
            task: of `TEMPLATES`.
            side: 0 for recommendation, 1 for search.
            items: [B] internal ids.
        """
        phrasing = self._phrasing(task, len(items))
        piece = (side * self.items + items) * self.width
        start = torch.stack((phrasing[:, 0, 0], piece), 1)
        length = torch.stack((phrasing[:, 0, 1], torch.full_like(piece, self.width)), 1)
        return TokenPieces.of(self.pieces).join(start, length)

    def _phrasing(self, task: str, rows: int) -> Tensor:
        """Return [rows, 2, 2] a phrasing per row: drawn in training, the first one otherwise."""
        phrasings = self.phrasings[list(TEMPLATES).index(task)]
        if not self.training:
            return phrasings[:1].expand(rows, -1, -1)
        return phrasings[torch.randint(len(phrasings), (rows,), device=phrasings.device)]
