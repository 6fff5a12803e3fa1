"""Groups of items that nothing tells apart."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from searec.retrieval.item_groups import ItemGroups

LABELS = hnp.arrays(np.int32, st.tuples(st.integers(2, 40), st.integers(1, 3)), elements=st.integers(-1, 2))


@given(labels=LABELS, data=st.data())
def test_groups_hold_every_item_once_the_best_first(labels: np.ndarray, data: st.DataObject) -> None:
    worth = data.draw(hnp.arrays(np.int64, len(labels), elements=st.integers(0, 3)))
    groups = ItemGroups.of(torch.from_numpy(labels), torch.from_numpy(worth))
    parts = [
        groups.members[groups.offsets[g] : groups.offsets[g + 1]].tolist() for g in range(1, len(groups.offsets) - 1)
    ]
    assert sorted(item for part in parts for item in part) == list(range(1, len(labels)))
    for part in parts:
        assert part == sorted(part, key=lambda item: (-worth[item], item))
        assert len({tuple(labels[item]) for item in part}) == 1
    assert len({tuple(labels[part[0]]) for part in parts}) == len(parts)
    assert groups.first.tolist() == [0, *(part[0] for part in parts)]


@given(labels=LABELS, data=st.data())
def test_a_row_of_groups_is_laid_out_in_its_order(labels: np.ndarray, data: st.DataObject) -> None:
    groups = ItemGroups.of(torch.from_numpy(labels), torch.zeros(len(labels)))
    size = len(groups.offsets) - 2
    rows = data.draw(
        hnp.arrays(np.int64, st.tuples(st.integers(1, 3), st.integers(1, 4)), elements=st.integers(0, size))
    )
    count = data.draw(st.integers(1, 50))
    items, place = groups.lay_out(torch.from_numpy(rows), count)
    for row, found, at in zip(rows.tolist(), items.tolist(), place.tolist(), strict=True):
        expected = [
            (item, n)
            for n, g in enumerate(row)
            if g
            for item in groups.members[groups.offsets[g] : groups.offsets[g + 1]].tolist()
        ][:count]
        assert [(item, n) for item, n in zip(found, at, strict=True) if item] == expected
        assert found[len(expected) :] == [0] * (count - len(expected))
