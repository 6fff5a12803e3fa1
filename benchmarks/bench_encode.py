"""Raw folder to encoded arrays on disk, against the same in pandas; and a large simulated log, with its memory."""

import tempfile
from pathlib import Path

from reference_pandas import encode, save
from searec.data.dataset import write
from searec.data.log import load_log
from searec.data.synthetic.simulate import World, simulate
from timing import in_child, line, paired

LARGE = World(users=500_000, items=200_000, clicks=10.5, searches=20.0, days=365)
"""About ten million events."""


def ours(folder: Path) -> int:
    """Check and encode a folder; the number of its events."""
    with tempfile.TemporaryDirectory() as room:
        log = load_log(folder)
        write(log, Path(room) / "encoded")
        return int(log.interactions.height + log.searches.height)


def theirs(folder: Path) -> None:
    """The same by pandas."""
    with tempfile.TemporaryDirectory() as room:
        save(encode(folder), Path(room))


def run(data: Path) -> None:
    """Print the ratio on `data`."""
    figures = paired(lambda: ours(data), lambda: theirs(data))
    line("raw folder to encoded dataset, against pandas", data, figures)


def large(room: Path) -> None:
    """Print seconds and memory for ten million simulated events."""
    folder, made_s, made_gib = in_child(simulate, room / "large", LARGE)
    events, seconds, gib = in_child(ours, folder)
    line(
        "ten million events",
        "simulated",
        {"events": events, "encode_s": seconds, "encode_gib": gib, "simulate_s": made_s, "simulate_gib": made_gib},
    )
