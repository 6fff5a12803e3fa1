"""Groups of items that nothing tells apart."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from searec.retrieval.item_groups import ItemGroups

LABELS = hnp.arrays(np.int32, st.tuples(st.integers(2, 40), st.integers(1, 3)), elements=st.integers(0, 3))


@given(labels=LABELS, data=st.data())
def test_groups_hold_every_item_once_the_best_first(labels: np.ndarray, data: st.DataObject) -> None:
    worth = data.draw(hnp.arrays(np.int64, len(labels), elements=st.integers(0, 3)))
    groups = ItemGroups.of(labels, worth, 3)
    parts = [groups.members.row(g).tolist() for g in range(1, len(groups) + 1)]
    assert sorted(item for part in parts for item in part) == list(range(1, len(labels)))
    for number, part in enumerate(parts, start=1):
        assert part == sorted(part, key=lambda item: (-worth[item], item))
        assert len({tuple(sorted(labels[item])) for item in part}) == 1
        assert groups.of_item[part].tolist() == [number] * len(part)
    assert len({tuple(sorted(labels[part[0]])) for part in parts}) == len(parts)
    assert groups.first.tolist() == [0, *(part[0] for part in parts)]
    for category in range(1, 4):
        carrying = [n for n, part in enumerate(parts, start=1) if category in labels[part[0]]]
        assert sorted(set(groups.carriers.row(category).tolist())) == carrying
    assert not len(groups.carriers.row(0))


@given(labels=LABELS, data=st.data())
def test_the_groups_of_each_owner_are_laid_out_in_their_order(labels: np.ndarray, data: st.DataObject) -> None:
    groups = ItemGroups.of(labels, np.zeros(len(labels)), 3)
    rows = data.draw(st.lists(st.lists(st.integers(1, len(groups)), max_size=4), min_size=1, max_size=3))
    count = data.draw(st.integers(1, 50))
    owner = np.repeat(np.arange(len(rows)), list(map(len, rows)))
    flat = np.array([g for row in rows for g in row], dtype=np.int64)
    items, place = groups.lay_out(flat, owner, count)
    expected = []
    for number in range(len(rows)):
        line = [(item, n) for n in np.flatnonzero(owner == number) for item in groups.members.row(flat[n]).tolist()]
        expected += line[:count]
    assert list(zip(items.tolist(), place.tolist(), strict=True)) == expected
