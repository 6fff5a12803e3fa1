"""Commands for the interests that users have not expressed yet: infer, show and refresh them."""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searec.cli.arguments import DEFAULT_STORE, CacheUrl, Data, Json, Set, StoreUrl, emit, pairs
from searec.cli.students import reasoner_of
from searec.cli.tables import print_unusable_labels

if TYPE_CHECKING:
    from searec.data.dataset import Dataset
    from searec.service.reasoner_profiles import Profiles
    from searec.store.store import Store

app = typer.Typer(
    name="interests",
    help="Interests that users have not expressed yet, inferred ahead of requests.",
    no_args_is_help=True,
)

ReasonerName = Annotated[
    str, typer.Option("--reasoner", help="offline, chat, debate or student=RUN; its settings by --set.")
]
_AT_ONCE = 256
ALL, DRIFTED = "all", "drifted"
_SHOWN = 3


@app.command()
def build(
    data: Data,
    store: StoreUrl = DEFAULT_STORE,
    reasoner: ReasonerName = "offline",
    overrides: Set = None,
    users: Annotated[
        list[str] | None,
        typer.Option(
            "--user", metavar="USER", help="This user; may be given many times. All by default.", show_default=False
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also users whose interests are fresh.")] = False,
    cache: CacheUrl = None,
    figures: Json = None,
) -> None:
    """Infer the interests of users now and store them, without a queue; run it again to continue where it ended."""
    from searec.data.dataset import load
    from searec.errors import ChatError
    from searec.progress import progress
    from searec.store.store import Store

    dataset = load(data)
    built, interests, problems = 0, 0, []
    with Store(store, cache=cache) as opened:
        profiles = _profiles(data, dataset, opened)
        names = users or profiles.everybody()
        profiles.refuse_unknown(names)
        thinker = reasoner_of(reasoner, dataset, pairs(overrides))
        with progress("Interests", len(names)) as advance:
            for start in range(0, len(names), _AT_ONCE):
                part = names[start : start + _AT_ONCE]
                due = part if again else [name for name in part if not _is_fresh(opened, name)]
                thoughts = thinker.infer(profiles(due))
                graphs = [thought.graph for thought in thoughts if thought.graph is not None]
                opened.interests.write(graphs)
                built += len(graphs)
                interests += sum(len(graph.interests()) for graph in graphs)
                problems += [thought.problem or "no graph" for thought in thoughts if thought.graph is None]
                advance(len(part), "")
    fresh = len(names) - built - len(problems)
    if str(figures) != "-":
        mean = f", {interests / built:.1f} interests each" if built else ""
        print(f"{built:,} users built{mean}; {fresh:,} were fresh; {len(problems):,} failed")
        print_unusable_labels(dataset)
    emit({"built": built, "interests": interests, "fresh": fresh, "failed": len(problems)}, figures)
    if problems:
        raise ChatError(
            f"{len(problems)} of {len(names)} users are left without a graph",
            where="; ".join(problems[:_SHOWN]),
            remedy="run the same command again: only these users are inferred",
        )


@app.command()
def show(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user, as the dataset names it.", show_default=False)],
    store: StoreUrl = DEFAULT_STORE,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Instead of the store: interests that a run was trained on.",
            show_default=False,
        ),
    ] = None,
    drawing: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE.svg", help="Draw the graph.", show_default=False)
    ] = None,
    figures: Json = None,
) -> None:
    """Show the interests of a user and why: query, demand, interest."""
    import json
    from datetime import UTC, datetime

    from searec.errors import DataError, SettingsError, UnknownIdError
    from searec.interests.click_fallback import INSTEAD
    from searec.interests.interest_table import read_graphs
    from searec.pipeline.run_folder import ARTIFACTS
    from searec.store.connection import without_password
    from searec.store.store import Store

    if drawing is not None and drawing.suffix != ".svg":
        raise SettingsError("bad --picture", got=str(drawing), expected="a file that ends in .svg")
    state = ""
    if run is not None:
        graph = read_graphs(run / ARTIFACTS, [user]).get(user)
        where = str(run)
    else:
        with Store(store) as opened:
            graph, stored = opened.interests.read_graph(user), opened.interests.read(user)
        where = without_password(store)
        if stored is not None:
            written = datetime.fromtimestamp(stored.written_at / 1e6, UTC)
            state = f", written {written:%Y-%m-%d %H:%M} UTC, {'stale' if stored.stale else 'fresh'}"
    if graph is None:
        raise UnknownIdError(
            "no interests are stored of this user",
            where=where,
            got=repr(user),
            remedy="searec interests build DATA --store URL",
        )
    if str(figures) != "-":
        by = f", made by {graph.origin['reasoner']}" if "reasoner" in graph.origin else ""
        if INSTEAD in graph.origin:
            by += f" from clicks: no recent query for {graph.origin[INSTEAD]}"
        print(f"{user}{by}{state}")
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
    from searec.interests.debate_reasoner import DebateReasoner
    from searec.interests.debate_rounds import DebateSettings
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
            else f"user {user} has no recent queries, so there is nothing to debate"
        )
        for name, ledger in ledgers.items():
            tokens = ledger["prompt_tokens"] + ledger["completion_tokens"]
            print(
                f"{name}: {ledger['calls']} requests, {ledger['from_cache']} cached responses, {tokens:,} tokens, "
                f"cost {ledger['cost']:g}"
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
    store: StoreUrl = DEFAULT_STORE,
    reasoner: ReasonerName = "offline",
    overrides: Set = None,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Workers in this process, each with a reasoner of its own.")
    ] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Users per call of a reasoner.")] = 8,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Answer Prometheus at this port; 0 for any.", show_default=False),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is left to be done now.")] = False,
    enqueue: Annotated[
        list[str] | None,
        typer.Option(
            metavar="all|drifted|USER",
            help="First enqueue all users with missing or stale interests, those who drifted, or one; may be repeated.",
            show_default=False,
        ),
    ] = None,
    cache: CacheUrl = None,
    figures: Json = None,
) -> None:
    """Refresh the interests of users in the queue, until stopped; jobs that are not done then are given back."""
    from searec.data.dataset import load
    from searec.store.store import Store
    from searec.store.worker import Worker, WorkerSettings, work
    from searec.store.worker_metrics import Metrics

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    dataset, options = load(data), pairs(overrides)
    with Store(store, cache=cache) as opened:
        profiles = _profiles(data, dataset, opened)
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
            counts = opened.jobs.counts()
        finally:
            metrics.close()
    if str(figures) != "-":
        print(
            "jobs: "
            + (", ".join(f"{number:,} {outcome}" for outcome, number in sorted(ended.items()) if number) or "none")
        )
        print(
            f"store: {counts.stored:,} users, {counts.fresh:,} of them fresh; "
            f"queue: {counts.queued + counts.leased:,} to do, {counts.waiting:,} for later, {counts.dead:,} dead"
        )
    emit({"jobs": ended, "store": vars(counts)}, figures)


def _enqueue(store: "Store", profiles: "Profiles", names: Sequence[str]) -> None:
    """Enqueue users by id, all, or those who have drifted.

    Raises:
        UnknownIdError: an unknown user.
    """
    single = [name for name in names if name not in (ALL, DRIFTED)]
    profiles.refuse_unknown(single)
    everybody = profiles.everybody() if len(single) < len(names) else []
    if ALL in names:
        store.jobs.enqueue(everybody, "missing")
    if DRIFTED in names:
        from searec.progress import progress
        from searec.store.drift import Watcher
        from searec.text.encoder import DEFAULT, Encoder

        watcher = Watcher(store, Encoder(DEFAULT).encode)
        with progress("Drift", len(everybody)) as advance:
            for start in range(0, len(everybody), _AT_ONCE):
                part = profiles(everybody[start : start + _AT_ONCE])
                for profile in part:
                    watcher.note(profile.user, profile.queries)
                advance(len(part), "")
    store.jobs.enqueue(single, "requested")


def _is_fresh(store: "Store", user: str) -> bool:
    stored = store.interests.read(user)
    return stored is not None and not stored.stale


def _profiles(folder: str, data: "Dataset", store: "Store") -> "Profiles":
    """Return profiles as of now: the dataset and what was recorded since."""
    from searec.service.reasoner_profiles import Profiles
    from searec.store.event_export import exported_up_to

    return Profiles(data, store.events, after=exported_up_to(folder))
