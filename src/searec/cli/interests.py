"""Commands on what users may want and have never shown: make it, look at it, keep it fresh."""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searec.cli.arguments import Data, Json, Set, emit, pairs
from searec.cli.students import reasoner_of

if TYPE_CHECKING:
    from searec.data.dataset import Dataset
    from searec.service.reasoner_profiles import Profiles
    from searec.store.interest_store import Store

app = typer.Typer(
    name="interests", help="What users may want and have never shown, inferred ahead of need.", no_args_is_help=True
)

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


Events = Annotated[
    str | None,
    typer.Option(
        "--events",
        metavar="URL",
        envvar="SEAREC_EVENTS",
        help="Also read what happened since the dataset: sqlite:///FILE or postgresql://USER@HOST/DB, as the service has it.",
        show_default=False,
        show_envvar=True,
    ),
]
ReasonerName = Annotated[
    str, typer.Option("--reasoner", help="Who thinks: offline, chat, debate or student=RUN; its settings by --set.")
]
_AT_ONCE = 256
ALL, DRIFTED = "all", "drifted"
_SHOWN = 3


@app.command()
def build(
    data: Data,
    store: StoreUrl,
    reasoner: ReasonerName = "offline",
    overrides: Set = None,
    users: Annotated[
        list[str] | None,
        typer.Option(
            "--user", metavar="USER", help="This user; may be given many times. All by default.", show_default=False
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those whose interests are fresh.")] = False,
    events: Events = None,
    figures: Json = None,
) -> None:
    """Infer the interests of users now and keep them in a store, without a queue; run it again to go on where it ended."""
    from searec.data.dataset import load
    from searec.errors import ChatError
    from searec.progress import progress
    from searec.store.interest_store import open_store

    dataset = load(data)
    done, interests, problems = 0, 0, []
    with _profiles(data, dataset, events) as profiles, open_store(store) as opened:
        names = users or profiles.everybody()
        profiles.refuse_unknown(names)
        thinker = reasoner_of(reasoner, dataset, pairs(overrides))
        with progress("Interests", len(names)) as advance:
            for start in range(0, len(names), _AT_ONCE):
                some = names[start : start + _AT_ONCE]
                wanted = some if again else [name for name in some if (kept := opened.read(name)) is None or kept.stale]
                thoughts = thinker.infer(profiles(wanted))
                graphs = [thought.graph for thought in thoughts if thought.graph is not None]
                opened.write(graphs)
                done += len(graphs)
                interests += sum(len(graph.interests()) for graph in graphs)
                problems += [thought.problem or "no graph" for thought in thoughts if thought.graph is None]
                advance(len(some), "")
    fresh = len(names) - done - len(problems)
    if str(figures) != "-":
        mean = f", {interests / done:.1f} interests each" if done else ""
        print(f"{done:,} users built{mean}; {fresh:,} were fresh; {len(problems):,} failed")
    emit({"built": done, "interests": interests, "fresh": fresh, "failed": len(problems)}, figures)
    if problems:
        raise ChatError(
            f"{len(problems)} of {len(names)} users are left without a graph",
            where="; ".join(problems[:_SHOWN]),
            remedy="run the same command again: only they are asked",
        )


@app.command()
def show(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user, as the dataset names it.", show_default=False)],
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", envvar="SEAREC_STORE", help="A store of interests.", show_default=False),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="RUN", help="Instead: those that a trained run has learned from.", show_default=False
        ),
    ] = None,
    drawing: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE.svg", help="Draw the graph.", show_default=False)
    ] = None,
    figures: Json = None,
) -> None:
    """Show what a user may want and why: query, demand, interest."""
    import json
    from datetime import UTC, datetime

    from searec.errors import DataError, SettingsError, UnknownIdError
    from searec.interests.interest_table import read_graphs
    from searec.pipeline.run import ARTIFACTS
    from searec.store.interest_store import open_store, without_password

    if drawing is not None and drawing.suffix != ".svg":
        raise SettingsError("bad --picture", got=str(drawing), expected="a file that ends in .svg")
    told = ""
    if run is not None:
        graph = read_graphs(run / ARTIFACTS, [user]).get(user)
        where = str(run)
    elif store:
        with open_store(store) as opened:
            graph, kept = opened.read_graph(user), opened.read(user)
        where = without_password(store)
        if kept is not None:
            told = f", kept since {datetime.fromtimestamp(kept.made / 1e6, UTC):%Y-%m-%d %H:%M} UTC, {'stale' if kept.stale else 'fresh'}"
    else:
        raise SettingsError("nothing to look into", expected="--store URL or --run RUN")
    if graph is None:
        raise UnknownIdError(
            "no interests are kept of this user",
            where=where,
            got=repr(user),
            remedy="searec interests build DATA --store URL",
        )
    if str(figures) != "-":
        made = f", made by {graph.origin['reasoner']}" if "reasoner" in graph.origin else ""
        print(f"{user}{made}{told}")
        for one in graph.interests():
            print(f"  {one.confidence:.2f}  {one.text:<32} {one.reason}")
        if not graph.interests():
            print("  nothing that is new to the user")
    if drawing is not None:
        from searec.interests.graph_svg import draw_graph

        try:
            drawing.write_text(draw_graph(graph), encoding="utf-8")
        except OSError as error:
            raise DataError("cannot write the picture", where=drawing, got=error.strerror) from None
        if str(figures) != "-":
            print(f"wrote {drawing}")
    emit(json.loads(graph.to_json()), figures)


@app.command()
def debate(
    data: Data,
    user: Annotated[str, typer.Option(help="The user, as the dataset names it.", show_default=False)],
    agents: Annotated[int, typer.Option(min=2, max=20, help="How many debate.")] = 3,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of challenges after the proposals, at most.")] = 3,
    chat_model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A model as the chat server calls it; several are given to the agents in turn.",
            show_default=False,
        ),
    ] = None,
    overrides: Set = None,
    figures: Json = None,
) -> None:
    """Let several agents debate what one user may want, and show who said what and who was convinced.

    The server and its key come from the environment: OPENAI_BASE_URL, OPENAI_API_KEY, SEAREC_CHAT_*.
    """
    import json

    from searec.config import configure
    from searec.data.dataset import load
    from searec.errors import ChatError
    from searec.interests.debate_reasoner import DebateReasoner, DebateSettings
    from searec.interests.debate_transcript import format_transcript
    from searec.service.reasoner_profiles import Profiles
    from searec.text.chat import Chat, chat_settings

    config = configure(
        DebateSettings, {"agents": agents, "rounds": rounds, **pairs(overrides)}, where="interests debate"
    )
    names = chat_model or [""]
    servers = {name: chat_settings(name) for name in names}
    dataset = load(data)
    dataset.users.to_internal([user])
    profile = Profiles(dataset)([user])[0]
    with contextlib.ExitStack() as stack:
        chats = {name: stack.enter_context(Chat(one)) for name, one in servers.items()}
        thought = DebateReasoner([chats[name] for name in names], config).infer([profile])[0]
        ledgers = {name: chat.usage.as_json() for name, chat in chats.items()}
    if str(figures) != "-":
        print(
            format_transcript(thought.transcript)
            if thought.transcript
            else f"user {user} asked nothing lately, so there is nothing to debate"
        )
        for name, ledger in ledgers.items():
            tokens = ledger["prompt_tokens"] + ledger["completion_tokens"]
            print(
                f"{name}: {ledger['calls']} requests, {ledger['from_cache']} kept answers, {tokens:,} tokens, cost {ledger['cost']:g}"
            )
    graph = None if thought.graph is None else json.loads(thought.graph.to_json())
    emit(
        {
            "user": user,
            "graph": graph,
            "problem": thought.problem,
            "transcript": thought.transcript,
            "ledgers": ledgers,
        },
        figures,
    )
    if thought.problem is not None:
        raise ChatError(
            "the debate came to nothing",
            got=thought.problem,
            remedy="see the transcript; try another model or more max_tokens",
        )


@app.command()
def worker(
    data: Data,
    store: StoreUrl,
    reasoner: ReasonerName = "offline",
    overrides: Set = None,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Workers in this process, each with a reasoner of its own.")
    ] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Users that a reasoner is given at once.")] = 8,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Answer Prometheus at this port; 0 for any.", show_default=False),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to be done now.")] = False,
    enqueue: Annotated[
        list[str] | None,
        typer.Option(
            metavar="all|drifted|USER",
            help="First enqueue who has missing or stale interests, or asks for what they do not explain, or one user; may be given often.",
            show_default=False,
        ),
    ] = None,
    events: Events = None,
    figures: Json = None,
) -> None:
    """Refresh the interests of users in the queue, until stopped: what is thought by then is kept, and the rest given back."""
    from searec.data.dataset import load
    from searec.store.interest_store import open_store
    from searec.store.worker import Worker, WorkerSettings, work
    from searec.store.worker_metrics import Metrics

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    dataset, options = load(data), pairs(overrides)
    with _profiles(data, dataset, events) as profiles, open_store(store) as opened:
        metrics = Metrics(opened)
        name = f"{socket.gethostname()}:{os.getpid()}"
        thinkers = [reasoner_of(reasoner, dataset, options) for _ in range(concurrency)]
        workers = [
            Worker(opened, one, profiles, WorkerSettings(batch=batch), name=f"{name}:{number}", metrics=metrics)
            for number, one in enumerate(thinkers)
        ]
        if metrics_port is not None:
            print(
                f"metrics: http://{socket.gethostname()}:{metrics.serve(metrics_port)}/metrics",
                file=sys.stderr,
                flush=True,
            )
        try:
            _enqueue(opened, profiles, enqueue or [])
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


def _enqueue(store: "Store", profiles: "Profiles", names: Sequence[str]) -> None:
    """Enqueue users by id, all, or those who have drifted.

    Raises:
        UnknownIdError: a user of whom nothing is known.
    """
    single = [name for name in names if name not in (ALL, DRIFTED)]
    profiles.refuse_unknown(single)
    everybody = profiles.everybody() if len(single) < len(names) else []
    if ALL in names:
        store.enqueue(everybody, "missing")
    if DRIFTED in names:
        from searec.progress import progress
        from searec.store.drift import Watcher
        from searec.text.encoder import DEFAULT, Encoder

        watcher = Watcher(store, Encoder(DEFAULT).encode)
        with progress("Drift", len(everybody)) as advance:
            for start in range(0, len(everybody), _AT_ONCE):
                some = profiles(everybody[start : start + _AT_ONCE])
                for profile in some:
                    watcher.note(profile.user, profile.queries)
                advance(len(some), "")
    store.enqueue(single, "asked")


@contextlib.contextmanager
def _profiles(folder: Path, data: "Dataset", events: str | None) -> "Iterator[Profiles]":
    """Profiles as of the end of the dataset or, with the address of an event store, as of now."""
    from searec.service.reasoner_profiles import Profiles

    if events is None:
        yield Profiles(data)
        return
    from searec.store.event_export import exported_up_to
    from searec.store.events import open_events

    with open_events(events) as store:
        yield Profiles(data, store, after=exported_up_to(folder))
