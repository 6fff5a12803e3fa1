"""Identifiers: what is refused, tokens, one small file, and how colliding items get identifiers of their own."""

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

from searec.errors import DataError, RunError
from searec.semantic_ids.identifiers import (
    Identifiers,
    add_extra_code,
    colliding,
    free_codes,
    groups,
    moved_apart,
    spread,
)
from searec.semantic_ids.quantiser import balanced, distances, nearest

many = settings(max_examples=60, deadline=None)
SIZES = (3, 4, 2)


def table(items: int = 12, seed: int = 0) -> NDArray[np.int32]:
    """[2, items + 1, 3] distinct codes of both tasks; the first place is the same in both."""
    every = np.array(list(itertools.product(*map(range, SIZES))), dtype=np.int32)
    rng = np.random.default_rng(seed)
    first = rng.permutation(every)[:items]
    second = first.copy()
    second[:, 1] = (second[:, 1] + 1) % 4
    return np.stack([np.concatenate((np.zeros((1, 3), dtype=np.int32), side)) for side in (first, second)])


def made(**changes: object) -> Identifiers:
    return Identifiers(**{"codes": table(), "sizes": SIZES, "shared": 1, **changes})


@pytest.mark.parametrize(("place", "code"), [(0, 3), (1, -1), (2, 2)])
def test_a_code_out_of_range_is_refused_by_name(place: int, code: int) -> None:
    codes = table()
    codes[1, 5, place] = code
    with pytest.raises(DataError, match=rf"item 5, \w+, place {place}; got: {code}; expected: 0 to {SIZES[place] - 1}"):
        made(codes=codes)


@pytest.mark.parametrize("side", [0, 1])
def test_two_items_with_one_identifier_are_refused(side: int) -> None:
    codes = table()
    codes[side, 7] = codes[side, 2]
    with pytest.raises(DataError, match="two items have one identifier"):
        made(codes=codes)
    codes = table()
    codes[side, 0] = codes[side, 7]
    assert made(codes=codes).items == 12, "padding is no item"


@pytest.mark.parametrize("shape", [(2, 13, 2), (1, 13, 3), (3, 13, 3), (13, 3)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"wrong shape.*\[2, items \+ 1, 3\]"):
        made(codes=np.zeros(shape, dtype=np.int32))


def test_a_trie_of_each_task() -> None:
    identifiers = made()
    assert (identifiers.items, identifiers.depth) == (12, 3)
    for side in (0, 1):
        trie = identifiers.trie(side)
        assert sorted(trie.items.tolist()) == list(range(1, 13))
        assert np.array_equal(trie.identifiers(), identifiers.codes[side, trie.items.numpy()])


def test_more_items_are_numbered_on() -> None:
    whole = table(15)
    grown = made(codes=whole[:, :13], about={"seed": 3}).with_items(whole[:, 13:])
    assert grown.items == 15
    assert np.array_equal(grown.codes, whole)
    assert (grown.sizes, grown.shared, grown.about) == (SIZES, 1, {"seed": 3})
    with pytest.raises(DataError, match="one identifier"):
        made().with_items(table()[:, 4:5])


@pytest.mark.parametrize(
    ("shared", "one", "second", "tokens"),
    [
        (0, False, [109, 112, 116], 18),
        (1, False, [100, 109, 113], 15),
        (3, False, [100, 103, 107], 9),
        (1, True, [100, 103, 107], 9),
    ],
    ids=["nothing shared", "the first shared", "all shared", "one for both"],
)
def test_tokens_of_codebooks(shared: int, one: bool, second: list[int], tokens: int) -> None:
    """Codebooks of 3, 4 and 2 stand side by side from token 100 on; those of the second task alone come after."""
    identifiers = made(shared=shared, one=one)
    assert identifiers.blocks(100).tolist() == [[100, 103, 107], second]
    assert identifiers.tokens == tokens
    used = {
        first + code
        for row in identifiers.blocks(100)
        for first, size in zip(row.tolist(), SIZES, strict=True)
        for code in range(size)
    }
    assert used == set(range(100, 100 + tokens)), "every token is a code, and every code a token"


def one_for_both() -> Identifiers:
    return made(codes=np.stack((table()[0],) * 2), one=True)


@pytest.mark.parametrize(
    "identifiers", [made(about={"collisions": 0.25, "name": "läuft"}), one_for_both()], ids=["two", "one for both"]
)
def test_saved_and_read_back(tmp_path: Path, identifiers: Identifiers) -> None:
    path = tmp_path / "identifiers.safetensors"
    identifiers.save(path)
    again = Identifiers.load(path)
    assert np.array_equal(again.codes, identifiers.codes)
    assert (again.sizes, again.shared, again.one, again.about) == (
        identifiers.sizes,
        identifiers.shared,
        identifiers.one,
        identifiers.about,
    )


@pytest.mark.parametrize(("size", "one", "each"), [(256, False, 2), (256, True, 1), (257, False, 4)])
def test_a_file_takes_a_byte_or_two_a_code(tmp_path: Path, size: int, one: bool, each: int) -> None:
    rows = np.stack(np.unravel_index(np.arange(5000), (size, size)), axis=1)
    rows[0, 0] = size - 1  # the largest code must fit
    codes = np.concatenate((np.zeros((1, 2), dtype=np.int64), rows))
    path = tmp_path / "identifiers"
    Identifiers(np.stack((codes, codes)), (size, size), 2, one).save(path)
    assert each * codes.size <= path.stat().st_size < each * codes.size + 400
    assert np.array_equal(Identifiers.load(path).codes[1], codes)


def other_tensor(path: Path) -> None:
    save_file({"rows": np.zeros(3)}, path, metadata={"searec": "{}"})


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_metadata(path: Path) -> None:
    save_file({"codes": np.zeros((2, 3, 3), dtype=np.uint8)}, path)


def with_duplicates(path: Path) -> None:
    with safe_open(path, framework="np") as file:
        codes, about = file.get_tensor("codes"), file.metadata()
    codes[1, 2] = codes[1, 1]
    save_file({"codes": codes}, path, metadata=about)


def with_other_sizes(path: Path) -> None:
    with safe_open(path, framework="np") as file:
        codes, about = file.get_tensor("codes"), json.loads(file.metadata()["searec"])
    save_file({"codes": codes}, path, metadata={"searec": json.dumps({**about, "sizes": 3})})


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        half,
        lambda path: path.write_bytes(b"nothing"),
        other_tensor,
        no_metadata,
        with_duplicates,
        with_other_sizes,
    ],
    ids=["gone", "half", "nothing", "another tensor", "no metadata", "duplicates", "other sizes"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "identifiers"
    made().save(path)
    damage(path)
    with pytest.raises(RunError, match=r"cannot read the identifiers; where: .*identifiers"):
        Identifiers.load(path)


rows_of_codes = st.integers(1, 4).flatmap(
    lambda depth: st.lists(st.lists(st.integers(0, 2), min_size=depth, max_size=depth), min_size=1, max_size=12)
)


@many
@given(rows_of_codes)
def test_colliding_and_groups_equal_a_count(rows: list[list[int]]) -> None:
    codes = np.array(rows)
    times = Counter(map(tuple, rows))
    assert colliding(codes).tolist() == [times[tuple(row)] > 1 for row in rows]
    count, group = groups(codes)
    assert count == len(times)
    assert set(group.tolist()) == set(range(count))
    assert len({(number, tuple(row)) for number, row in zip(group.tolist(), rows, strict=True)}) == count


def test_nothing_collides_in_nothing() -> None:
    assert colliding(np.zeros((0, 3), dtype=np.int32)).shape == (0,)
    assert groups(np.zeros((0, 3), dtype=np.int32))[0] == 0


@many
@given(rows_of_codes)
def test_told_apart_are_distinct(rows: list[list[int]]) -> None:
    codes = np.array(rows)
    apart, size = add_extra_code(codes)
    times = Counter(map(tuple, rows))
    assert not colliding(apart).any()
    assert np.array_equal(apart[:, : codes.shape[1]], codes)
    assert size == (0 if max(times.values()) == 1 else max(times.values()))
    if size:
        extra: dict[tuple[int, ...], set[int]] = {}
        for row, last in zip(rows, apart[:, -1].tolist(), strict=True):
            extra.setdefault(tuple(row), set()).add(last)
        assert all(found == set(range(times[row])) for row, found in extra.items()), "numbered from 0 in each group"
    else:
        assert apart.shape == codes.shape


def clustered(items: int = 120, clusters: int = 40) -> tuple[NDArray[np.int64], Tensor, Tensor]:
    """Codes [N, 2] with many collisions, what the last one stands for [N, 4], and its codebook [64, 4]."""
    generator = torch.Generator().manual_seed(0)
    book = torch.randn(64, 4, generator=generator)
    near = torch.randint(clusters, (items,), generator=generator)
    left = book[near] + 0.05 * torch.randn(items, 4, generator=generator)
    return np.stack((near.numpy() // 2, nearest(left, book).numpy()), axis=1), left, book


def test_spread_changes_the_last_codes_of_colliding_items_alone() -> None:
    codes, left, book = clustered()
    codes = np.concatenate((codes, [[50, 3], [51, 3]]))  # two that collide with nobody
    left = torch.cat((left, left[:2]))
    alone = ~colliding(codes)
    before = codes.copy()
    after, shares = spread(codes, left, book, epsilon=0.003, rounds=1)
    assert np.array_equal(codes, before), "what was given stays"
    assert np.array_equal(after[:, :-1], before[:, :-1])
    assert np.array_equal(after[alone], before[alone])
    assert (after != before).any()
    assert ((after >= 0) & (after < [52, 64])).all()
    assert shares == [pytest.approx(colliding(before).mean()), pytest.approx(colliding(after).mean())]


def test_spread_reduces_collisions_round_by_round() -> None:
    codes, left, book = clustered()
    after, shares = spread(codes, left, book, epsilon=0.003, rounds=20)
    assert len(shares) <= 21
    assert shares[0] == colliding(codes).mean() > 0.9
    assert shares[-1] == colliding(after).mean() < shares[1] < shares[0] / 2


def test_spread_cannot_tell_equal_vectors_apart() -> None:
    codes, left, book = (
        np.array([[0, 1], [0, 1]]),
        torch.ones(2, 4),
        torch.randn(8, 4, generator=torch.Generator().manual_seed(0)),
    )
    after, shares = spread(codes, left, book, epsilon=0.003, rounds=3)
    assert shares == [1.0] * 4
    assert not colliding(add_extra_code(after)[0]).any()


def test_spread_stops_where_nothing_collides() -> None:
    codes = np.array([[0, 1], [0, 2], [1, 1]])
    after, shares = spread(codes, torch.randn(3, 4), torch.randn(3, 4), epsilon=0.003, rounds=5)
    assert np.array_equal(after, codes)
    assert shares == [0.0]
    codes, left, book = clustered()
    assert len(spread(codes, left, book, epsilon=0.003, rounds=0)[1]) == 1
    assert np.array_equal(spread(codes, left, book, epsilon=0.003, rounds=0)[0], codes)


def test_spread_is_a_balanced_assignment_of_each_group() -> None:
    """Groups of two and three, with their rows apart: the same as one group at a time."""
    torch.manual_seed(0)
    codes = np.array([[0, 0], [1, 0], [0, 0], [2, 2], [1, 0], [3, 1], [2, 2], [1, 0], [9, 9]])
    left, book = torch.randn(9, 4), torch.randn(5, 4)
    after, _ = spread(codes, left, book, epsilon=0.05, rounds=1)
    for rows in ([0, 2], [1, 4, 7], [3, 6]):
        assert after[rows, -1].tolist() == balanced(distances(left[rows], book), 0.05).tolist()


@pytest.mark.parametrize("epsilon", [0.003, 0.1])
def test_problems_side_by_side_are_balanced_each_by_itself(epsilon: float) -> None:
    """Some lie a thousand times as far apart as others."""
    distance = (
        torch.rand(2, 3, 6, 4, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 30.0, 1000.0])[:, None, None]
    )
    together = balanced(distance, epsilon)
    assert together.shape == (2, 3, 6)
    for one, other in itertools.product(range(2), range(3)):
        assert torch.equal(together[one, other], balanced(distance[one, other], epsilon))


@many
@given(st.integers(0, 10**6), st.integers(1, 8), st.booleans())
def test_free_codes_equal_a_slow_search(seed: int, count: int, extra: bool) -> None:
    """The nearest last code that is free, item by item, each of which takes its own.

    With the first extra code before the next one.
    """
    rng = np.random.default_rng(seed)
    sizes = (2, 2, 6, 3) if extra else (2, 2, 6)
    every = np.array(list(itertools.product(*map(range, sizes))))
    known = rng.permutation(every)[: len(every) // 2]
    book, left = torch.from_numpy(rng.normal(size=(6, 3))), torch.from_numpy(rng.normal(size=(count, 3)))
    codes = np.column_stack((rng.integers(0, 2, size=(count, 2)), nearest(left, book)))
    taken = {tuple(row) for row in known.tolist()}
    expected = []
    for row in range(count):
        near = sorted(range(6), key=lambda code, row=row: float((left[row] - book[code]).square().sum()))
        tails = [(code,) for code in near] if not extra else [(code, more) for more in range(3) for code in near]
        own = next((key for tail in tails if (key := (*codes[row, :2].tolist(), *tail)) not in taken), None)
        if own is None:
            with pytest.raises(DataError, match=rf"new item {row};"):
                free_codes(codes, left, book, known, sizes)
            return
        taken.add(own)
        expected.append(own)
    found = free_codes(codes, left, book, known, sizes)
    assert found.tolist() == [list(own) for own in expected]
    assert not colliding(np.concatenate((known, found))).any()


@many
@given(st.integers(0, 10**6), st.integers(1, 14))
def test_moved_apart_equals_a_slow_search(seed: int, count: int) -> None:
    """The first of each group stays, the others go to the nearest last code that nobody has, in turn.

    Where there is none, they stay.
    """
    rng = np.random.default_rng(seed)
    book, left = torch.from_numpy(rng.normal(size=(4, 3))), torch.from_numpy(rng.normal(size=(count, 3)))
    codes = rng.integers(0, [2, 1, 4], size=(count, 3))
    rows = [tuple(row) for row in codes.tolist()]
    taken, expected = set(rows), []
    for place, row in enumerate(rows):
        own = row
        if row in rows[:place]:
            near = sorted(range(4), key=lambda code, place=place: float((left[place] - book[code]).square().sum()))
            own = next((key for code in near if (key := (*row[:2], code)) not in taken), row)
            taken.add(own)
        expected.append(list(own))
    before = codes.copy()
    assert moved_apart(codes, left, book, 4).tolist() == expected
    assert np.array_equal(codes, before), "what was given stays"


def test_an_item_keeps_its_own_codes_where_they_are_free() -> None:
    book = torch.tensor([[0.0], [1.0], [2.0]])
    known = np.array([[0, 0], [1, 1]], dtype=np.int16)
    found = free_codes(np.array([[0, 1], [1, 1], [1, 1]]), torch.tensor([[1.1], [1.1], [0.9]]), book, known, (2, 3))
    assert found.tolist() == [[0, 1], [1, 2], [1, 0]]
    assert found.dtype == np.int16
    assert free_codes(np.zeros((0, 2), dtype=np.int64), torch.zeros(0, 1), book, known, (2, 3)).shape == (0, 2)


def test_no_free_code_is_refused() -> None:
    known = np.array([[0, 0], [0, 1], [1, 0]])
    book, left = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.2], [0.2]])
    with pytest.raises(DataError, match=r"no identifier is free.*new item 1.*\[0, 0\]"):
        free_codes(np.array([[1, 0], [0, 0]]), left, book, known, (2, 2))
    assert free_codes(np.array([[0, 0]]), left[:1], book, np.array([[0, 0, 0], [0, 1, 0]]), (2, 2, 2)).tolist() == [
        [0, 0, 1]
    ]
