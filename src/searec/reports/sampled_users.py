"""Codes of sampled users beside what they did, so that a reader can judge whether the codes mean anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from searec.artifacts.history_texts import histories_of
from searec.artifacts.summaries import Summaries
from searec.data.split import Split
from searec.reports.connectivity import members
from searec.semantic_ids.user_code_table import NONE, SIDES, UserCodes

_NEAREST = 3


@dataclass(frozen=True)
class SampledUser:
    """One user: codes, history and summary by side (None where there is none).

    Also the users who share most codes with this one, with their number.
    """

    user_id: str
    codes: Mapping[str, list[int] | None]
    history: Mapping[str, str | None]
    summary: Mapping[str, str | None]
    nearest: list[tuple[str, int]]

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        sides = {
            name: {side: part[side] for side in SIDES} for name, part in vars(self).items() if isinstance(part, dict)
        }
        return {"user_id": self.user_id, **sides, "nearest": [list(pair) for pair in self.nearest]}


def sample_users(
    split: Split, codes: UserCodes, summaries: Summaries, count: int, *, limit: int, seed: int = 0
) -> list[SampledUser]:
    """Return a random sample of the users who have codes.

    Args:
        split: whose training events are shown.
        codes: of all users.
        summaries: of all users.
        count: users at most.
        seed: of the draw.
        limit: newest events of a side that are shown.
    """
    everyone = np.flatnonzero(codes.has().any(axis=1))
    chosen = np.sort(np.random.default_rng(seed).choice(everyone, size=min(count, len(everyone)), replace=False))
    lines = histories_of(split.data, split.visible(("recommend",)), limit=limit).written()
    summaries_by_user = {row["user"]: row for row in lines.filter(lines["user"].is_in(chosen.tolist())).to_dicts()}
    texts = summaries.texts[chosen.tolist()].to_dicts()
    table = members(codes.codes, codes.size, list(range(len(SIDES))))
    common = (table[chosen] @ table.T).tocsr()
    sampled = []
    for row, user in enumerate(chosen):
        shared = common[row]
        others = [(int(other), int(n)) for other, n in zip(shared.indices, shared.data, strict=True) if other != user]
        others.sort(key=lambda pair: (-pair[1], pair[0]))
        nearest = others[:_NEAREST]
        names = (
            split.data.users.to_external(np.array([other for other, _ in nearest], dtype=np.int64)) if nearest else []
        )
        lists = {side: codes.codes[user, place].tolist() for place, side in enumerate(SIDES)}
        sampled.append(
            SampledUser(
                user_id=str(split.data.users.to_external(np.array([user]))[0]),
                codes={side: None if NONE in own_codes else own_codes for side, own_codes in lists.items()},
                history={side: summaries_by_user.get(int(user), {}).get(side) for side in SIDES},
                summary={side: texts[row][side] for side in SIDES},
                nearest=[(str(name), n) for name, (_, n) in zip(names, nearest, strict=True)],
            )
        )
    return sampled
