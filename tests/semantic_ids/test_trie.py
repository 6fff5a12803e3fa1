"""Trie: identifiers come back as they went in, nodes lead to them, and items come and go."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from searec.errors import DataError
from searec.semantic_ids.trie import Trie

many = settings(max_examples=60, deadline=None)
Table = tuple[NDArray[np.int64], NDArray[np.int64]]


@st.composite
def tables(draw: st.DrawFn, least: int = 1) -> Table:
    """Distinct identifiers [N, K] in any order, and an item [N] for each."""
    sizes = draw(st.lists(st.integers(2, 6), min_size=1, max_size=5))
    rows = draw(
        st.lists(st.tuples(*(st.integers(0, size - 1) for size in sizes)), min_size=least, max_size=30, unique=True)
    )
    items = draw(st.lists(st.integers(1, 99), min_size=len(rows), max_size=len(rows), unique=True))
    return np.array(rows), np.array(items)


def known(trie: Trie) -> dict[int, tuple[int, ...]]:
    """Item -> identifier."""
    return dict(zip(trie.items.tolist(), map(tuple, trie.identifiers().tolist()), strict=True))


def of(table: Table) -> dict[int, tuple[int, ...]]:
    return dict(zip(table[1].tolist(), map(tuple, table[0].tolist()), strict=True))


@many
@given(tables())
def test_identifiers_come_back_in_order(table: Table) -> None:
    trie = Trie.build(*table)
    assert known(trie) == of(table)
    found = [tuple(row) for row in trie.identifiers().tolist()]
    assert found == sorted(found)
    assert (len(trie), trie.depth) == table[0].shape


@many
@given(tables())
def test_a_path_leads_from_the_root_to_the_leaf(table: Table) -> None:
    trie = Trie.build(*table)
    path = trie.path(torch.arange(len(trie)))
    assert path[-1].tolist() == list(range(len(trie)))
    for leaf, identifier in enumerate(trie.identifiers().tolist()):
        parent = 0
        for level, code in enumerate(identifier):
            node = int(path[level][leaf])
            assert trie.first[level][parent] <= node < trie.first[level][parent + 1]
            assert trie.codes[level][node] == code
            parent = node


@many
@given(tables())
def test_a_node_is_a_prefix(table: Table) -> None:
    """As many nodes as distinct prefixes, in their order, and every node but a leaf has children."""
    trie = Trie.build(*table)
    nodes = 1
    for level in range(trie.depth):
        assert len(trie.first[level]) == nodes + 1
        assert (trie.first[level].diff() > 0).all()
        nodes = len({tuple(row) for row in table[0][:, : level + 1].tolist()})
        assert len(trie.codes[level]) == nodes == trie.first[level][-1]


def test_a_path_keeps_the_shape_of_what_is_asked() -> None:
    trie = Trie.build(np.array([[0, 1], [0, 2], [3, 0]]), np.array([5, 6, 7]))
    top, leaves = trie.path(torch.tensor([[2, 0], [1, 1]]))
    assert top.tolist() == [[1, 0], [0, 0]]
    assert leaves.tolist() == [[2, 0], [1, 1]]


@many
@given(tables())
def test_leaves_of_items_and_of_no_items(table: Table) -> None:
    trie = Trie.build(*table)
    items = torch.from_numpy(table[1])
    assert trie.items[trie.leaves_of(items)].tolist() == items.tolist()
    strange = torch.tensor([[0, -1], [100, 10**6]])
    assert trie.leaves_of(strange).tolist() == [[-1, -1], [-1, -1]]
    absent = torch.tensor(sorted(set(range(100)) - set(table[1].tolist())), dtype=torch.int32)
    assert (trie.leaves_of(absent) == -1).all()
    assert trie.leaves_of(absent).dtype == torch.int64


@many
@given(tables(), st.data())
def test_two_items_with_one_identifier_are_refused_by_name(table: Table, data: st.DataObject) -> None:
    codes, items = table
    twice = data.draw(st.integers(0, len(codes) - 1))
    place = data.draw(st.integers(0, len(codes)))
    codes, items = np.insert(codes, place, codes[twice], axis=0), np.insert(items, place, 100)
    with pytest.raises(DataError, match="one identifier") as refused:
        Trie.build(codes, items)
    assert {word for word in str(refused.value.where).split() if word.isdigit()} == {str(table[1][twice]), "100"}
    assert refused.value.got == table[0][twice].tolist()


def test_no_identifiers_are_no_trie() -> None:
    with pytest.raises(DataError, match="no identifier"):
        Trie.build(np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.int64))
    with pytest.raises(DataError, match="no identifier"):
        Trie.build(np.array([[1, 2]]), np.array([4])).without([4])


@many
@given(tables(least=2), st.data())
def test_removed_items_are_nowhere(table: Table, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(table[1].tolist()), max_size=len(table[1]) - 1))
    trie = Trie.build(*table)
    left = trie.without([*gone, 100, 0])  # unknown ones are nothing to remove
    assert known(left) == {item: codes for item, codes in of(table).items() if item not in gone}
    assert known(trie) == of(table), "the trie itself stays"
    if gone:
        assert (left.leaves_of(torch.tensor(sorted(gone))) == -1).all()
    nodes = {tuple(row) for row in left.identifiers()[:, :1].tolist()}
    assert len(left.codes[0]) == len(nodes), "a prefix that nobody has any more is gone too"


@many
@given(tables(least=2), st.data())
def test_added_items_are_as_if_they_had_always_been_there(table: Table, data: st.DataObject) -> None:
    codes, items = table
    cut = data.draw(st.integers(1, len(items)))
    grown, whole = Trie.build(codes[:cut], items[:cut]).with_items(codes[cut:], items[cut:]), Trie.build(codes, items)
    for one, other in zip(
        (*grown.codes, *grown.first, grown.items), (*whole.codes, *whole.first, whole.items), strict=True
    ):
        assert torch.equal(one, other)


def test_a_taken_identifier_is_refused_until_its_item_goes() -> None:
    trie = Trie.build(np.array([[0, 1], [0, 2]]), np.array([5, 6]))
    taken = np.array([[0, 2]]), np.array([9])
    with pytest.raises(DataError, match="items 6 and 9"):
        trie.with_items(*taken)
    assert known(trie.without([6]).with_items(*taken)) == {5: (0, 1), 9: (0, 2)}


def test_large_codes_come_back() -> None:
    codes = np.array([[1 << 15, 3, 0], [(1 << 15) - 1, 70_000, 0], [5, 0, (1 << 15) - 1]])
    assert known(Trie.build(codes, np.array([1, 2, 3]))) == dict(
        zip((1, 2, 3), map(tuple, codes.tolist()), strict=True)
    )


def test_it_takes_seven_bytes_an_item() -> None:
    codes = np.stack(np.meshgrid(*[np.arange(8)] * 4), axis=-1).reshape(-1, 4)
    trie = Trie.build(codes, np.arange(1, len(codes) + 1))
    nodes, parents = 8 + 64 + 512 + 4096, 1 + 8 + 64 + 512
    assert trie.bytes == 2 * nodes + 4 * (parents + 4) + 4 * len(codes)
    assert trie.bytes < 7 * len(codes)


def test_all_of_it_goes_to_a_device() -> None:
    moved = Trie.build(np.array([[0, 1], [0, 2]]), np.array([5, 6])).to("meta")
    assert {array.device.type for array in (*moved.codes, *moved.first, moved.items)} == {"meta"}


def test_nodes_of_one_identifier_know_their_leaf() -> None:
    trie = Trie.build(np.array([[0, 0, 0], [0, 1, 2], [0, 1, 3], [1, 0, 0]]), np.array([1, 2, 3, 4]))
    found = [trie.only_leaf(level, torch.arange(len(codes))).tolist() for level, codes in enumerate(trie.codes, 1)]
    assert found == [[-1, 3], [0, -1, 3], [0, 1, 2, 3]]
