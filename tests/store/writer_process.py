"""A process for test_event_processes.py that appends events until it is told to stop or is killed.

And says what is acknowledged.

python writer_process.py URL NAME COUNT TOGETHER: events NAME-0, NAME-1, ..., TOGETHER a call; after each call their
number is printed.
"""

import sys

from searec.store.events import Event
from searec.store.store import Store


def main(url: str, name: str, count: str, together: str) -> None:
    """Append."""
    with Store(url) as store:
        print("ready", flush=True)
        for start in range(0, int(count), int(together)):
            store.events.append(
                [
                    Event(event_id=f"{name}-{n}", user=f"user{n % 3}", kind="click", time=n, item="i")
                    for n in range(start, start + int(together))
                ]
            )
            print(start + int(together), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
