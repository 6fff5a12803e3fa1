"""Is a difference real: bootstrap intervals, paired tests and Holm's correction, for whole tables at once.

Arrays are [R, C]: R requests (rows matched between runs), C columns of a table. NaN means that the
request does not belong to the column (its user is not in that slice). Every resampling draws one set of
requests for all columns, in chunks, so memory does not grow with the number of resamples.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from searec.errors import SettingsError

Floats = NDArray[np.float64]

_CELLS_AT_ONCE = 1 << 22
_DRAWS_AT_ONCE = 16  # at the least: thinner matrix products cost more than they save
_SAME = 1e-12  # averages over seeds differ in the last bits; smaller differences are ties


def means(values: Floats) -> Floats:
    """[C] mean over the requests of each column; NaN for a column without any.

    >>> means(np.array([[1.0, np.nan], [2.0, 4.0]])).tolist()
    [1.5, 4.0]
    """
    inside = ~np.isnan(values)
    return _ratio(np.where(inside, values, 0.0).sum(axis=0), inside.sum(axis=0))


def bootstrap_means(values: Floats, generator: np.random.Generator, resamples: int) -> Floats:
    """[resamples, C] column means over requests drawn with replacement (Efron 1979).

    The same draw serves every column, so the difference of two columns is a paired bootstrap. A column
    of which a draw holds no request is NaN there.

    Args:
        values: [R, C], NaN where a request is not in the column.
        generator: of the draws.
        resamples: number of draws.
    """
    _check(resamples)
    rows = len(values)
    inside = ~np.isnan(values)
    filled = np.where(inside, values, 0.0)
    members, column = np.unique(inside, axis=1, return_inverse=True)  # columns of one slice are counted once
    members = members.astype(np.float64)
    result = np.empty((resamples, values.shape[1]))
    step = max(_DRAWS_AT_ONCE, _CELLS_AT_ONCE // max(1, rows))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(rows, size=(size, rows)) + np.arange(size)[:, None] * rows
        times = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)
        result[start : start + size] = _ratio(times @ filled, (times @ members)[:, column])
    return result


def bootstrap_seeds(samples: Floats, generator: np.random.Generator) -> Floats:
    """[resamples, C] the mean over seeds drawn with replacement in each resample, the same seeds for every column.

    The seeds' part of the deviation is widened by sqrt(S / (S - 1)), for a draw of S seeds varies less than S new ones.
    With requests resampled too this is the bootstrap of two crossed factors (Owen 2007), requests and seeds.

    Args:
        samples: [S, resamples, C] resampled means of each seed's run (`bootstrap_means`).
        generator: of the draws.
    """
    seeds, resamples = samples.shape[:2]
    centre: Floats = samples.mean(axis=0)
    if seeds == 1:
        return centre
    times = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    drawn = np.einsum("rs,src->rc", times, samples)
    widened: Floats = centre + np.sqrt(seeds / (seeds - 1)) * (drawn - centre)
    return widened


def interval(samples: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """[...] lower and upper percentile bounds that hold `level` of the resampled means (first axis).

    NaN where no resample holds a value.

    Args:
        samples: [resamples, ...] resampled means.
        level: share of them inside, in (0, 1).

    >>> low, high = interval(np.linspace(0.0, 1.0, 101)[:, None], level=0.9)
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([0.05], [0.95])
    """
    if not 0.0 < level < 1.0:
        raise SettingsError("an interval's level is a share", got=level, expected="0 < level < 1")
    empty = np.isnan(samples).all(axis=0)
    tail = (1.0 - level) / 2.0
    low, high = np.nanquantile(np.where(empty, 0.0, samples), [tail, 1.0 - tail], axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def t_test(differences: Floats, *seeds: Floats) -> Floats:
    """[C] two-sided p of the paired t-test (Student 1908), over requests, and over seeds where there are several.

    The squared error of the mean is the sum of those of the requests and of each side's seeds, with the degrees of
    freedom of Welch (1947) and Satterthwaite. Without several seeds this is t = mean / (sd / sqrt(n)) with n - 1.
    1 where every difference is 0; NaN where fewer than two requests are in the column.

    Args:
        differences: [R, C] of the means over seeds, NaN where a request is not in the column.
        seeds: of each side, [S, C] the mean of each seed's run.

    >>> t_test(np.array([[1.0], [2.0], [3.0]])).round(4).tolist()
    [0.0742]
    """
    inside = ~np.isnan(differences)
    count = inside.sum(axis=0)
    mean = means(differences)
    squares = (np.where(inside, differences - mean, 0.0) ** 2).sum(axis=0)
    parts = [(_ratio(squares, (count - 1.0) * count), np.maximum(count - 1.0, 1.0))]
    parts += [(side.var(axis=0, ddof=1) / len(side), np.float64(len(side) - 1.0)) for side in seeds if len(side) > 1]
    variance = np.sum([part for part, _ in parts], axis=0)
    spread = np.sqrt(variance)
    freedom = _ratio(variance**2, np.sum([part**2 / of_part for part, of_part in parts], axis=0))
    freedom = np.where(np.isnan(freedom), parts[0][1], freedom)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(mean) / spread  # inf where all differences are equal and not 0: p = 0
    p = 2.0 * stdtr(freedom, -t)
    p = np.where(np.abs(mean) + spread <= _SAME, 1.0, p)
    return np.where(count < 2, np.nan, p)


def sign_flip(differences: Floats, generator: np.random.Generator, resamples: int) -> Floats:
    """[C] two-sided p of the paired randomisation test (Fisher 1935), with no assumption on the distribution.

    If two runs are alike, a user's difference is as likely to have the other sign. p = (1 + flips whose
    |sum| is at least the one seen) / (1 + resamples), so it is never below 1 / (1 + resamples). NaN where
    no request is in the column.

    Args:
        differences: [R, C], NaN where a request is not in the column.
        generator: of the signs.
        resamples: number of draws.
    """
    _check(resamples)
    rows = len(differences)
    filled = np.where(np.isnan(differences), 0.0, differences)
    seen = np.abs(filled.sum(axis=0)) * (1.0 - _SAME) - _SAME
    extreme = np.zeros(differences.shape[1], dtype=np.int64)
    total = filled.sum(axis=0)
    step = max(_DRAWS_AT_ONCE, _CELLS_AT_ONCE // max(1, rows))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        bits = np.unpackbits(generator.integers(256, size=(size, (rows + 7) // 8), dtype=np.uint8), axis=1, count=rows)
        flipped = total - 2.0 * (bits.astype(np.float64) @ filled)  # a set bit turns the sign
        extreme += np.count_nonzero(np.abs(flipped) >= seen, axis=0)
    p = (1.0 + extreme) / (1.0 + resamples)
    return np.where(np.isnan(differences).all(axis=0), np.nan, p)


def win_tie_loss(differences: Floats) -> NDArray[np.int64]:
    """[C, 3] requests with a positive, no and a negative difference.

    >>> win_tie_loss(np.array([[0.5], [0.0], [-0.1], [np.nan], [1.0]])).tolist()
    [[2, 1, 1]]
    """
    win, loss = (differences > _SAME).sum(axis=0), (differences < -_SAME).sum(axis=0)
    tie = (~np.isnan(differences)).sum(axis=0) - win - loss
    return np.stack([win, tie, loss], axis=1).astype(np.int64)


def holm(p: ArrayLike) -> Floats:
    """Holm's (1979) step-down correction of many p values, same shape; NaN is no test and stays NaN.

    Ascending p_1..p_m become max over j <= i of min(1, (m - j + 1) p_j). Rejecting where the result is
    below a bound keeps the chance of any false rejection below it, however the tests depend on each other.

    >>> holm([0.01, 0.04, 0.03, 0.005]).round(4).tolist()  # 4 x 0.005, 3 x 0.01, 2 x 0.03, then never less
    [0.03, 0.06, 0.06, 0.02]
    """
    given = np.asarray(p, dtype=np.float64)
    flat = given.ravel()
    order = np.argsort(flat)  # NaN last
    tests = int((~np.isnan(flat)).sum())
    tested = order[:tests]
    result = np.full(len(flat), np.nan)
    result[tested] = np.minimum(1.0, np.maximum.accumulate(flat[tested] * (tests - np.arange(tests))))
    return result.reshape(given.shape)


def _ratio(total: Floats, count: ArrayLike) -> Floats:
    """Total / count, NaN where count is not positive."""
    number = np.asarray(count, dtype=np.float64)
    return np.where(number > 0, total / np.where(number > 0, number, 1.0), np.nan)


def _check(resamples: int) -> None:
    if resamples < 1:
        raise SettingsError("a resampling needs at least one draw", got=resamples, expected="resamples >= 1")
