"""Merging by quota: against a plain rendering, and what must hold of every pool."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from searec.retrieval.quota_pool import merge, slots


def plain(first: list[int], second: list[int], k: int, quota: float) -> list[tuple[int, bool, int]]:
    """One request, place by place."""
    marked = [int((n + 1) * quota + 1e-9) > int(n * quota + 1e-9) for n in range(k)]
    head = [item for item in first if item][: k - sum(marked)]
    second_line = [(item, place) for place, item in enumerate(second) if item and item not in head]
    chosen = second_line[: sum(marked)]
    taken = {item for item, _ in chosen}
    line = [(item, False, place) for place, item in enumerate(first) if item and item not in taken]
    own = {item for item, _, _ in line}
    line += [(item, True, place) for item, place in second_line[len(chosen) :] if item not in own]
    pool = []
    for place in range(k):
        if marked[place] and chosen:
            item, at = chosen.pop(0)
            pool.append((item, True, at))
        elif line:
            pool.append(line.pop(0))
    return pool


def padded(lists: list[list[int]]) -> Tensor:
    width = max(map(len, lists), default=0)
    return torch.tensor([[*one, *[0] * (width - len(one))] for one in lists], dtype=torch.int32).reshape(
        len(lists), width
    )


lines = st.lists(st.integers(1, 12), unique=True, max_size=9)


@given(st.lists(st.tuples(lines, lines), min_size=1, max_size=4), st.integers(1, 12), st.floats(0, 1))
def test_merge_is_what_a_plain_loop_gives(rows: list[tuple[list[int], list[int]]], k: int, quota: float) -> None:
    pool = merge(padded([first for first, _ in rows]), padded([second for _, second in rows]), k, quota)
    assert pool.items.shape == (len(rows), k)
    for row, (first, second) in enumerate(rows):
        expected = plain(first, second, k, quota)
        some = pool.items[row] != 0
        assert (
            list(
                zip(
                    pool.items[row][some].tolist(),
                    pool.second[row][some].tolist(),
                    pool.place[row][some].tolist(),
                    strict=True,
                )
            )
            == expected
        )
        assert len({item for item, _, _ in expected}) == len(expected) == min(k, len({*first, *second}))


def test_known_merge() -> None:
    pool = merge(torch.tensor([[1, 2, 3, 4]]), torch.tensor([[9, 2, 8]]), 5, 0.4)
    assert pool.items.tolist() == [[1, 2, 9, 3, 8]]  # 2 stays where the first channel shows it
    assert pool.second.tolist() == [[False, False, True, False, True]]
    assert pool.place.tolist() == [[0, 1, 0, 2, 2]]
    assert merge(torch.tensor([[1, 2]]), torch.tensor([[9, 8]]), 2, 0.0).items.tolist() == [[1, 2]]
    assert merge(torch.tensor([[1, 2]]), torch.tensor([[9, 8]]), 2, 1.0).items.tolist() == [[9, 8]]


def test_each_prefix_holds_its_share() -> None:
    for quota in (0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0):
        marked = slots(30, quota)
        for n in range(31):
            assert int(marked[:n].sum()) == int(n * quota + 1e-9)
