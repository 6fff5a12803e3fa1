"""Beam search in a trie against brute force and against a slow search in plain Python.

With a toy that knows what was written.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from searec.semantic_ids.beam import score, search
from searec.semantic_ids.trie import Trie

many = settings(max_examples=60, deadline=None)
Prefix = tuple[int, ...]
Found = dict[int, float]
"""Item -> log-probability of its identifier."""


@functools.cache
def logits(query: int, prefix: Prefix, size: int) -> tuple[float, ...]:
    """Scores that follow from query and prefix alone."""
    return tuple((2 * np.random.default_rng([query, *(code + 1 for code in prefix)]).normal(size=size)).tolist())


@dataclass
class Toy:
    """Keeps the prefix of every beam, so that one that goes on from another beam, or from another query's.

    Writes something else.
    """

    queries: Sequence[int]
    sizes: Sequence[int]
    prefixes: list[list[Prefix]] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)

    def step(self, codes: Tensor | None, parent: Tensor | None) -> Tensor:
        if codes is None or parent is None:
            assert codes is parent is None
            self.prefixes = [[()] for _ in self.queries]
        else:
            self.prefixes = [
                [(*row[before], code) for before, code in zip(befores, written, strict=True)]
                for row, befores, written in zip(self.prefixes, parent.tolist(), codes.tolist(), strict=True)
            ]
        self.widths.append(len(self.prefixes[0]))
        return torch.tensor(
            [
                [logits(query, prefix, self.sizes[len(prefix)]) for prefix in row]
                for query, row in zip(self.queries, self.prefixes, strict=True)
            ]
        )

    def again(self, *rows: int) -> "Toy":
        """A new toy of some of the queries, all by default."""
        return Toy([self.queries[row] for row in rows] if rows else self.queries, self.sizes)


@dataclass(frozen=True)
class World:
    """identifiers: of each item. queries: of a batch."""

    identifiers: dict[int, Prefix]
    sizes: tuple[int, ...]
    queries: tuple[int, ...]

    @property
    def trie(self) -> Trie:
        return Trie.build(np.array(list(self.identifiers.values())), np.array(list(self.identifiers)))

    @property
    def toy(self) -> Toy:
        return Toy(self.queries, self.sizes)

    def chance(self, query: int, prefix: Prefix, code: int) -> float:
        """Log-probability of a code among those that some item goes on with."""
        found = logits(query, prefix, self.sizes[len(prefix)])
        siblings = {codes[len(prefix)] for codes in self.identifiers.values() if codes[: len(prefix)] == prefix}
        return found[code] - float(np.logaddexp.reduce([found[other] for other in siblings]))

    def all(self, query: int) -> Found:
        """Brute force."""
        return {
            item: sum(self.chance(query, codes[:level], code) for level, code in enumerate(codes))
            for item, codes in self.identifiers.items()
        }

    def slow(self, query: int, beams: int, exclude: Sequence[int] = ()) -> Found:
        """Beam search over prefixes that are still somebody's."""
        kept: dict[Prefix, float] = {(): 0.0}
        for level, size in enumerate(self.sizes):
            last = level == len(self.sizes) - 1
            allowed = {codes[: level + 1] for item, codes in self.identifiers.items() if not (last and item in exclude)}
            longer = {
                (*prefix, code): value + self.chance(query, prefix, code)
                for prefix, value in kept.items()
                for code in range(size)
                if (*prefix, code) in allowed
            }
            kept = dict(sorted(longer.items(), key=lambda pair: -pair[1])[:beams])
        items = {codes: item for item, codes in self.identifiers.items()}
        return {items[codes]: value for codes, value in kept.items()}


@st.composite
def worlds(draw: st.DrawFn, least: int = 1) -> World:
    sizes = draw(st.lists(st.integers(2, 6), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    count = draw(st.integers(least, 30))
    drawn = rng.integers(0, sizes, size=(count, len(sizes)))
    if draw(st.booleans()):  # many that share their first codes
        drawn[:, : len(sizes) // 2] = drawn[0, : len(sizes) // 2]
    codes = rng.permutation(np.unique(drawn, axis=0))
    assume(len(codes) >= least)
    items = rng.choice(np.arange(1, 99), size=len(codes), replace=False).tolist()
    queries = rng.integers(0, 5, size=draw(st.integers(1, 3))).tolist()
    return World(dict(zip(items, map(tuple, codes.tolist()), strict=True)), tuple(sizes), tuple(queries))


def told(items: Tensor, scores: Tensor) -> list[Found]:
    """What was found for each query, after a look at its order and at the padding behind it."""
    assert items.shape == scores.shape
    rows = []
    for row, values in zip(items.tolist(), scores.tolist(), strict=True):
        assert values == sorted(values, reverse=True)
        assert all((item == 0) == (value == -np.inf) for item, value in zip(row, values, strict=True))
        found = {item: value for item, value in zip(row, values, strict=True) if item}
        assert len(found) == sum(item > 0 for item in row), "no item twice"
        rows.append(found)
    return rows


def same(found: Found, expected: Found) -> bool:
    return found == pytest.approx(expected, abs=1e-4)


@many
@given(worlds(), st.integers(0, 20))
def test_enough_beams_find_what_brute_force_finds(world: World, more: int) -> None:
    found = told(*search(world.toy, world.trie, len(world.identifiers) + more))
    for query, row in zip(world.queries, found, strict=True):
        assert same(row, world.all(query))


@many
@given(worlds(), st.integers(1, 6))
def test_few_beams_find_what_a_slow_search_finds(world: World, beams: int) -> None:
    items, scores = search(world.toy, world.trie, beams)
    assert items.shape[1] <= beams
    for query, row in zip(world.queries, told(items, scores), strict=True):
        assert same(row, world.slow(query, beams))


@many
@given(worlds(), st.integers(1, 30), st.data())
def test_excluded_items_never_come_out(world: World, beams: int, data: st.DataObject) -> None:
    """Each query has items of its own to leave out, some unknown, some twice."""
    strange = st.sampled_from([*world.identifiers, 0, 0, 99, 1000])
    width = data.draw(st.integers(1, 8))
    rows = [data.draw(st.lists(strange, min_size=width, max_size=width)) for _ in world.queries]
    found = told(*search(world.toy, world.trie, beams, torch.tensor(rows)))
    for query, row, out in zip(world.queries, found, rows, strict=True):
        assert not row.keys() & set(out)
        assert same(row, world.slow(query, beams, out))


def test_nothing_to_exclude_excludes_nothing() -> None:
    world = World({4: (0, 1), 7: (1, 1)}, (2, 2), (0, 1))
    found = told(*search(world.toy, world.trie, 5, torch.zeros(2, 0, dtype=torch.int32)))
    assert [set(row) for row in found] == [{4, 7}, {4, 7}]


def test_everything_excluded_is_nothing_found() -> None:
    world = World({4: (0, 1), 7: (1, 1)}, (2, 2), (0, 1))
    items, scores = search(world.toy, world.trie, 5, torch.tensor([[4, 7], [7, 0]]))
    assert told(items, scores)[0] == {}
    assert set(told(items, scores)[1]) == {4}


@many
@given(worlds(least=2), st.integers(1, 30), st.data())
def test_removed_items_never_come_out_and_others_take_their_beams(
    world: World, beams: int, data: st.DataObject
) -> None:
    gone = data.draw(
        st.sets(st.sampled_from(sorted(world.identifiers)), min_size=1, max_size=len(world.identifiers) - 1)
    )
    left = World(
        {item: codes for item, codes in world.identifiers.items() if item not in gone}, world.sizes, world.queries
    )
    found = told(*search(world.toy, world.trie.without(sorted(gone)), beams))
    for query, row in zip(world.queries, found, strict=True):
        assert not row.keys() & gone
        assert same(row, left.slow(query, beams))


@many
@given(worlds(least=2), st.data())
def test_new_items_come_out(world: World, data: st.DataObject) -> None:
    new = data.draw(
        st.sets(st.sampled_from(sorted(world.identifiers)), min_size=1, max_size=len(world.identifiers) - 1)
    )
    codes = np.array([world.identifiers[item] for item in sorted(new)])
    trie = world.trie.without(sorted(new)).with_items(codes, np.array(sorted(new)) + 100)
    found = told(*search(world.toy, trie, len(world.identifiers)))
    for query, row in zip(world.queries, found, strict=True):
        expected = {item + 100 if item in new else item: value for item, value in world.all(query).items()}
        assert same(row, expected)


@many
@given(worlds(), st.integers(1, 8))
def test_a_batch_is_its_queries_one_by_one(world: World, beams: int) -> None:
    together = told(*search(world.toy, world.trie, beams))
    for row, found in enumerate(together):
        alone = told(*search(world.toy.again(row), world.trie, beams))
        assert same(found, alone[0])


class Certain:
    """The first query is all but sure of code 0 everywhere, the second one of nothing."""

    def step(self, codes: Tensor | None, parent: Tensor | None) -> Tensor:
        width = 1 if codes is None else codes.shape[1]
        return torch.tensor([[0.0, -1e4], [0.5, 0.5]])[:, None].expand(-1, width, -1)


def test_what_is_all_but_impossible_comes_last_and_breaks_nothing() -> None:
    world = World({4: (0, 1), 5: (0, 0), 7: (1, 1)}, (2, 2), (0, 1))
    first, second = told(*search(Certain(), world.trie, 5))
    assert first == pytest.approx({5: 0.0, 4: -1e4, 7: -1e4})
    assert second == pytest.approx({4: np.log(0.25), 5: np.log(0.25), 7: np.log(0.5)})


def test_fewer_items_than_beams_are_padded() -> None:
    world = World({3: (0, 0), 5: (1, 0), 8: (1, 1)}, (2, 2), (0, 1))
    items, scores = search(world.toy, world.trie, 10, torch.tensor([[5], [0]]))
    assert items.shape == (2, 3)
    assert items[0, 2] == 0
    assert scores[0, 2] == -torch.inf
    assert set(items[0, :2].tolist()) == {3, 8} and set(items[1].tolist()) == {3, 5, 8}


def test_what_one_identifier_alone_begins_with_is_not_written_to_its_end() -> None:
    """Item 3 is certain after one code, 5 and 8 after two of three."""
    world = World({3: (0, 0, 0), 5: (1, 0, 0), 8: (1, 1, 0)}, (2, 2, 1), (0, 1))
    toy = world.toy
    items, _ = search(toy, world.trie, 10)
    assert toy.widths == [1, 1]
    assert set(items[0].tolist()) == {3, 5, 8}


@many
@given(worlds(), st.data())
def test_scores_equal_brute_force(world: World, data: st.DataObject) -> None:
    """Any items in any order, with repeats, padding, and items that have no identifier."""
    any_item = st.sampled_from([*world.identifiers, *world.identifiers, 0, -1, 99, 1000])
    width = data.draw(st.integers(1, 12))
    rows = [data.draw(st.lists(any_item, min_size=width, max_size=width)) for _ in world.queries]
    found = score(world.toy, world.trie, torch.tensor(rows))
    expected = [
        [world.all(query).get(item, -np.inf) for item in row] for query, row in zip(world.queries, rows, strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=0)


@many
@given(worlds(), st.integers(1, 8))
def test_search_and_score_agree(world: World, beams: int) -> None:
    items, scores = search(world.toy, world.trie, beams)
    torch.testing.assert_close(score(world.toy, world.trie, items), scores, atol=1e-4, rtol=0)


def test_a_shared_prefix_is_written_once() -> None:
    world = World({1: (0, 0, 0), 2: (0, 0, 1), 3: (0, 1, 0), 4: (2, 0, 0)}, (3, 2, 2), (0, 1))
    toy = world.toy
    score(toy, world.trie, torch.tensor([[4, 1, 3, 2], [2, 2, 1, 0]]))
    assert toy.widths == [1, 2, 3]
