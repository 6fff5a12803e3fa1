"""Labelled interests: pairs of a profile and an interest, graded by later clicks, and a sheet for human raters."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searec.data.split import Split
from searec.errors import DataError, SettingsError
from searec.evaluation.interest_hits import NovelClick, novel_clicks
from searec.files import replacing
from searec.interests.category_index import CategoryIndex
from searec.interests.profile import Profile

KEY, SHEET = "key.csv", "sheet.csv"
GRADES = (0, 1, 2)
_KEY = ("pair", "user", "time", "interest", "grade", "why")
_SHEET = ("pair", "searches", "clicks", "interest", "rating")
_SHOWN = 15
"""Newest searches and clicks that a rater sees."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class LabelledInterest:
    """A pair: 2 a category never touched that the user later clicks, 1 beside one, 0 known or never clicked.

    Attributes:
        profile: the user before a held-out click.
        interest: name of a category.
        grade: 0, 1 or 2.
        why: of the grade.
    """

    profile: Profile
    interest: str
    grade: int
    why: str


def labelled_interests(
    split: Split, catalogue: CategoryIndex, *, count: int = 1_000, seed: int = 0
) -> list[LabelledInterest]:
    """Return pairs of test users in an order that is drawn: as many of each grade as there are, up to `count`.

    Args:
        split: that holds clicks out; what it says is "later" is at or after a user's test click.
        catalogue: of its dataset.
        count: pairs at most.
        seed: of all that is drawn.
    """
    generator = np.random.default_rng(seed)
    pairs: dict[int, list[LabelledInterest]] = {grade: [] for grade in GRADES}
    share = -(-count // len(GRADES))
    clicks = novel_clicks(split, catalogue, part="test", most=4 * count, seed=seed)
    for place, click in enumerate(clicks):
        later = _later(split, catalogue, click)
        untouched = set(click.untouched.tolist())
        taxonomy = catalogue.taxonomy
        beside = {one for one in untouched - later if taxonomy.parent[one] in {taxonomy.parent[c] or -1 for c in later}}
        known = sorted({catalogue.named(name) for one in click.profile.clicks for name in one.categories} - {0})
        known = [one for one in known if catalogue.usable[one]]
        never = sorted(untouched - later - beside)
        zero = (known, "in the history") if known and place % 2 else (never, "never clicked")
        choices = {
            2: (sorted(click.categories), "clicked later, never before"),
            1: (sorted(beside), "beside one that is clicked later"),
            0: zero,
        }
        for grade, (categories, why) in choices.items():
            if categories and len(pairs[grade]) < share:
                name = taxonomy.name(int(generator.choice(categories)))
                pairs[grade].append(LabelledInterest(click.profile, name, grade, why))
        if all(len(line) >= share for line in pairs.values()):
            break
    together = [pair for line in pairs.values() for pair in line]
    order = generator.permutation(len(together))[:count]
    return [together[place] for place in order]


def _later(split: Split, catalogue: CategoryIndex, click: NovelClick) -> set[int]:
    """Narrow categories of what the user clicks from the profile's time on."""
    history, data = split.data.click_history, split.data
    user = int(data.users.to_internal([click.profile.user])[0])
    span = slice(int(history.offsets[user]), int(history.offsets[user + 1]))
    items = history.item[span][history.time[span] >= click.profile.at]
    return set(catalogue.taxonomy.narrow.take(items)[0].tolist())


def write_labels(pairs: Sequence[LabelledInterest], folder: Path) -> None:
    """Write the key with the grades and, beside it, the sheet that raters fill in, which shows neither grade nor user.

    Args:
        pairs: to be rated.
        folder: to write.
    """
    with replacing(folder) as beside:
        beside.mkdir()
        keys = [
            (number, one.profile.user, one.profile.at, one.interest, one.grade, one.why)
            for number, one in enumerate(pairs, start=1)
        ]
        _write(beside / KEY, _KEY, keys)
        sheet = [
            (
                number,
                "; ".join(query.text for query in one.profile.queries[:_SHOWN]),
                "; ".join(f"{click.title} ({', '.join(click.categories)})" for click in one.profile.clicks[:_SHOWN]),
                one.interest,
                "",
            )
            for number, one in enumerate(pairs, start=1)
        ]
        _write(beside / SHEET, _SHEET, sheet)


def agreement(folder: Path, rated: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Return how far raters agree with the key, and with one another.

    Args:
        folder: that `write_labels` wrote.
        rated: sheets with ratings 0, 1 or 2; empty ones are left out.

    Returns:
        By pair of names, as "key, anna": pairs that both rate, the share on which they agree, and Cohen's kappa with
        quadratic weights; NaN where one of them gives a single grade.

    Raises:
        DataError: a file that is missing, a rating that is none of these, or pairs that the key does not have.
    """
    columns = {"key": _read(folder / KEY, "grade")}
    for path in rated:
        ratings = _read(path, "rating")
        if strange := sorted(ratings.keys() - columns["key"].keys()):
            raise DataError(
                "ratings of other pairs", where=path, got=f"pair {strange[0]}", expected=f"those of {folder}"
            )
        if path.stem in columns:
            raise SettingsError("two sheets of the same name", got=path.stem, expected="a name for each rater")
        columns[path.stem] = ratings
    names = list(columns)
    results = {}
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            both = sorted(columns[first].keys() & columns[second].keys())
            a, b = (np.array([columns[name][pair] for pair in both]) for name in (first, second))
            results[f"{first}, {second}"] = {
                "pairs": float(len(both)),
                "agree": float((a == b).mean()) if both else float("nan"),
                "kappa": _kappa(a, b),
            }
    return results


def _kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's kappa with quadratic weights."""
    if not len(a):
        return float("nan")
    expected = float(((a[:, None] - b[None, :]) ** 2).mean())
    return 1 - float(((a - b) ** 2).mean()) / expected if expected else float("nan")


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows([[_as_text(cell) for cell in row] for row in rows])


def _as_text(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _read(path: Path, column: str) -> dict[int, int]:
    """Grades by pair; rows without one are left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError("the sheet cannot be read", where=path, got=error, expected="a CSV file") from None
    grades = {}
    for number, row in enumerate(rows, start=2):
        text = (row.get(column) or "").strip()
        if not text:
            continue
        if text not in map(str, GRADES) or not (row.get("pair") or "").isdigit():
            got = f"pair {row.get('pair')!r}, {column} {text!r}"
            raise DataError("a bad rating", where=f"{path}, line {number}", got=got, expected="0, 1 or 2")
        grades[int(row["pair"])] = int(text)
    return grades
