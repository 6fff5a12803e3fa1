"""Cut-off: the events that an artifact was derived from. It is written beside the artifact and travels with it."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from searec.data.dataset import Dataset
from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import LeakError
from searec.files import fingerprint

ABOUT, TIMES = "cutoff.json", "cutoff.parquet"
NOTHING = np.iinfo(np.int64).min
"""In place of a time where no event of a user was read."""
_FORMAT = 1
_SCHEMA = {"user_id": pl.String, "read": pl.Int64, "learned": pl.Int64}
_REMEDY = "make it again with this version: train in another folder, or distil again"


@dataclass(frozen=True, eq=False)
class Cutoff:
    """For each user a time, microseconds since 1970 (UTC): only strictly older events were read; `NOTHING` if none was.

    Attributes:
        data: fingerprint of the dataset; "" where it was none.
        users: [n] external ids. Of anybody else nothing was read.
        read: [n] for results about the user alone, such as the user's codes.
        learned: [n] for results about others as well: weights, counts, identifiers.
        about: tasks, min_events, unseen, joint, split_at of a global split; and whatever else is known; JSON-ready.
    """

    data: str
    users: pl.Series
    read: Ints
    learned: Ints
    about: Mapping[str, Any]

    @classmethod
    def of(cls, split: Split, tasks: Sequence[Task]) -> "Cutoff":
        """Return what a split lets a model read for `tasks`.

        Where nothing is held out it ends right after the user's last event.

        Args:
            split: the split.
            tasks: the tasks of the model.
        """
        newest = last_event(split.data)[1:]
        end = np.where(newest == NOTHING, NOTHING, newest + 1)
        read, learned = (np.minimum(times[1:], end) for times in (split.visible(tasks), split.cutoff(tasks)))
        about: dict[str, Any] = {"tasks": list(tasks), "min_events": split.min_events, "unseen": split.unseen}
        about |= {} if split.split_at is None else {"split_at": split.split_at}
        about |= {"joint": True} if split.joint else {}
        return cls(split.data.fingerprint, split.data.users.texts, read, learned, about)

    @classmethod
    def by_hand(cls, users: Sequence[str], times: Sequence[int]) -> "Cutoff":
        """Return the cut-off of users that no dataset holds.

        Args:
            users: external ids.
            times: for each user a time that every event read is older than; microseconds since 1970.
        """
        read = np.array(times, dtype=np.int64)
        return cls("", pl.Series(users, dtype=pl.String), read, read, {})

    @functools.cached_property
    def digest(self) -> str:
        """32 hex digits over all of it."""
        times = (
            hashlib.blake2b(np.ascontiguousarray(side, dtype=np.int64).tobytes()).hexdigest()
            for side in (self.read, self.learned)
        )
        return fingerprint(
            self.data, "\n".join(self.users.to_list()), *times, json.dumps(dict(self.about), sort_keys=True)
        )

    @property
    def newest(self) -> int | None:
        """The latest of all times; None if nothing was read."""
        latest = max((int(side.max(initial=NOTHING)) for side in (self.read, self.learned)), default=NOTHING)
        return None if latest == NOTHING else latest

    def as_json(self) -> dict[str, Any]:
        """`about` with the fingerprint, the latest time and the digest."""
        newest = None if self.newest is None else str(np.datetime64(self.newest, "us"))
        return {"format": _FORMAT, "data": self.data, **self.about, "newest": newest, "digest": self.digest}

    def on(self, data: Dataset) -> tuple[Ints, Ints]:
        """`read` and `learned`, [U + 1] each, of the users of a dataset; `NOTHING` for those who are not among them."""
        sides = np.full((2, data.sizes.users + 1), NOTHING, dtype=np.int64)
        if self.data == data.fingerprint and len(self.users) == data.sizes.users:
            inside: Ints = np.arange(1, data.sizes.users + 1)
            rows: Ints = np.arange(len(self.users))
        else:
            known = pl.DataFrame({"user": data.users.texts}).with_row_index("inside", offset=1)
            both = pl.DataFrame({"user": self.users}).with_row_index("row").join(known, on="user")
            inside, rows = both["inside"].to_numpy(), both["row"].to_numpy()
        for side, times in zip(sides, (self.read, self.learned), strict=True):
            side[inside] = times[rows]
        return sides[0], sides[1]

    def with_(self, other: "Cutoff", data: Dataset, name: str) -> "Cutoff":
        """Return this cut-off for something that another artifact, with the cut-off `other`, helped to make.

        Args:
            other: the cut-off of the artifact that helped.
            data: whose users these are.
            name: what the other is, for `about`.
        """
        learned = np.maximum(self.learned, other.on(data)[1][1:])
        return Cutoff(
            self.data,
            self.users,
            self.read,
            learned,
            {**self.about, name: {"data": other.data, "digest": other.digest}},
        )

    def save(self, folder: Path) -> None:
        """Write it into a folder that is there."""
        columns = {"user_id": self.users, "read": self.read, "learned": self.learned}
        pl.DataFrame(columns, schema=_SCHEMA).write_parquet(folder / TIMES)
        (folder / ABOUT).write_text(json.dumps(self.as_json(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Cutoff":
        """Read what `save` wrote.

        Raises:
            LeakError: there is none, as in what an older version made, or it is damaged or was changed.
        """
        try:
            stored = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            table = pl.read_parquet(folder / TIMES)
        except FileNotFoundError:
            raise LeakError(
                "no cut-off tells what it was made of", where=folder, expected=f"{ABOUT}, {TIMES}", remedy=_REMEDY
            ) from None
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise LeakError(
                "the cut-off is damaged", where=folder, got=str(error).splitlines()[0], remedy=_REMEDY
            ) from error
        if not isinstance(stored, dict) or stored.get("format") != _FORMAT or table.schema != pl.Schema(_SCHEMA):
            raise LeakError(
                "the cut-off is damaged", where=folder, got=table.schema, expected=f"format {_FORMAT}", remedy=_REMEDY
            )
        about = {name: value for name, value in stored.items() if name not in ("format", "data", "newest", "digest")}
        cutoff = cls(
            str(stored.get("data")), table["user_id"], table["read"].to_numpy(), table["learned"].to_numpy(), about
        )
        if cutoff.digest != stored.get("digest"):
            raise LeakError(
                "the cut-off was changed after it was made",
                where=folder,
                got=cutoff.digest,
                expected=stored.get("digest"),
                remedy=_REMEDY,
            )
        return cutoff


def last_event(data: Dataset) -> Ints:
    """[U + 1] when each user's last event was, in feed or search; `NOTHING` where there is none."""
    newest = np.full(data.sizes.users + 1, NOTHING, dtype=np.int64)
    for stream in (data.interactions, data.searches):
        end = np.asarray(stream.offsets[1:])
        has_events = end > stream.offsets[:-1]
        newest[has_events] = np.maximum(newest[has_events], stream.time[end[has_events] - 1])
    return newest
