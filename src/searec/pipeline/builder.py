"""Assembly: a dataset, its runs and its stores become an engine, tried before anything is served from it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from searec.config import settings
from searec.data.dataset import Dataset, load
from searec.data.lexical import Lexicon
from searec.data.schema import Task
from searec.data.sparse import SparseRows
from searec.data.split import Split
from searec.errors import RunError, SearecError, SettingsError
from searec.models.bm25 import BM25
from searec.models.dense import Dense
from searec.models.gensar.model import GenSAR
from searec.models.serendipity.model import Serendipity
from searec.pipeline.catalog_snapshot import CatalogBase
from searec.pipeline.channels import (
    Channel,
    DenseChannel,
    LexicalChannel,
    ModelChannel,
    PopularChannel,
    SerendipityChannel,
)
from searec.pipeline.explanations import Explainer
from searec.pipeline.histories import Histories
from searec.pipeline.live_catalog import LiveCatalog
from searec.pipeline.pipeline import Parts, Pipeline, PipelineSettings
from searec.pipeline.ranking import Ranker
from searec.pipeline.run import Run, read_run
from searec.pipeline.suggestions import Suggester
from searec.pipeline.types import Request, Response, Suggestions, SuggestRequest
from searec.pipeline.user_interests import InterestSource
from searec.pipeline.views import Views
from searec.store.event_export import exported_up_to
from searec.store.event_store import EventStore
from searec.store.interest_reader import Reader

RANK_ONLY = ("gserec", "lcr-ser", "unisar")
"""Models that score what others bring."""
_TRIAL_SECONDS = 60.0
_RESERVED = ("events", "interests", "bm25", "popular", "behaviour", "interest")


@settings
class Deployment:
    """What is served.

    data: the dataset folder that the runs were trained on. recommend, search: run folders for each; what one is used for follows from its
        model.
    """

    data: str
    recommend: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


def open_pipeline(
    deployment: Deployment,
    events: EventStore | None = None,
    reader: Reader | None = None,
    config: PipelineSettings | None = None,
) -> Pipeline:
    """The engine of a deployment, which has answered once.

    gserec, lcr-ser and unisar rank, several of them together; without one sasrec does where it is not the only channel. All others bring
    items. Where nothing does, the first ranker brings its own. Words are always searched (bm25).

    Raises:
        SearecError: a folder is missing or damaged, a run is of other data or cannot do what it is for, or a part fails when it is tried.
    """
    for folder in (deployment.data, *deployment.recommend, *deployment.search):
        _refuse_unreadable(folder)
    data = load(deployment.data)
    runs = _opened(deployment, data)
    feed = [_able(runs[folder], "recommend") for folder in deployment.recommend]
    search = [_able(runs[folder], "search") for folder in deployment.search]
    interests = InterestSource(next((run for run in feed if isinstance(run.model, Serendipity)), None), reader)
    live_catalog = LiveCatalog(CatalogBase(data, _lexicon(data, search)), events)
    histories = Histories(data, events, after=exported_up_to(Path(deployment.data)))
    feed_channels, feed_rankers = _roles(feed, interests)
    search_channels, search_rankers = _roles([run for run in search if not isinstance(run.model, BM25)], interests)
    writer = next(
        (run for run in (*search, *feed) if isinstance(run.model, GenSAR) and "search" in run.model.train_tasks), None
    )
    uses: dict[str, list[str]] = {}
    for what, channels, rankers in (("feed", feed_channels, feed_rankers), ("search", search_channels, search_rankers)):
        for name in channels:
            uses.setdefault(name, []).append(f"{what} channel")
        for ranker in rankers:
            uses.setdefault(ranker.name, []).append(f"{what} ranker")
    for run in search:
        if isinstance(run.model, BM25):
            uses.setdefault(run.label, []).append("search channel")
    if writer is not None:
        uses.setdefault(writer.label, []).append("suggestions")
    split = next(iter(runs.values())).split if runs else Split(data)
    parts = Parts(
        feed=feed_channels,
        search={"bm25": LexicalChannel(), **search_channels},
        popular=PopularChannel(split),
        explainer=Explainer(feed),
        suggester=Suggester(data, writer),
        views=Views(
            data, live_catalog, histories, interests, events, [(run, uses.get(run.label, [])) for run in runs.values()]
        ),
        rank_feed=feed_rankers,
        rank_search=search_rankers,
    )
    engine = Pipeline(live_catalog, histories, interests, parts, config)
    try:
        try_out(engine, data)
    except BaseException:
        engine.close()
        raise
    return engine


def try_out(engine: Pipeline, data: Dataset) -> None:
    """Ask for a feed, a search and queries, for one with a history and for nobody.

    Raises:
        RunError: a part fails. A store that fails is none of the engine's parts.
    """
    some = (
        data.users.texts[int(data.click_history.offsets[1:].searchsorted(1)) - 1]
        if len(data.click_history.item)
        else None
    )
    asks = [Request(user=user, seconds=_TRIAL_SECONDS) for user in (some, None)]
    query = str(data.queries.texts[0]) if data.sizes.queries else str(data.item_table["title"][0] or "a")
    found: list[Response | Suggestions | SearecError] = [*engine.recommend(asks)]
    found += engine.search([dataclasses.replace(ask, query=query) for ask in asks])
    found += engine.suggest([SuggestRequest(ask.user, seconds=ask.seconds) for ask in asks])
    for one in found:
        if isinstance(one, SearecError):
            raise one
        for part, why in one.left_out:
            if part not in ("events", "interests"):
                raise RunError(
                    "a part fails when it is tried", where=part, got=engine.executors[part].last_error or why
                )


def _refuse_unreadable(folder: str) -> None:
    """Refuse what the system cannot take for a folder's name; whether the folder is there is for whoever reads it to say."""
    try:
        Path(folder).stat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # too long, not allowed; NUL within it
        got = getattr(error, "strerror", None) or str(error)
        raise SettingsError("the folder cannot be read", where=repr(folder)[:100], got=got) from None


def _opened(deployment: Deployment, data: Dataset) -> dict[str, Run]:
    """Each run folder opened once, under a label of its own."""
    runs: dict[str, Run] = {}
    taken: set[str] = set(_RESERVED) - {"bm25"}
    for folder in dict.fromkeys((*deployment.recommend, *deployment.search)):
        run = read_run(folder, data)
        label, number = run.label, 2
        while label in taken:
            label, number = f"{run.label}-{number}", number + 1
        taken.add(label)
        runs[folder] = dataclasses.replace(run, config={**run.config, "label": label})
    return runs


def _able(run: Run, task: Task) -> Run:
    if task not in run.model.train_tasks:
        raise SettingsError(
            f"{run.model.name} has not learnt to {task}",
            where=run.folder,
            expected=f"a run for {', '.join(run.model.train_tasks)}",
        )
    return run


def _roles(runs: Sequence[Run], interests: InterestSource) -> tuple[Mapping[str, Channel], list[Ranker]]:
    """Channels by label, and who ranks."""
    rankers = [run for run in runs if run.model.name in RANK_ONLY]
    bringing = [run for run in runs if run not in rankers and run.model.name != "popular"]
    if rankers and not bringing:
        bringing = rankers[:1]
    if not rankers and len(bringing) > 1:
        rankers = [run for run in bringing if run.model.name == "sasrec"]
    return {run.label: _channel(run, interests) for run in bringing}, [Ranker(run) for run in rankers]


def _channel(run: Run, interests: InterestSource) -> Channel:
    if isinstance(run.model, Serendipity):
        if interests.interest_encoder is None or interests.interest_encoder.run is not run:
            raise SettingsError("two serendipity runs in one feed", where=run.folder, expected="one")
        return SerendipityChannel(run, interests.interest_encoder)
    return DenseChannel(run) if isinstance(run.model, Dense) else ModelChannel(run)


def _lexicon(data: Dataset, search: Sequence[Run]) -> Lexicon:
    for run in search:
        if isinstance(model := run.model, BM25):
            index = SparseRows(model.offsets, model.columns, model.values, data.sizes.items + 1)
            return Lexicon(data, index, k1=model.config.k1, b=model.config.b)
    return Lexicon.of(data)
