"""Builder: a deployment becomes a pipeline, which is tried before anything is served from it."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from searec.data.dataset import Dataset, load
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import RunError, SearecError, SettingsError
from searec.models.capabilities import RetrievesByInterest, SuggestsQueries, WeighsFields, supports
from searec.pipeline.catalog_snapshot import CatalogBase, LiveCatalog
from searec.pipeline.channels import CHANNELS, Channel, LexicalChannel, PopularChannel
from searec.pipeline.dense_channel import DenseChannel
from searec.pipeline.deployment import Deployment
from searec.pipeline.executors import Executor, Runner
from searec.pipeline.explanations import Explainer
from searec.pipeline.fusion_features import GROUPS, Features, ItemStatistics
from searec.pipeline.histories import Histories
from searec.pipeline.learned_fusion import LearnedFusion, read_fusion
from searec.pipeline.pipeline import INTEREST, LearnedRanking, Parts, Pipeline
from searec.pipeline.ranking import DenseScorer, HistoryTextScorer, LexicalScorer, RunScorer, Scorer
from searec.pipeline.run import Run, read_run
from searec.pipeline.run_splits import has_read_held_out, shared_split
from searec.pipeline.suggestions import Suggester
from searec.pipeline.types import RESERVED, Request, Response, Suggestions, SuggestRequest
from searec.pipeline.user_interests import InterestSource
from searec.pipeline.views import Views
from searec.search.postings import FieldWeights
from searec.search.rules import SearchRules, read_rules
from searec.search.understanding import Understanding
from searec.store.event_export import exported_up_to
from searec.store.event_store import EventStore
from searec.store.interest_reader import Reader

_TRIAL_SECONDS = 60.0
_UNKNOWN = "a query of a trial"


def open_pipeline(
    deployment: Deployment,
    events: EventStore | None = None,
    reader: Reader | None = None,
    executor: Callable[[str], Runner] = Executor,
    fusion: Mapping[Task, LearnedFusion] | None = None,
) -> Pipeline:
    """Return the pipeline of a deployment, which has answered once.

    A learned fusion ranks a task by the parts it names. Without one channels are fused by rank, and in the feed models
    with the role "ranker" rank, several of them together; without one a model that `ranks_candidates` does where it is
    not the only channel. All others retrieve. Without a retriever the first ranker retrieves too. Search always has the
    lexical channel.

    Args:
        deployment: what to open.
        events: what happened since the dataset was made; None for the dataset alone.
        reader: of the interest store; None for interests inferred at training.
        executor: as `Pipeline`.
        fusion: in place of that of the deployment's file.

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
    if reader is not None:
        reader.dataset_users = data.users
    catalog = LiveCatalog(CatalogBase(data, _field_weights(by_task["search"])), events)
    histories = Histories(data, events, after=exported_up_to(deployment.data))
    by_label = {run.label: run for run in runs.values()}
    split = shared_split([*runs.values()]) if runs else Split(data)
    statistics = ItemStatistics.of(split)
    learned = dict(fusion or {})
    if fusion is None and deployment.fusion:
        learned = read_fusion(Path(deployment.fusion), deployment.fusion_digest)
    learned = {task: one for task, one in learned.items() if one.kind != "rank"}
    retrieving: dict[Task, list[Run]] = {"search": _retrievers(by_task["search"], "search")}
    ranking: dict[Task, list[Run]] = {"search": []}
    retrieving["recommend"], ranking["recommend"] = _roles(feed, deployment.rank_recommend)
    channels: dict[Task, dict[str, Channel]] = {
        task: {run.label: _channel(run, interests) for run in retrieving[task]} for task in by_task
    }
    prior = (deployment.prior * np.log1p(np.maximum(statistics.clicks, 0))).astype(np.float32)
    channels["search"] = {"bm25": LexicalChannel(prior), **channels["search"]}
    scorers: dict[Task, list[Scorer]] = {task: scorers_of(task, by_task, channels["search"]) for task in by_task}
    rankings = {
        task: _learned_ranking(one, task, scorers[task], channels[task], statistics) for task, one in learned.items()
    }
    if deployment.novelty is not None:
        rankings = {task: dataclasses.replace(one, novelty=deployment.novelty) for task, one in rankings.items()}
    for task, one in learned.items():
        channels[task] = with_parts(channels[task], one.parts)
        ranking[task] = [by_label[scorer.run] for scorer in rankings[task].scorers if scorer.run in by_label]
        retrieving[task] = [run for run in retrieving[task] if run.label in channels[task]]
    writer = next((run for run in (*by_task["search"], *feed) if _suggests(run)), None)
    known = {"bm25", *(name for one in channels.values() for channel in one.values() for name in channel.names)}
    if unknown := sorted(deployment.weights.keys() - known):
        raise SettingsError(
            f"a weight for the channel {unknown[0]!r}, which is not served", expected=", ".join(sorted(known))
        )
    parts = Parts(
        channels=channels,
        scorers=scorers,
        rankers={"recommend": [RunScorer(run, "recommend") for run in ranking["recommend"]], "search": []},
        learned=rankings,
        weights=deployment.weights,
        statistics=statistics,
        popular=PopularChannel(split),
        understanding=Understanding(data, _rules(deployment)),
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

    One of the queries is not in the log, so that encoders are loaded before the first such request of a person. Items
    that came since training are encoded first.

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
    responses: list[Response | Suggestions | SearecError] = [*pipeline.recommend(requests)]
    for channel in pipeline.parts.channels["search"].values():
        if isinstance(channel, DenseChannel):
            channel.encode_items(pipeline.catalog.last)
    responses += [
        *pipeline.search(
            [
                dataclasses.replace(request, query=text)
                for request, text in zip(requests, (query, f"{query} {_UNKNOWN}"), strict=True)
            ]
        ),
        *pipeline.suggest([SuggestRequest(request.user, seconds=request.seconds) for request in requests]),
    ]
    for response in responses:
        if isinstance(response, SearecError):
            raise response
        for part, why in response.left_out:
            if part not in ("events", "interests"):
                got = pipeline.executors[part].last_error or why
                raise RunError("a part fails when it is tried", where=part, got=got)


def _rules(deployment: Deployment) -> SearchRules | None:
    path = deployment.search_rules
    return read_rules(Path(path), deployment.search_rules_digest) if path else None


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
    by_history = task == "search" and _scores_pools(run) and not has_read_held_out(run, task)
    if task not in run.model.train_tasks and not by_history:
        raise SettingsError(
            f"{run.model.name} does not support {task}",
            where=run.folder,
            expected=f"a run for {', '.join(run.model.train_tasks)}",
            remedy="train it with --joint, and it scores searches by the user's history" if task == "search" else None,
        )
    return run


def _retrievers(runs: Sequence[Run], task: Task) -> list[Run]:
    able = [run for run in runs if task in run.model.train_tasks]
    return [run for run in able if run.model.role == "retriever" and run.model.channel in CHANNELS.names()]


def _roles(runs: Sequence[Run], labels: Sequence[str] | None) -> tuple[list[Run], list[Run]]:
    """The runs that retrieve for the feed, and those that rank it without a learned fusion."""
    if labels is not None:
        if missing := sorted(set(labels) - {run.label for run in runs}):
            raise SettingsError(f"rank_recommend names {missing[0]!r}, which is no run of it", got=", ".join(labels))
        rankers = [run for run in runs if run.label in labels]
    else:
        rankers = [run for run in runs if run.model.role == "ranker"]
    retrievers = _retrievers(runs, "recommend")
    if rankers and not retrievers:
        retrievers = rankers[:1]
    if not rankers and labels is None and len(retrievers) > 1:
        rankers = [run for run in retrievers if run.model.ranks_candidates]
    return retrievers, rankers


def scorers_of(task: Task, by_task: Mapping[Task, Sequence[Run]], channels: Mapping[str, Channel]) -> list[Scorer]:
    """Return all that can score pools of a task.

    In search runs of the feed score by the user's history, if they have not read what is held out of search
    (`Split.joint`).

    Args:
        task: of the pools.
        by_task: the runs of each task.
        channels: of search.
    """
    texts = [
        HistoryTextScorer(label, channel) for label, channel in channels.items() if isinstance(channel, DenseChannel)
    ]
    if task == "recommend":
        return [*(RunScorer(run, task) for run in by_task[task] if _scores_pools(run)), *texts]
    scorers: list[Scorer] = [LexicalScorer()]
    for run in {run.label: run for run in (*by_task[task], *by_task["recommend"])}.values():
        channel = channels.get(run.label)
        if isinstance(channel, DenseChannel):
            scorers.append(DenseScorer(run.label, channel))
        elif _scores_pools(run) and (run in by_task[task] or not has_read_held_out(run, task)):
            scorers.append(RunScorer(run, task if task in run.model.train_tasks else "recommend"))
    return [*scorers, *texts]


def _scores_pools(run: Run) -> bool:
    return run.model.enumerates and run.model.channel in CHANNELS.names()


def lists_of(channels: Mapping[str, Channel], scorers: Sequence[Scorer]) -> list[str]:
    """Return the channels whose runs cannot score the items of others, so that their order alone is known.

    Args:
        channels: of a task.
        scorers: of the same task.
    """
    return [label for label in channels if label not in {scorer.name for scorer in scorers}]


def _learned_ranking(
    learned: LearnedFusion,
    task: Task,
    scorers: Sequence[Scorer],
    channels: Mapping[str, Channel],
    statistics: ItemStatistics,
) -> LearnedRanking:
    used = [scorer for scorer in scorers if scorer.name in learned.parts]
    lists = [name for name in lists_of(channels, scorers) if name in learned.parts]
    groups = [name for name in GROUPS if name in learned.parts]
    features = Features(statistics, [scorer.name for scorer in used], lists, groups)
    expected = features.names[:1] if learned.kind == "single" else features.names
    if learned.features != expected:
        missing = sorted(set(learned.features) - set(expected)) or sorted(set(expected) - set(learned.features))
        raise SettingsError(
            f"the learned fusion of {task} is of other runs",
            got=f"{len(missing)} features differ, as {missing[0]!r}" if missing else "features in another order",
            expected=f"runs with the labels {', '.join(learned.parts)}",
            remedy='deploy the runs again, or fuse by rank (fusion "")',
        )
    return LearnedRanking(used, features, learned.model(), learned.novelty)


def with_parts(channels: Mapping[str, Channel], parts: Sequence[str]) -> dict[str, Channel]:
    """Return the channels that a learned fusion uses, and the interest channel; all if it uses none.

    Args:
        channels: of a task.
        parts: of the fusion.
    """
    used = {label: channel for label, channel in channels.items() if label in parts or INTEREST in channel.names}
    return used or dict(channels)


def _channel(run: Run, interests: InterestSource) -> Channel:
    kind = run.model.channel if run.model.role == "retriever" else "behaviour"
    if kind == "interest" and (interests.encoder is None or interests.encoder.run is not run):
        raise SettingsError("two runs with an interest channel in one feed", where=run.folder, expected="one")
    channel: Channel = CHANNELS.named(kind)(run, interests.encoder)
    return channel


def _suggests(run: Run) -> bool:
    return supports(run.model, SuggestsQueries) and run.model.suggests_queries


def _field_weights(search: Sequence[Run]) -> FieldWeights:
    for run in search:
        if supports(run.model, WeighsFields):
            return run.model.field_weights()
    return FieldWeights()


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
            lexical = task == "search" and supports(run.model, WeighsFields) and run in by_task[task]
            if run in retrieving[task] or lexical:
                names.append(f"{place} channel")
            if run in ranking[task]:
                names.append(f"{place} ranker")
        uses.append((run, names + ["suggestions"] * (run is writer)))
    return uses
