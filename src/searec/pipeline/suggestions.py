"""Suggesting: queries to ask next, by what the user did (gensar), by what they may want, and by what many ask."""

import bisect
from collections.abc import Sequence

import numpy as np

from searec.data.dataset import Dataset
from searec.data.user_history import batch_of
from searec.interests.user_interests import UserInterests
from searec.models.gensar.model import GenSAR
from searec.pipeline.fusion import fuse
from searec.pipeline.histories import UserContext
from searec.pipeline.run import Run, asked_by_several
from searec.pipeline.types import SuggestedQuery

MIN_USERS = 2
"""A query is shown to others if so many users have asked it."""
_LOOKED_AT = 5_000
_WEIGHTS = (1.0, 0.9, 0.5)
"""Of gensar, interests and what many ask."""


class Suggester:
    """Suggests known queries.

    Args:
        run: a gensar run that has learnt to search, or None.
    """

    def __init__(self, data: Dataset, run: Run | None = None) -> None:
        self.run = run
        self._data = data
        texts, self._counts = asked_by_several(data, MIN_USERS)
        self._texts: list[str] = texts.to_list()
        folded = [text.casefold() for text in self._texts]
        self._order = sorted(range(len(folded)), key=folded.__getitem__)
        self._sorted = [folded[place] for place in self._order]
        self._trie = (
            run.model.query_trie(self._texts)
            if run is not None and isinstance(run.model, GenSAR) and self._texts
            else None
        )

    def written(self, known: UserContext, k: int) -> list[str]:
        """By gensar, for one user; nothing for who has no history. Runs in the lane of its run."""
        if self.run is None or self._trie is None or not known:
            return []
        model = self.run.model
        assert isinstance(model, GenSAR)
        batch = batch_of(self._data, [known.past], model.needs, "recommend").to(model.device)
        places, _ = model.suggest(batch, self._trie, k)
        return [self._texts[place - 1] for place in places[0].tolist() if place]

    def often(self, prefix: str, k: int) -> list[str]:
        """What most users ask, of queries that begin so."""
        start = prefix.casefold()
        first = bisect.bisect_left(self._sorted, start)
        end = bisect.bisect_left(self._sorted, start + "\U0010ffff") if start else len(self._sorted)
        rows = np.array(self._order[first:end], dtype=np.int64)
        counts = self._counts[rows]
        if len(rows) > _LOOKED_AT:
            rows = rows[np.argpartition(-counts, k)[: k + 1]]
            counts = self._counts[rows]
        return [self._texts[row] for row in rows[np.argsort(-counts, kind="stable")][:k].tolist()]

    def suggest(self, written: Sequence[str], longing: UserInterests, prefix: str, k: int) -> list[SuggestedQuery]:
        """The three lists as one; the same words in another case are one query."""
        start = prefix.casefold()
        wishes = {one.text.casefold(): one.reason for one in longing.interests}
        lists = [[text for text in written if text.casefold().startswith(start)]]
        lists.append([one.text for one in longing.interests if one.text.casefold().startswith(start)])
        lists.append(self.often(prefix, k))
        numbers: dict[str, int] = {}
        texts: list[str] = []
        for text in (text for own in lists for text in own):
            if text.casefold() not in numbers:
                numbers[text.casefold()] = len(texts)
                texts.append(text)
        ids = [np.array(list(dict.fromkeys(numbers[text.casefold()] for text in own)), dtype=np.int64) for own in lists]
        fused = fuse(ids, _WEIGHTS)
        told = []
        for number, score, source in zip(
            fused.items[:k].tolist(), fused.score.tolist(), fused.source.tolist(), strict=False
        ):
            text = texts[number]
            channel = ("gensar", "interest", "popular")[source]
            reason = ("follows from what you did lately", wishes.get(text.casefold(), ""), "asked by many")[source]
            told.append(SuggestedQuery(text, score, channel, reason))
        return told
