"""Parts side by side: all are done, one thread each, and a failure is heard."""

import threading
from collections.abc import Iterator

import pytest
import torch

from searec.threads import side_by_side

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


def test_parts_run_at_the_same_time_with_a_thread_each_and_no_gradients(two_threads: int) -> None:
    meet = threading.Barrier(two_threads, timeout=30)

    def work(part: int) -> tuple[int, int, bool]:
        meet.wait()  # passes only if two parts are under way
        return part, torch.get_num_threads(), torch.is_grad_enabled()

    done = sorted(side_by_side(work, range(4), CPU))
    assert done == [(part, 1, False) for part in range(4)]
    assert torch.get_num_threads() == two_threads
    new: list[int] = []
    thread = threading.Thread(target=lambda: new.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert new == [two_threads]


def test_one_thread_needs_no_other() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        names = set(side_by_side(lambda _: threading.current_thread().name, range(3), CPU))
    finally:
        torch.set_num_threads(before)
    assert names == {threading.current_thread().name}


@pytest.mark.usefixtures("two_threads")
def test_a_failure_is_raised_and_nothing_new_is_begun() -> None:
    begun: list[int] = []

    def work(part: int) -> int:
        begun.append(part)
        if part == 0:
            raise ValueError("part 0")
        threading.Event().wait(0.05)
        return part

    with pytest.raises(ValueError, match="part 0"):
        list(side_by_side(work, range(100), CPU))
    assert len(begun) < 100
    assert torch.get_num_threads() == 2
