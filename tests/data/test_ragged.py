"""Ragged rows against the same thing done a row at a time."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searec.data.ragged import Ragged, first_not_before, gather_windows, group
from searec.data.vocabulary import IdMap
from searec.errors import UnknownIdError

ROWS = st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=6)


def ragged(rows: list[list[int]]) -> Ragged:
    owner = np.array([n for n, row in enumerate(rows) for _ in row], dtype=np.int64)
    return group(owner, np.array([value for row in rows for value in row], dtype=np.int32), len(rows))


def padded(rows: list[list[int]], width: int) -> list[list[int]]:
    return [(row + [0] * width)[:width] for row in rows]


@given(ROWS)
def test_rows_come_back_as_they_were(rows: list[list[int]]) -> None:
    built = ragged(rows)
    assert len(built) == len(rows)
    assert [built.row(n).tolist() for n in range(len(rows))] == rows
    assert built.lengths.tolist() == [len(row) for row in rows]
    assert built.owners.tolist() == [n for n, row in enumerate(rows) for _ in row]


@given(ROWS, st.data())
def test_pad_and_take_pick_rows(rows: list[list[int]], data: st.DataObject) -> None:
    picked = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=5)))
    limit = data.draw(st.none() | st.integers(1, 6))
    chosen = [rows[n] if limit is None else rows[n][:limit] for n in picked]
    built = ragged(rows)
    assert built.pad(picked, limit).tolist() == padded(chosen, max([1, *map(len, chosen)]))
    values, origin = built.take(picked)
    assert values.tolist() == [value for n in picked for value in rows[n]]
    assert origin.tolist() == [place for place, n in enumerate(picked) for _ in rows[n]]


def test_pad_keeps_the_shape_of_what_is_asked() -> None:
    built = ragged([[], [1, 2], [3]])
    assert built.pad(np.array([[0, 1], [2, 0]])).tolist() == [[[0, 0], [1, 2]], [[3, 0], [0, 0]]]
    assert built.pad(np.array([0])).tolist() == [[0]], "a width is at least 1"
    assert built.pad(np.array([], dtype=np.int64)).shape == (0, 1)


def test_windows_of_nothing_are_zeros() -> None:
    nothing = np.zeros(0, dtype=np.int32)
    assert gather_windows(nothing, np.array([0, 0]), np.array([0, 0])).tolist() == [[0], [0]]
    assert gather_windows(np.arange(1, 4), np.array([3]), np.array([0])).tolist() == [[0]], (
        "an empty window at the very end"
    )


@given(ROWS, st.data())
def test_first_not_before_equals_a_search_in_each_segment(rows: list[list[int]], data: st.DataObject) -> None:
    rows = [sorted(row) for row in rows]
    limit = np.array([data.draw(st.integers(0, 10)) for _ in rows])
    built = ragged(rows)
    expected = [
        first + int(np.searchsorted(row, bound)) for first, row, bound in zip(built.offsets, rows, limit, strict=False)
    ]
    assert first_not_before(built.values, built.offsets[:-1], built.offsets[1:], limit).tolist() == expected


def test_ids_are_places_from_one() -> None:
    ids = IdMap("item", pl.Series(["chair", "lamp", "table"]))
    assert len(ids) == 3
    assert ids.to_internal(["table", "lamp", "table"]).tolist() == [3, 2, 3]
    assert ids.to_external(ids.to_internal(["chair", "lamp"])) == ["chair", "lamp"]
    assert "lamp" in ids
    assert "lam" not in ids
    assert ids.to_internal([]).tolist() == []
    with pytest.raises(UnknownIdError, match=r"unknown item id 'lam'.*did you mean 'lamp'"):
        ids.to_internal(["lamp", "lam"])
    with pytest.raises(ValueError, match="item ids are not sorted"):
        IdMap("item", pl.Series(["lamp", "chair"]))


@given(st.sets(st.text(alphabet="ab\u00e9\U0001f600", max_size=4), max_size=200), st.text("ab\u00e9", max_size=3))
def test_ids_equal_a_dict(texts: set[str], other: str) -> None:
    order = sorted(texts)
    index = {text: place for place, text in enumerate(order, start=1)}
    ids = IdMap("item", pl.Series(order, dtype=pl.String))
    assert [ids.find(text) for text in order] == list(range(1, len(order) + 1))
    assert ids.to_internal(order).tolist() == list(index.values())
    assert ids.to_external(ids.to_internal(order)) == order
    assert ids.find(other) == index.get(other, 0)
    assert (other in ids) == (other in index)
    assert ids.beginning_with(other, 5) == [text for text in order if text.startswith(other)][:5]
    if other not in index:
        with pytest.raises(UnknownIdError, match="unknown item id"):
            ids.to_internal([*order, other])
