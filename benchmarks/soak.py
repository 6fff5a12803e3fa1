"""A service under steady load for minutes.

Errors, times, memory, and whether every event that was acknowledged is there.

python benchmarks/soak.py --minutes 10 --data SHOP --recommend RUN ... --search RUN ... [--rate 20]

One process; events and interests on SQLite; `searec interests worker` beside it. The runs are swapped at 1/3 and 2/3
of the time.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from searec.data.dataset import load
from searec.errors import SearecError
from searec.experiments import run_training
from searec.pipeline.deployment import Deployment, write_deployment
from searec.service.client import AsyncClient, Client
from searec.store.store import Store
from timing import line

MIX = {"recommend": 0.45, "search": 0.2, "suggest": 0.1, "events": 0.15, "items": 0.07, "refresh": 0.03}
"""Share of each route in the load."""
IN_FLIGHT = 64
"""Requests under way at most; while there are so many, those that would be due are left out and counted."""
LAST = 10
"""Samples of memory at the end."""


async def _ask(client: AsyncClient, route: str, data: Any, chance: np.random.Generator, told: list[str]) -> str | None:
    """One request; the id of an event that was acknowledged."""
    user, item, query = (str(chance.choice(some)) for some in data)
    if route == "recommend":
        await client.recommend(user)
    elif route == "search":
        await client.search(query, user)
    elif route == "suggest":
        await client.suggest(user, query[:2])
    elif route == "items":
        await client.item(item)
    elif route == "refresh":
        await client.refresh(user)
    else:
        event = {
            "event_id": f"soak-{len(told)}-{chance.integers(1 << 60)}",
            "user_id": user,
            "type": "click",
            "item_id": item,
        }
        told.append(event["event_id"])
        await client.report([{**event, "timestamp": datetime.now(UTC).isoformat()}])
        return event["event_id"]
    return None


async def _load(url: str, folder: Path, seconds: float, rate: float, seed: int) -> dict[str, Any]:
    """Requests at even distances, whether or not those before are answered; times are from when each was due."""
    dataset, chance = load(folder), np.random.default_rng(seed)
    data = [np.array(texts.to_list()) for texts in (dataset.users.texts, dataset.items.texts, dataset.queries.texts)]
    times: dict[str, list[float]] = {route: [] for route in MIX}
    errors: Counter[str] = Counter()
    left_out, told, acknowledged = 0, list[str](), list[str]()
    under_way: set[asyncio.Task[None]] = set()

    async with AsyncClient(url, timeout=60.0, tries=1) as client:

        async def one(route: str, due: float) -> None:
            try:
                event = await _ask(client, route, data, chance, told)
            except SearecError as error:
                errors[f"{route}: {error}"[:200]] += 1
                return
            times[route].append(time.perf_counter() - due)
            if event is not None:
                acknowledged.append(event)

        started = time.perf_counter()
        routes = chance.choice(list(MIX), p=list(MIX.values()), size=int(seconds * rate))
        for number, route in enumerate(routes):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if len(under_way) >= IN_FLIGHT:
                left_out += 1
                continue
            task = asyncio.create_task(one(str(route), due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
    return {"times": times, "errors": errors, "held_back": left_out, "acknowledged": acknowledged}


@contextlib.contextmanager
def _searec(*words: str, log: Path, listens: bool = False) -> Iterator[tuple[int, str]]:
    """`searec` as a process: its id and what it said first."""
    with log.open("wb") as file:
        command = [sys.executable, "-m", "searec", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
    try:
        assert process.stdout is not None
        first = process.stdout.readline() if listens else ""
        if listens and "listening" not in first:
            raise SystemExit(log.read_text()[-2000:])
        yield process.pid, first.split()[-1] if first else ""
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    if process.returncode:
        raise SystemExit(f"{words[0]} ended with {process.returncode}: {log.read_text()[-2000:]}")


def _rss(process: int) -> float:
    """Resident memory in MiB."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def _threads(process: int) -> int:
    return len(list(Path(f"/proc/{process}/task").iterdir()))


def _found(url: str, wanted: Sequence[str]) -> int:
    """How many of these events are kept."""
    missing, number = set(wanted), 0
    with Store(url) as store:
        while events := store.events.all_events(after=number):
            missing.difference_update(event.event_id for event in events)
            number = events[-1].number
    return len(wanted) - len(missing)


def run(
    data: Path,
    recommend: Sequence[Path],
    search: Sequence[Path],
    room: Path,
    *,
    minutes: float = 10.0,
    rate: float = 20.0,
) -> None:
    """Print one line."""
    seconds = 60 * minutes
    store = f"sqlite:///{room / 'soak-store.db'}"
    deployment = room / "deployment.json"
    served = Deployment(data=str(data), recommend=tuple(map(str, recommend)), search=tuple(map(str, search)))
    write_deployment(served, deployment)
    words = ["serve", str(deployment), "--port", "0", "--store", store, "--set", "rate=0"]
    with (
        _searec(*words, log=room / "service.txt", listens=True) as (service, url),
        _searec("interests", "worker", str(data), "--store", store, log=room / "worker.txt"),
        Client(url, timeout=120.0) as client,
    ):
        told = room / "load.json"
        command = [
            sys.executable,
            __file__,
            "--load",
            url,
            "--data",
            str(data),
            "--minutes",
            str(minutes),
            "--rate",
            str(rate),
        ]
        loading = subprocess.Popen([*command, "--told", str(told)])
        started, memory, threads = time.monotonic(), list[float](), list[int]()
        swaps, took = [1 / 3, 2 / 3], list[float]()
        # the same runs in another order, and back: what is served weighs the same before and after
        orders = [[str(one) for one in reversed(recommend)], [str(one) for one in recommend]]
        while loading.poll() is None:
            memory.append(_rss(service))
            threads.append(_threads(service))
            if swaps and time.monotonic() - started >= swaps[0] * seconds:
                swaps.pop(0)
                before = time.monotonic()
                client.deploy({"recommend": orders.pop(0)})
                took.append(round(time.monotonic() - before, 1))
            time.sleep(max(0.0, started + len(memory) - time.monotonic()))
        if loading.returncode:
            raise SystemExit("the process that asks has failed")
        answer = json.loads(told.read_text())
        left = client.deployment()["problem"]
    warm = min(60, int(0.1 * seconds))
    start, end = statistics.median(memory[warm : warm + LAST]), statistics.median(memory[-LAST:])
    times = {route: [1000 * one for one in some] for route, some in answer["times"].items() if some}
    line(
        f"soak: a service for {minutes:g} minutes at {rate:g} requests a second, two hot swaps",
        str(data),
        {
            "requests": sum(map(len, times.values())) + sum(answer["errors"].values()),
            "errors": sum(answer["errors"].values()),
            "held_back": answer["held_back"],
            **{f"p50_ms_{route}": round(float(np.percentile(some, 50)), 1) for route, some in times.items()},
            **{f"p99_ms_{route}": round(float(np.percentile(some, 99)), 1) for route, some in times.items()},
            "swap_s": took,
            "rss_warm_mib": round(start, 1),
            "rss_end_mib": round(end, 1),
            "rss_most_mib": round(max(memory), 1),
            "growth_percent": round(100 * (end / start - 1), 1),
            "threads_warm": threads[warm],
            "threads_end": threads[-1],
            "events_acknowledged": len(answer["acknowledged"]),
            "events_found": _found(store, answer["acknowledged"]),
            "problems": [*answer["errors"], *([left] if left else [])][:5],
            "rss_mib": [round(one) for one in memory[:: max(1, len(memory) // 30)]],
        },
    )


def trained(data: Path, room: Path, *, minutes: float = 10.0) -> None:
    """Train what trains at once, and soak it."""
    dataset = load(data)
    runs = {name: room / name for name in ("popular", "itemknn", "bm25")}
    for name, folder in runs.items():
        run_training.train(name, dataset, folder)
    run(data, [runs["itemknn"], runs["popular"]], [runs["bm25"]], room, minutes=minutes)


def main() -> None:
    """As the module says; with --load, the process that asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recommend", type=Path, nargs="+", default=[])
    parser.add_argument("--search", type=Path, nargs="+", default=[])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--told", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        told = asyncio.run(_load(options.load, options.data, 60 * options.minutes, options.rate, seed=0))
        options.told.write_text(json.dumps(told))
        return
    with tempfile.TemporaryDirectory() as room:
        run(options.data, options.recommend, options.search, Path(room), minutes=options.minutes, rate=options.rate)


if __name__ == "__main__":
    main()
