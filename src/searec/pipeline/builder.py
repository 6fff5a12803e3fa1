"""Builder: a deployment becomes a pipeline, which is tried before anything is served from it."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from searec.data.dataset import Dataset, load
from searec.data.lexical import Lexicon
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import RunError, SearecError, SettingsError
from searec.models.capabilities import RetrievesByInterest, ReusesLexicalIndex, SuggestsQueries, supports
from searec.pipeline.catalog_snapshot import CatalogBase, LiveCatalog
from searec.pipeline.channels import CHANNELS, Channel, LexicalChannel, PopularChannel
from searec.pipeline.deployment import Deployment
from searec.pipeline.executors import Executor, Runner
from searec.pipeline.explanations import Explainer
from searec.pipeline.histories import Histories
from searec.pipeline.pipeline import Parts, Pipeline
from searec.pipeline.ranking import Ranker
from searec.pipeline.run import Run, read_run
from searec.pipeline.run_splits import shared_split
from searec.pipeline.suggestions import Suggester
from searec.pipeline.types import RESERVED, Request, SuggestRequest
from searec.pipeline.user_interests import InterestSource
from searec.pipeline.views import Views
from searec.store.event_export import exported_up_to
from searec.store.event_store import EventStore
from searec.store.interest_reader import Reader

_TRIAL_SECONDS = 60.0


def open_pipeline(
    deployment: Deployment,
    events: EventStore | None = None,
    reader: Reader | None = None,
    executor: Callable[[str], Runner] = Executor,
) -> Pipeline:
    """Return the pipeline of a deployment, which has answered once.

    Models with the role "ranker" rank, several of them together; without one a model that `ranks_candidates` does where
    it is not the only channel. All others retrieve. Without a retriever the first ranker retrieves too. Search always
    has the lexical channel.

    Args:
        deployment: what to open.
        events: what happened since the dataset was made; None for the dataset alone.
        reader: of the interest store; None for interests inferred at training.
        executor: as `Pipeline`.

    Raises:
        SearecError: a folder is missing or damaged, a run is of other data or cannot do what it is for, runs are of
            different splits, or a part fails when it is tried.
    """
    for folder in (deployment.data, *deployment.runs):
        _refuse_unreadable(folder)
    data = load(deployment.data)
    runs = _open_runs(deployment, data)
    by_task: dict[Task, list[Run]] = {
        "recommend": [_able(runs[folder], "recommend") for folder in deployment.recommend],
        "search": [_able(runs[folder], "search") for folder in deployment.search],
    }
    feed = by_task["recommend"]
    interests = InterestSource(next((run for run in feed if supports(run.model, RetrievesByInterest)), None), reader)
    catalog = LiveCatalog(CatalogBase(data, _lexicon(data, by_task["search"])), events)
    histories = Histories(data, events, after=exported_up_to(deployment.data))
    retrieving: dict[Task, list[Run]] = {}
    ranking: dict[Task, list[Run]] = {}
    ranker_labels: dict[Task, Sequence[str] | None] = {
        "recommend": deployment.rank_recommend,
        "search": deployment.rank_search,
    }
    for task, labels in ranker_labels.items():
        retrieving[task], ranking[task] = _roles(by_task[task], labels, task)
    channels: dict[Task, dict[str, Channel]] = {
        task: {run.label: _channel(run, interests) for run in retrieving[task]} for task in by_task
    }
    channels["search"] = {"bm25": LexicalChannel(), **channels["search"]}
    writer = next((run for run in (*by_task["search"], *feed) if _suggests(run)), None)
    known = {"bm25", *(name for one in channels.values() for channel in one.values() for name in channel.names)}
    if unknown := sorted(deployment.weights.keys() - known):
        raise SettingsError(
            f"a weight for the channel {unknown[0]!r}, which is not served", expected=", ".join(sorted(known))
        )
    split = shared_split([*runs.values()]) if runs else Split(data)
    parts = Parts(
        channels=channels,
        rankers={task: [Ranker(run) for run in ranking[task]] for task in by_task},
        weights=deployment.weights,
        popular=PopularChannel(split),
        explainer=Explainer({run.label: run.model for run in feed}),
        suggester=Suggester(data, writer),
        views=Views(
            data, catalog, histories, interests, events, _uses(runs.values(), by_task, retrieving, ranking, writer)
        ),
    )
    pipeline = Pipeline(catalog, histories, interests, parts, deployment, executor)
    try:
        try_out(pipeline, data)
    except BaseException:
        pipeline.close()
        raise
    return pipeline


def try_out(pipeline: Pipeline, data: Dataset) -> None:
    """Request a feed, search results and suggestions, for a user with a history and for nobody.

    Args:
        pipeline: to try.
        data: its dataset.

    Raises:
        RunError: a part fails. A store that fails is not a part of the pipeline.
    """
    user = (
        data.users.texts[int(data.click_history.offsets[1:].searchsorted(1)) - 1]
        if len(data.click_history.item)
        else None
    )
    requests = [Request(user=name, seconds=_TRIAL_SECONDS) for name in (user, None)]
    query = str(data.queries.texts[0]) if data.sizes.queries else str(data.item_table["title"][0] or "a")
    responses = [
        *pipeline.recommend(requests),
        *pipeline.search([dataclasses.replace(request, query=query) for request in requests]),
        *pipeline.suggest([SuggestRequest(request.user, seconds=request.seconds) for request in requests]),
    ]
    for response in responses:
        if isinstance(response, SearecError):
            raise response
        for part, why in response.left_out:
            if part not in ("events", "interests"):
                got = pipeline.executors[part].last_error or why
                raise RunError("a part fails when it is tried", where=part, got=got)


def _refuse_unreadable(folder: str) -> None:
    """Refuse what the system cannot accept as a folder's name; whether it exists is checked by its reader."""
    try:
        Path(folder).stat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # too long, not allowed; NUL within it
        got = getattr(error, "strerror", None) or str(error)
        raise SettingsError("the folder cannot be read", where=repr(folder)[:100], got=got) from None


def _open_runs(deployment: Deployment, data: Dataset) -> dict[str, Run]:
    """Each run folder opened once, under a label of its own."""
    runs: dict[str, Run] = {}
    used = set(RESERVED) - {"bm25"}
    for folder in deployment.runs:
        run = read_run(folder, data)
        base = deployment.labels.get(folder, run.label)
        label, number = base, 2
        while label in used:
            label, number = f"{base}-{number}", number + 1
        used.add(label)
        runs[folder] = dataclasses.replace(run, config={**run.config, "label": label})
    return runs


def _able(run: Run, task: Task) -> Run:
    if task not in run.model.train_tasks:
        raise SettingsError(
            f"{run.model.name} does not support {task}",
            where=run.folder,
            expected=f"a run for {', '.join(run.model.train_tasks)}",
        )
    return run


def _roles(runs: Sequence[Run], labels: Sequence[str] | None, task: str) -> tuple[list[Run], list[Run]]:
    """The runs that retrieve, and those that rank."""
    if labels is not None:
        if missing := sorted(set(labels) - {run.label for run in runs}):
            raise SettingsError(f"rank_{task} names {missing[0]!r}, which is no run of it", got=", ".join(labels))
        rankers = [run for run in runs if run.label in labels]
    else:
        rankers = [run for run in runs if run.model.role == "ranker"]
    retrievers = [run for run in runs if run.model.role == "retriever" and run.model.channel in CHANNELS.names()]
    if rankers and not retrievers:
        retrievers = rankers[:1]
    if not rankers and labels is None and len(retrievers) > 1:
        rankers = [run for run in retrievers if run.model.ranks_candidates]
    return retrievers, rankers


def _channel(run: Run, interests: InterestSource) -> Channel:
    kind = run.model.channel if run.model.role == "retriever" else "behaviour"
    if kind == "interest" and (interests.encoder is None or interests.encoder.run is not run):
        raise SettingsError("two runs with an interest channel in one feed", where=run.folder, expected="one")
    channel: Channel = CHANNELS.named(kind)(run, interests.encoder)
    return channel


def _suggests(run: Run) -> bool:
    return supports(run.model, SuggestsQueries) and "search" in run.model.train_tasks


def _lexicon(data: Dataset, search: Sequence[Run]) -> Lexicon:
    for run in search:
        if supports(run.model, ReusesLexicalIndex):
            return Lexicon(data, **run.model.lexical_index())
    return Lexicon.of(data)


def _uses(
    runs: Iterable[Run],
    by_task: Mapping[Task, Sequence[Run]],
    retrieving: Mapping[Task, Sequence[Run]],
    ranking: Mapping[Task, Sequence[Run]],
    writer: Run | None,
) -> list[tuple[Run, list[str]]]:
    """Each run and what it is used for, as in `types.ServedRun`."""
    uses: list[tuple[Run, list[str]]] = []
    for run in runs:
        names = []
        for task in by_task:
            place = "feed" if task == "recommend" else "search"
            lexical = task == "search" and supports(run.model, ReusesLexicalIndex) and run in by_task[task]
            if run in retrieving[task] or lexical:
                names.append(f"{place} channel")
            if run in ranking[task]:
                names.append(f"{place} ranker")
        uses.append((run, names + ["suggestions"] * (run is writer)))
    return uses
