"""Requests of users whom no dataset holds: what they did, given by hand, becomes a batch and codes made now."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from searec.data.batch import Batch
from searec.data.dataset import Dataset
from searec.data.words import words_of
from searec.derived.user_codes import Coder
from searec.errors import DataError
from searec.models import GSERec
from searec.models.base import best_items
from searec.models.gserec import Newcomers
from searec.text.encoder import Encoder

Record = Mapping[str, Any]
"""{"clicks": [item ids], "searches": [(query, [item ids]), ...]}, oldest first; either may be missing."""


def best_for_newcomers(
    model: GSERec, coder: Coder, data: Dataset, records: Sequence[Record], k: int, *, seen: bool = False
) -> tuple[Tensor, Tensor]:
    """The k best items for users who were not there at training, from codes and embeddings made now; no weight changes.

    Args:
        seen: also give what a record holds.

    Returns:
        ids and scores [B, k], as `Model.retrieve`.

    Raises:
        DataError: a record has other parts, an empty query, or nothing at all.
        UnknownIdError: an item the catalogue does not hold.
    """
    for row, record in enumerate(records):
        if not record.get("clicks") and not record.get("searches"):
            raise DataError("nothing is known of this user", where=f"record {row}", got=dict(record), expected="clicks or searches")
    clicks = [_inside(data, record.get("clicks", ())) for record in records]
    sessions = [[(query, _inside(data, found)) for query, found in record.get("searches", ())] for record in records]
    codes = coder.newcomers(titled(data, records))
    needs = model.needs
    queries = {query: place for place, query in enumerate(dict.fromkeys(query for asked in sessions for query, _ in asked), start=1)}
    recent = [asked[-needs.src :] for asked in sessions]
    found = [[items[: needs.src_clicks] for _, items in asked] for asked in recent]
    width = max((len(items) for asked in found for items in asked), default=0)
    src_click = np.zeros((len(records), max(1, *map(len, found)), max(1, width)), dtype=np.int32)
    for row, lists in enumerate(found):
        for place, items in enumerate(lists):
            src_click[row, place, : len(items)] = items
    spoken = [[data.word_index.get(word, 0) for word in words_of(query)] for query in queries]
    words = _padded([[], *([word for word in line if word][: needs.words] for line in spoken)])
    rec_item = _padded([mine[-needs.rec :] for mine in clicks])
    src_query = _padded([[queries[query] for query, _ in asked] for asked in recent])
    none = torch.zeros(len(records), 1, dtype=torch.int32)
    batch = Batch(
        task="recommend",
        user=none[:, 0],
        time=none[:, 0].long(),
        rec_item=rec_item,
        rec_time=torch.arange(rec_item.shape[1]).expand_as(rec_item),
        src_query=src_query,
        src_click=torch.from_numpy(src_click),
        src_time=torch.arange(src_query.shape[1]).expand_as(src_query),
        trail_item=none,
        trail_time=none.long(),
        query=none[:, 0],
        words=words,
        query_id=torch.zeros(len(words), dtype=torch.int32),
        target=none[:, 0],
    )
    sentences = None
    if model.config.query == "sentence":
        vectors = Encoder(coder.settings.encoder).encode(list(queries))
        sentences = torch.zeros(len(words), model.config.query_width)
        sentences[1:] = torch.from_numpy(vectors)
        sentences = sentences.to(model.device)
    everything = _padded([[*mine, *(item for _, items in asked for item in items)] for mine, asked in zip(clicks, sessions, strict=True)])
    known = Newcomers(torch.from_numpy(codes).to(model.device), sentences)
    with torch.no_grad():
        scores = model.score(batch.to(model.device), known)
    return best_items(scores, k, None if seen else everything.to(model.device))


def _inside(data: Dataset, items: Sequence[str]) -> list[int]:
    return [int(item) for item in data.items.inside(list(items))]


def titled(data: Dataset, records: Sequence[Record]) -> list[Record]:
    """The records as `Histories.of` reads them: items by title and categories."""
    kept = [name for name in ("title", "categories") if name in data.item_table.columns]

    def told(items: Sequence[str]) -> list[dict[str, Any]]:
        return data.item_table[[item - 1 for item in _inside(data, items)], kept].to_dicts()

    return [
        {"clicks": told(record.get("clicks", ())), "searches": [(query, told(items)) for query, items in record.get("searches", ())]}
        for record in records
    ]


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """[n, longest, at least 1] int32, 0 at the end."""
    table = np.zeros((len(rows), max(1, *map(len, rows))), dtype=np.int32)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return torch.from_numpy(table)
