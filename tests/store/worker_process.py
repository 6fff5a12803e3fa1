"""Worker processes for test_worker_processes.py.

One program that has everything imported, and forks a worker whenever it is told.

Each line on standard input starts a worker; its process id is printed. The log names a user each time one is thought
of.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence

from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.profile import Profile
from searec.interests.reasoner import ReasoningResult
from searec.store.connection import StoreSettings
from searec.store.store import Store
from searec.store.worker import Worker, WorkerSettings, work


class Sleeper:
    """A reasoner that waits, as for a language model, and always finds caps."""

    name, version = "sleeper", "1"

    def __init__(self, seconds: float, log: str) -> None:
        self._seconds = seconds
        self._log = log

    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        with open(self._log, "ab", buffering=0) as file:  # noqa: PTH123
            file.write("".join(f"{one.user}\n" for one in profiles).encode())
        time.sleep(self._seconds * len(profiles))
        up, wide = (
            Edge(source="hoodie", target="streetwear", relation="hypernym", signal="query", confidence=0.5),
            Edge(source="streetwear", target="caps", relation="hyponym", confidence=0.5),
        )
        return [ReasoningResult(one, InterestGraph(one.user, one.at, (up, wide))) for one in profiles]


def main(url: str, log: str, seconds: str, lease: str, grace: str) -> None:
    """Fork workers on request."""
    logging.disable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    print("ready", flush=True)
    for _ in sys.stdin:
        child = os.fork()
        if child:
            print(child, flush=True)
            continue
        store = Store(url, StoreSettings(max_attempts=1000))
        settings = WorkerSettings(batch=3, lease=float(lease), idle=0.02, grace=float(grace))
        sleeper = Sleeper(float(seconds), log)
        work(
            [Worker(store, sleeper, lambda users: [Profile(user, time.time_ns() // 1000) for user in users], settings)]
        )
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
