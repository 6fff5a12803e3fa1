"""The per-row way to make batches: a torch Dataset that builds one example in Python, and a collate that pads.

It gives what a searec batch holds, from the same arrays, so that the two can be compared by value as well as by time.
The words of past queries stand in the batch as [B, S, W], where searec keeps each distinct query of a batch once.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Arrays = Mapping[str, NDArray[Any]]
Row = dict[str, Any]


def read_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """Every .npy of an encoded dataset, read into memory, by name ("interactions.item", ...)."""
    return {path.name.removesuffix(".npy"): np.load(path) for path in sorted(folder.glob("*.npy"))}


class RowDataset(Dataset[Row]):
    """One example per request; histories run from old to new and hold the newest `max_feed`, `max_searches`.

    `max_clicked` events.

    Args:
        arrays: the encoded dataset (names as `reference_pandas.encode` gives them).
        requests: who asks and what followed.
        max_feed, max_searches, max_clicked: longest histories; 0 leaves one out. max_clicks, max_words: of a session,
        of a query.
        negatives: items drawn for each request that its user never clicked; column 0 of the candidates is the target.
        seed: of the negatives.
    """

    def __init__(
        self,
        arrays: Arrays,
        requests: Any,
        max_feed: int,
        max_searches: int,
        max_clicks: int = 5,
        negatives: int = 4,
        seed: int = 1,
        *,
        max_words: int = 8,
        max_clicked: int = 0,
    ) -> None:
        self.arrays, self.requests = arrays, requests
        self.max_feed, self.max_searches, self.max_clicks, self.max_words, self.max_clicked = (
            max_feed,
            max_searches,
            max_clicks,
            max_words,
            max_clicked,
        )
        self.negatives, self.random = negatives, random.Random(seed)
        self.items = len(arrays["item_words.offsets"]) - 2
        offsets, clicked = arrays["click_history.offsets"], arrays["click_history.item"]
        self.touched = (
            [set(clicked[offsets[u] : offsets[u + 1]].tolist()) for u in range(len(offsets) - 1)] if negatives else []
        )

    def __len__(self) -> int:
        return len(self.requests.user)

    def __getitem__(self, index: int) -> Row:
        arrays, asked = self.arrays, self.requests
        user, target = int(asked.user[index]), int(asked.target[index])
        first, end = self._window("interactions", user, int(asked.feed_end[index]), self.max_feed)
        row: Row = {
            "user": user,
            "time": int(asked.time[index]),
            "target": target,
            "feed_item": arrays["interactions.item"][first:end],
            "feed_time": arrays["interactions.time"][first:end],
        }
        first, end = self._window("searches", user, int(asked.search_end[index]), self.max_searches)
        row["search_time"] = arrays["searches.time"][first:end]
        row["search_words"] = [self._words(int(query)) for query in arrays["searches.query"][first:end]]
        row["search_click"] = [self._clicks(session) for session in range(first, end)]
        if self.max_clicked:
            first, end = self._window("click_history", user, int(asked.click_end[index]), self.max_clicked)
            row["click_item"] = arrays["click_history.item"][first:end]
            row["click_time"] = arrays["click_history.time"][first:end]
        row["query_words"] = self._words(int(asked.query[index]))
        if self.negatives:
            row["candidates"] = [target, *self._draw(user, target)]
        return row

    def _window(self, stream: str, user: int, end: int, limit: int) -> tuple[int, int]:
        return max(int(self.arrays[f"{stream}.offsets"][user]), end - limit), end

    def _words(self, query: int) -> NDArray[Any]:
        offsets = self.arrays["query_words.offsets"]
        return self.arrays["query_words"][offsets[query] : min(offsets[query + 1], offsets[query] + self.max_words)]

    def _clicks(self, session: int) -> NDArray[Any]:
        offsets = self.arrays["searches.clicked.offsets"]
        return self.arrays["searches.clicked"][
            offsets[session] : min(offsets[session + 1], offsets[session] + self.max_clicks)
        ]

    def _draw(self, user: int, target: int) -> list[int]:
        drawn: list[int] = []
        touched = self.touched[user]
        while len(drawn) < self.negatives:
            item = self._item()
            if item != target and item not in touched:
                drawn.append(item)
        return drawn

    def _item(self) -> int:
        return self.random.randint(1, self.items)


def collate(rows: Sequence[Row]) -> dict[str, Tensor]:
    """Pad a list of rows with 0 to the longest of the batch (at least 1); int64 tensors."""
    batch: dict[str, Tensor] = {}
    for name in ("user", "time", "target", "candidates"):
        if name in rows[0]:
            batch[name] = torch.tensor([row[name] for row in rows])
    for name in ("feed_item", "feed_time", "search_time", "click_item", "click_time", "query_words"):
        if name in rows[0]:
            batch[name] = pad([row[name] for row in rows])
    for name in ("search_words", "search_click"):
        batch[name] = pad_twice([row[name] for row in rows])
    return batch


def pad(lists: Sequence[Sequence[int] | NDArray[Any]]) -> Tensor:
    """[B, L] of B lists."""
    out = np.zeros((len(lists), max(1, *(len(one) for one in lists))), dtype=np.int64)
    for place, one in enumerate(lists):
        out[place, : len(one)] = one
    return torch.from_numpy(out)


def pad_twice(lists: Sequence[Sequence[NDArray[Any]]]) -> Tensor:
    """[B, S, P] of B lists of lists."""
    longest = max(1, *(len(one) for one in lists))
    widest = max((len(inner) for one in lists for inner in one), default=1)
    out = np.zeros((len(lists), longest, max(1, widest)), dtype=np.int64)
    for place, one in enumerate(lists):
        for step, inner in enumerate(one):
            out[place, step, : len(inner)] = inner
    return torch.from_numpy(out)


def loader(
    rows: RowDataset, batch_size: int, *, shuffle: bool = False, seed: int = 1, workers: int = 0
) -> DataLoader[Row]:
    """The usual DataLoader over it; `workers` processes fetch rows in advance."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(
        rows, batch_size=batch_size, shuffle=shuffle, collate_fn=collate, num_workers=workers, generator=generator
    )
