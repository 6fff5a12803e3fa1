"""Connectivity: with how many rich searchers a sparse one shares a code (docs/gserec.md)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from searec.data.ragged import Ints
from searec.semantic_ids.user_code_table import NONE, SIDES, UserCodes

TOO_MANY_ALONE = 0.3
"""With a larger share of sparse searchers who share no code with a rich one the mechanism cannot work."""
EITHER = "either"
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Reach:
    """Sparse searchers and the rich ones they share a code with, on one side or on either.

    users: sparse searchers. counts: [users] rich searchers that share at least one code with each. closest: mean over
        users of the most codes shared with one rich searcher. uncoded: share of users without a code on these sides,
        who can share none. chance: the same figures with the codes dealt out anew within side and level, to users who
        have some.
    """

    side: str
    users: int
    rich: int
    counts: Ints
    closest: float
    uncoded: float
    chance: "Reach | None" = None

    @property
    def alone(self) -> float:
        """Share of sparse searchers who share no code with any rich one."""
        return float((self.counts == 0).mean()) if self.users else 0.0

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Of `counts`; the middle one is the median."""
        computed = np.quantile(self.counts, (0.25, 0.5, 0.75)) if self.users else np.zeros(3)
        return float(computed[0]), float(computed[1]), float(computed[2])

    @property
    def verdict(self) -> str:
        """In a sentence, whether sharing codes can bring anything here."""
        if not self.users or not self.rich:
            return (
                f"There are {self.users:,} sparse and {self.rich:,} rich searchers: nobody to pass anything "
                f"on, or nobody to receive it."
            )
        shares = (
            f"{self.alone:.0%} of the {self.users:,} sparse searchers share no code with any of the "
            f"{self.rich:,} rich ones"
        )
        if self.alone > TOO_MANY_ALONE:
            return (
                f"{shares}: over {TOO_MANY_ALONE:.0%}, so the mechanism cannot work here; nothing reaches these users."
            )
        return (
            f"{shares}; half of them share one with {self.quartiles[1]:,.0f} or more, "
            f"so there are paths for preferences to travel."
        )

    @property
    def reference(self) -> str:
        """In a sentence, what the verdict is to be read beside: chance, and how many users have no code at all."""
        assert self.chance is not None
        by_chance = f"With codes dealt out by chance {self.chance.alone:.0%} share none"
        return f"{by_chance}, and half {self.chance.quartiles[1]:,.0f} or more; {self.uncoded:.0%} have no code."

    def as_json(self) -> dict[str, Any]:
        """JSON-ready, without the counts."""
        low, median, high = self.quartiles
        actual = {
            "users": self.users,
            "rich": self.rich,
            "alone": self.alone,
            "median": median,
            "quartiles": [low, high],
        }
        actual |= {"closest": self.closest, "uncoded": self.uncoded, "verdict": self.verdict}
        return actual | ({} if self.chance is None else {"chance": self.chance.as_json()})


def connectivity(codes: UserCodes, sparse: Ints, rich: Ints, *, seed: int = 0) -> list[Reach]:
    """Return how many rich searchers each sparse one shares a code with, on each side and on either.

    Args:
        codes: of all users.
        sparse: [n] internal ids.
        rich: [m] internal ids.
        seed: of the shuffled codes that give the value by chance.
    """
    dealt = shuffled(codes.codes, np.random.default_rng(seed))
    computed = []
    for name, sides in (*((side, [place]) for place, side in enumerate(SIDES)), (EITHER, list(range(len(SIDES))))):
        actual, chance = (_reach(name, table, codes.size, sides, sparse, rich) for table in (codes.codes, dealt))
        computed.append(replace(actual, chance=chance))
    return computed


def shuffled(codes: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
    """The same codes in the same numbers, dealt to other users of the same side, each level on its own.

    Args:
        codes: [U, S, L] codes of users.
        rng: of the draws.
    """
    dealt = codes.copy()
    for side in range(codes.shape[1]):
        users = np.flatnonzero(codes[:, side, 0] != NONE)
        for level in range(codes.shape[2]):
            dealt[users, side, level] = codes[rng.permutation(users), side, level]
    return dealt


def members(codes: NDArray[np.int16], size: int, sides: Sequence[int]) -> scipy.sparse.csr_matrix:
    """[U + 1, sides x L x size] 1 where a user has a code.

    Args:
        codes: [U, S, L] codes of users.
        size: codes of a level.
        sides: which sides count.
    """
    picked = codes[:, sides]
    user, side, level = np.nonzero(picked != NONE)
    column = (side * codes.shape[2] + level) * size + picked[user, side, level]
    shape = (len(codes), len(sides) * codes.shape[2] * size)
    return scipy.sparse.csr_matrix((np.ones(len(user), dtype=np.int32), (user, column)), shape=shape)


def _reach(name: str, codes: NDArray[np.int16], size: int, sides: Sequence[int], sparse: Ints, rich: Ints) -> Reach:
    table = members(codes, size, sides)
    others = table[rich].T.tocsc()
    counts, closest = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for start in range(0, len(sparse), _ROWS_AT_ONCE):
        common = (table[sparse[start : start + _ROWS_AT_ONCE]] @ others).tocsr()
        counts.append(np.diff(common.indptr))
        closest.append(np.asarray(common.max(axis=1).todense()).ravel() if len(rich) else np.zeros(common.shape[0]))
    every = np.concatenate(closest)
    uncoded = float((np.diff(table[sparse].indptr) == 0).mean()) if len(sparse) else 0.0
    closest_mean = float(every.mean()) if len(every) else 0.0
    return Reach(name, len(sparse), len(rich), np.concatenate(counts), closest_mean, uncoded)


def likeness(
    codes: UserCodes, tastes: scipy.sparse.csr_matrix, *, pairs: int = 20_000, seed: int = 0
) -> dict[str, dict[str, float]]:
    """For each side the mean cosine of two users' tastes: of pairs with the same first code, and of any pairs.

    Args:
        codes: of all users.
        pairs: drawn at most of each kind.
        seed: of the draw.
        tastes: [U + 1, T] counts, of clicked categories, say; users without any are left out.
    """
    rng = np.random.default_rng(seed)
    length = np.sqrt(np.asarray(tastes.power(2).sum(axis=1)).ravel())
    unit = scipy.sparse.diags(1 / np.maximum(length, 1e-12)) @ tastes
    computed: dict[str, dict[str, float]] = {}
    for place, side in enumerate(SIDES):
        users = np.flatnonzero((codes.codes[:, place, 0] != NONE) & (length > 0))
        if len(users) < 2:
            continue
        users = users[np.argsort(codes.codes[users, place, 0], kind="stable")]
        first = codes.codes[users, place, 0]
        start, end = np.searchsorted(first, first, "left"), np.searchsorted(first, first, "right")
        several = np.flatnonzero(end - start > 1)
        if not len(several):
            continue
        one = rng.choice(several, size=pairs)
        step = rng.integers(1, (end - start)[one])
        other = start[one] + (one - start[one] + step) % (end - start)[one]
        random = rng.integers(0, len(users), (2, pairs))
        random = random[:, random[0] != random[1]]

        def mean(a: Ints, b: Ints, users: Ints = users) -> float:
            return float(np.asarray(unit[users[a]].multiply(unit[users[b]]).sum(axis=1)).mean())

        computed[side] = {"same first code": mean(one, other), "any two": mean(*random)}
    return computed
