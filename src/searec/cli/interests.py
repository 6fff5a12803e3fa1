"""Commands on interests: `searec interests worker`."""

import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from searec.cli.arguments import Data, Json, Set, emit, pairs

if TYPE_CHECKING:
    from searec.data.dataset import Dataset
    from searec.nearline.profile import Profile
    from searec.nearline.store import Store

app = typer.Typer(name="interests", help="Interests ahead of need: what users may want next.", no_args_is_help=True)

StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="SEAREC_STORE",
        help="sqlite:///FILE or redis://HOST:PORT/DB; one with a password is better given in the environment.",
        show_default=False,
        show_envvar=True,
    ),
]


@app.callback()
def interests() -> None:
    """Interests ahead of need: what users may want next."""


@app.command()
def worker(
    data: Data,
    store: StoreUrl,
    reasoner: Annotated[str, typer.Option(help="Who thinks: offline, chat, debate or student.")] = "offline",
    overrides: Set = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Workers in this process, each with a reasoner of its own.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Users that a reasoner is given at once.")] = 8,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Answer Prometheus at this port; 0 for any.", show_default=False)
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to be done now.")] = False,
    enqueue: Annotated[
        list[str] | None,
        typer.Option(
            metavar="all|USER",
            help="First enqueue every user whose interests are missing or stale, or this one; may be given many times.",
            show_default=False,
        ),
    ] = None,
    figures: Json = None,
) -> None:
    """Refresh the interests of users in the queue, until stopped: what is thought by then is kept, and the rest given back.

    Settings of the reasoner are given with --set.
    """
    from searec.data.dataset import load
    from searec.nearline.metrics import Metrics
    from searec.nearline.reasoners import reasoner_named
    from searec.nearline.store import open_store
    from searec.nearline.worker import Worker, WorkerSettings, work

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    dataset, options = load(data), pairs(overrides)
    with open_store(store) as opened:
        metrics = Metrics(opened)
        name = f"{socket.gethostname()}:{os.getpid()}"
        thinkers = [reasoner_named(reasoner, dataset, options) for _ in range(concurrency)]
        workers = [
            Worker(opened, one, _profiles_of(dataset), WorkerSettings(batch=batch), name=f"{name}:{number}", metrics=metrics)
            for number, one in enumerate(thinkers)
        ]
        if metrics_port is not None:
            print(f"metrics: http://{socket.gethostname()}:{metrics.serve(metrics_port)}/metrics", file=sys.stderr, flush=True)
        try:
            _enqueue(opened, dataset, enqueue or [])
            ended = work(workers, drain=once)
            counts = opened.counts()
        finally:
            metrics.close()
    if str(figures) != "-":
        print("jobs: " + (", ".join(f"{number:,} {outcome}" for outcome, number in ended.items() if number) or "none"))
        print(
            f"store: {counts.kept:,} users, {counts.fresh:,} of them fresh; "
            f"queue: {counts.queued + counts.leased:,} to do, {counts.waiting:,} for later, {counts.poisoned:,} on the shelf"
        )
    emit({"jobs": ended, "store": vars(counts)}, figures)


def _enqueue(store: "Store", data: "Dataset", names: Sequence[str]) -> None:
    """Enqueue users by id, or all.

    Raises:
        UnknownIdError: a user who is not in the dataset.
    """
    data.users.inside([name for name in names if name != "all"])
    if "all" in names:
        store.enqueue(data.users.texts.to_list(), "missing")
    store.enqueue([name for name in names if name != "all"], "asked")


def _profiles_of(data: "Dataset") -> "Callable[[Sequence[str]], list[Profile]]":
    """Profiles as of the end of the dataset; users who are not in it are known by nothing."""
    import numpy as np

    from searec.data.split import NEVER
    from searec.nearline.profile import Profile, profiles
    from searec.nearline.store import this_clock

    def profiles_of(users: Sequence[str]) -> "list[Profile]":
        known = [user for user in users if user in data.users]
        inside = data.users.inside(known)
        found = dict(zip(known, profiles(data, inside, np.full(len(inside), NEVER)), strict=True))
        return [found.get(user) or Profile(user, this_clock()) for user in users]

    return profiles_of
