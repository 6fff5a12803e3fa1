"""Progress of long work: a bar on a terminal, plain lines elsewhere, always on standard error."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

PLAIN_EVERY_SECONDS = 10.0
_bar = threading.RLock()
"""Held by the thread whose bars the terminal shows."""
_plain = threading.Event()


def use_plain_lines() -> None:
    """Show progress as plain lines in this process, on a terminal too; for one of several that share it."""
    _plain.set()


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show the progress of long work; the yielded `advance(steps, note)` moves it on.

    On a terminal a rich bar with the time left, or nothing while another thread's bar is shown; elsewhere a line at
    most every ten seconds, and nothing for work that ends sooner.

    Args:
        title: what is done.
        total: steps in all.
    """
    if sys.stderr.isatty() and not _plain.is_set():
        if not _bar.acquire(blocking=False):
            yield lambda steps, note: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        try:
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(title, total=total, note="")

                def move(steps: int, note: str) -> None:
                    bar.update(task, advance=steps, note=note)

                yield move
        finally:
            _bar.release()
        return

    done, last = 0, time.monotonic()

    def advance(steps: int, note: str) -> None:
        nonlocal done, last
        done += steps
        if time.monotonic() - last >= PLAIN_EVERY_SECONDS:
            last = time.monotonic()
            print(f"{title}: {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)

    yield advance
