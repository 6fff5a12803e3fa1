"""The demo: the packaged world from check to a running service, with a worker beside it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from searec.service.client import Client

STATE = "service.json"
RECOMMEND = ("itemknn", "ease", "event-transformer", "sasrec", "serendipity", "gensar", "gserec", "lcr-ser")
SEARCH = ("bm25", "dense", "event-transformer", "gensar", "unisar")
_PATIENCE_SECONDS = 180.0
_LOAD = 100
"""Requests of each kind that are timed."""


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the runs, the report and the service's files.")
    ] = Path("runs/demo"),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the service; 0 for any that is free.")] = 0,
    serve: Annotated[bool, typer.Option(help="Start the service; it goes on running when the command ends.")] = True,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop the service that an earlier demo left running, and do nothing else.")
    ] = False,
) -> None:
    """The bundled world: check, train every model, measure both tasks, write the report, and serve it all."""
    from searec.cli.data import check
    from searec.cli.study import recipe
    from searec.data.synthetic.simulate import sample_folder

    stopped = _stop(out)
    if stop:
        print("stopped" if stopped else "no service is running")
        return
    check(str(sample_folder()))
    print()
    recipe("demo", str(sample_folder()), out, jobs=max(1, min(2, os.cpu_count() or 1)))
    deployment = _deploy(sample_folder(), out)
    if serve:
        print()
        address = _start(sample_folder(), deployment, out, port)
        _smoke(address, sample_folder())
        print(f"\nservice: {address} (open it in a browser)\nstop it: searec demo --stop --out {out}")


def _deploy(data: Path, out: Path) -> Path:
    """Write the deployment of the best runs and print its figures beside those of the runs."""
    from searec.cli.runs import evaluate
    from searec.cli.serve import deploy

    path = out / "deployment.json"
    print("\ndeployment:")
    feed, search = ([out / name for name in names] for names in (RECOMMEND, SEARCH))
    deploy(str(data), recommend=feed, search=search, out=path)
    print("\nfigures of the lists that it serves, in the full protocol as those of the runs above:")
    evaluate(path, str(data), protocol="full")
    return path


def _start(data: Path, deployment: Path, out: Path, port: int) -> str:
    """Service and worker as processes of their own; the address once it is ready.

    Raises:
        ServiceError: it ended, or is not ready in time.
    """
    from searec.errors import ServiceError

    store = f"sqlite:///{out / 'store.db'}"
    commands = {
        "service": ["serve", str(deployment), "--store", store, "--port", str(port)],
        "worker": ["interests", "worker", str(data), "--store", store, "--enqueue", "all"],
    }
    processes = {}
    for name, command in commands.items():
        with (out / f"{name}.log").open("wb") as output:
            processes[name] = subprocess.Popen(
                [sys.executable, "-m", "searec", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    (out / STATE).write_text(json.dumps({name: process.pid for name, process in processes.items()}), encoding="utf-8")
    log = out / "service.log"
    due = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < due and processes["service"].poll() is None:
        words = log.read_text(encoding="utf-8", errors="replace").split()
        address = next((word.rstrip("/") for word in words if word.startswith("http://")), None)
        if address is not None:
            return address
        time.sleep(0.2)
    _stop(out)
    raise ServiceError(
        "the service did not start",
        where=log,
        got=log.read_text(encoding="utf-8", errors="replace")[-500:] or "nothing",
    )


def _stop(out: Path) -> bool:
    """End what an earlier demo left running; False if nothing was."""
    path = out / STATE
    if not path.is_file():
        return False
    running = False
    for pid in json.loads(path.read_text(encoding="utf-8")).values():
        if _is_ours(pid):
            running = True
            os.kill(pid, signal.SIGTERM)
            for _ in range(300):
                if not _is_ours(pid):
                    break
                time.sleep(0.1)
    path.unlink()
    return running


def _is_ours(pid: int) -> bool:
    """Whether the process is one of searec's that still runs; its number may have gone to another since."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child of this process that has ended
    response = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return "searec" in response.stdout and "defunct" not in response.stdout


def _smoke(address: str, data: Path) -> None:
    """One request of each route, and how long some of them take."""
    import polars as pl

    from searec.service.client import Client

    searches = pl.read_parquet(data / "searches.parquet")
    user, query = searches.row(0, named=True)["user_id"], searches.row(0, named=True)["query"]
    users = pl.read_parquet(data / "users.parquet")["user_id"].to_list()
    with Client(address, timeout=60.0) as client:
        for name, ask in _requests(client, address, user, query).items():
            started = time.perf_counter()
            output = ask()
            print(f"  {name:<42} {1e3 * (time.perf_counter() - started):>7.1f} ms  {output[:100]}")
        loads: dict[str, Callable[[int], Any]] = {
            "GET /v1/recommend": lambda number: client.recommend(users[number % len(users)]),
            "GET /v1/search": lambda number: client.search(searches["query"][number], users[number % len(users)]),
        }
        for name, work in loads.items():
            times = []
            for number in range(_LOAD):
                started = time.perf_counter()
                work(number)
                times.append(1e3 * (time.perf_counter() - started))
            times.sort()
            print(
                f"  {name:<42} p50 {times[_LOAD // 2]:.1f} ms, p99 {times[_LOAD * 99 // 100]:.1f} ms "
                f"over {_LOAD} requests, one at a time"
            )


def _requests(client: "Client", address: str, user: str, query: str) -> "dict[str, Callable[[], str]]":
    """A request of each route, which says in few words what came back."""
    from datetime import UTC, datetime

    import httpx

    now = datetime.now(UTC)
    item = client.recommend(user).items[0].item_id
    new = {"item_id": "demo-new", "title": f"{query} (new)"}
    click = {"event_id": f"demo-{now.timestamp()}", "user_id": user, "type": "click", "timestamp": now, "item_id": item}

    def listed(items: Any) -> str:
        return f"{len(items)} items, first: {items[0].title} ({items[0].channel}: {items[0].reason})"

    def get(path: str) -> str:
        response = httpx.get(address + path, timeout=60.0)
        response.raise_for_status()
        return f"{len(response.content):,} bytes"

    return {
        "GET /healthz": lambda: get("/healthz"),
        "GET /readyz": lambda: "ready" if client.ready() else "not ready",
        "GET /": lambda: get("/"),
        "GET /v1/recommend": lambda: listed(client.recommend(user).items),
        "GET /v1/search": lambda: listed(client.search(query, user).items),
        "GET /v1/suggest": lambda: ", ".join(one.query for one in client.suggest(user, k=3).queries),
        "GET /v1/users": lambda: ", ".join(client.users("u1", 3).user_ids),
        f"GET /v1/users/{user}": lambda: f"{len(client.user(user).history)} events",
        f"GET /v1/users/{user}/interests": lambda: f"{len(client.interests(user).interests)} interests",
        f"POST /v1/users/{user}/interests/refresh": lambda: f"accepted: {client.refresh(user).accepted}",
        "POST /v1/users": lambda: f"{client.put_users([{'user_id': 'demo-user', 'gender': 'f'}]).changed} changed",
        "DELETE /v1/users/demo-user": lambda: f"{client.forget('demo-user').changed} events forgotten",
        f"GET /v1/items/{item}": lambda: client.item(item).title,
        "POST /v1/items": lambda: f"{client.put_items([new]).changed} changed",
        "POST /v1/items/hide": lambda: f"{client.hide(['demo-new']).changed} changed",
        "DELETE /v1/items/demo-new": lambda: f"{client.remove('demo-new').changed} changed",
        "POST /v1/events": lambda: f"{client.report([click]).new} new",
        "GET /v1/models": lambda: ", ".join(one.label for one in client.models().models),
        "GET /v1/filters": lambda: ", ".join(client.filters().columns),
        "GET /v1/deployment": lambda: f"number {client.deployment()['number']}",
        "PUT /v1/deployment": lambda: f"number {client.deploy({}).number}",
        "GET /metrics": lambda: get("/metrics"),
        "GET /openapi.json": lambda: get("/openapi.json"),
    }
