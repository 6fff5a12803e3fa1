"""Ctrl-C and SIGTERM as a request that the loop obeys between two steps."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Whether a stop was requested."""

    def __init__(self) -> None:
        self.is_requested = False


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM in the block into a request; a second SIGINT raises KeyboardInterrupt.

    Handlers can be set in the main thread only; elsewhere signals keep their handlers.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def request_stop(number: int, frame: FrameType | None) -> None:
        # A launcher passes Ctrl-C on as SIGTERM, perhaps twice, so only a second SIGINT means impatience.
        if number == signal.SIGINT and request.is_requested:
            raise KeyboardInterrupt
        request.is_requested = True

    before = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
