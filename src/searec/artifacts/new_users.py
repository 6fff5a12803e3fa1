"""Requests of users who came after the training: their records become a batch, and what the artifact makes of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from searec.artifacts.base import Artifact
from searec.data.dataset import Dataset
from searec.data.ragged import Ragged
from searec.data.user_history import UserHistory, batch_of, padded
from searec.errors import DataError
from searec.models.base import best_items

Record = Mapping[str, Any]
"""{"clicks": [item ids], "searches": [(query, [item ids]), ...]}, oldest first; either may be missing."""


def best_for_new_users(
    model: Any, artifact: Artifact, data: Dataset, records: Sequence[Record], k: int, *, seen: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the k best items for users who came after the training; no weight changes.

    Args:
        model: one that has `ColdStartUsers`.
        artifact: what it was trained with.
        data: the dataset of the run.
        records: what the users did.
        k: items per user.
        seen: also return items of a record.

    Returns:
        Ids and scores [B, k], as `Model.retrieve`.

    Raises:
        DataError: a record has other parts, an empty query, or nothing at all.
        UnknownIdError: an item that the catalogue does not hold.
    """
    for row, record in enumerate(records):
        if not record.get("clicks") and not record.get("searches"):
            raise DataError(
                "nothing is known of this user", where=f"record {row}", got=dict(record), expected="clicks or searches"
            )
    histories = [history_of(data, record) for record in records]
    batch = batch_of(data, histories, dataclasses.replace(model.needs, queries=True), "recommend")
    users = artifact.new_users(records, data, batch, model)
    with torch.no_grad():
        scores = model.score_new_users(batch.to(model.device), users)
    clicked = torch.from_numpy(padded([history.click_item for history in histories]))
    return best_items(scores, k, None if seen else clicked.to(model.device))


def history_of(data: Dataset, record: Record) -> UserHistory:
    """Return a record as a history; its clicks come before those after searches.

    Args:
        data: the dataset of the run.
        record: what the user did.
    """
    clicks = data.items.to_internal(list(record.get("clicks", ())))
    searches = record.get("searches", ())
    after_search = tuple(data.items.to_internal(list(items)) for _, items in searches)
    click_history = np.concatenate((clicks, *after_search))
    return UserHistory(
        feed_item=clicks,
        feed_time=np.arange(len(clicks)),
        search_query=np.zeros(len(searches), dtype=np.int64),
        search_text=tuple(query for query, _ in searches),
        search_time=np.arange(len(searches)),
        search_click=Ragged.of(after_search),
        click_item=click_history,
        click_time=np.arange(len(click_history)),
    )


def _internal(data: Dataset, items: Sequence[str]) -> list[int]:
    return [int(item) for item in data.items.to_internal(list(items))]


def titled(data: Dataset, records: Sequence[Record]) -> list[Record]:
    """Return the records as `Histories.of` reads them: items by title and categories.

    Args:
        data: the dataset of the run.
        records: what the users did.
    """
    columns = [name for name in ("title", "categories") if name in data.item_table.columns]

    def described(items: Sequence[str]) -> list[dict[str, Any]]:
        return data.item_table[[item - 1 for item in _internal(data, items)], columns].to_dicts()

    return [
        {
            "clicks": described(record.get("clicks", ())),
            "searches": [(query, described(items)) for query, items in record.get("searches", ())],
        }
        for record in records
    ]
