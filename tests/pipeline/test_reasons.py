"""A reason is only given if it is true: tested on every item that the packaged sample's users are shown."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from searec.data.dataset import Dataset, load
from searec.data.split import NEVER
from searec.data.synthetic.simulate import sample_folder
from searec.experiments import run_training
from searec.interests.novelty import stems
from searec.interests.profile import Profile, profiles
from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import Deployment
from searec.pipeline.executors import Inline
from searec.pipeline.pipeline import Pipeline
from searec.pipeline.run import Run, read_run
from searec.pipeline.types import RankedItem, Request, Response
from searec.text.analysis import words_of

BECAUSE, SEARCHED, CLICKED = "because you ", "looked for “", "clicked “"


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load(sample_folder())


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "serendipity"
    run_training.train("serendipity", data, folder, epochs=1, snapshots=2, width=16, inner=16, layers=1, text=False)
    return read_run(folder, data)


@pytest.fixture(scope="module")
def pipeline(run: Run) -> Iterator[Pipeline]:
    deployment = Deployment(data=str(sample_folder()), recommend=(str(run.folder),), quota=0.5, pool=60)
    opened = open_pipeline(deployment, executor=Inline)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shown(pipeline: Pipeline, data: Dataset) -> list[tuple[str, RankedItem]]:
    users = data.users.texts.to_list()
    pages = pipeline.recommend([Request(user=user) for user in users])
    assert all(isinstance(page, Response) and len(page.items) == 10 for page in pages)
    return [(user, item) for user, page in zip(users, pages, strict=True) for item in page.items]  # type: ignore[union-attr]


def is_true(reason: str, categories: Sequence[str], profile: Profile) -> bool:
    """Whether a user did what a reason says, and the item has the category that it leads to."""
    signal, _, path = reason.removeprefix(BECAUSE).rpartition("” → ")
    demand, _, interest = path.partition(" → ")
    did = {SEARCHED + query.text for query in profile.queries} | {SEARCHED + text for text in profile.earlier}
    did |= {CLICKED + (click.title or name) for click in profile.clicks for name in (click.categories or ("",))}
    return signal in did and bool(demand) and any(stems(interest) <= stems(name) for name in categories)


def test_every_item_that_is_shown_for_an_interest_carries_it(
    shown: list[tuple[str, RankedItem]], data: Dataset
) -> None:
    users = np.arange(1, data.sizes.users + 1)
    everyone = {one.user: one for one in profiles(data, users, np.full(len(users), NEVER), clicks=1_000, queries=1_000)}
    named = [(user, item) for user, item in shown if "→" in item.reason]
    assert len(named) > 1_000
    wrong = [item for user, item in named if not is_true(item.reason, item.categories, everyone[user])]
    assert wrong == []
    assert len([item for _, item in shown if item.channel == "interest"]) >= 0.9 * len(named)


def test_what_is_said_to_be_new_is_new_and_what_is_said_to_be_liked_was_clicked(
    shown: list[tuple[str, RankedItem]], data: Dataset
) -> None:
    titles = dict(zip(data.item_table["item_id"], data.item_table["title"], strict=True))
    history = data.click_history
    rows = [slice(*history.offsets[row : row + 2].tolist()) for row in range(1, data.sizes.users + 1)]
    names = [data.items.to_external(history.item[row]) for row in rows]
    clicked = {
        user: {titles[name] for name in line} for user, line in zip(data.users.texts.to_list(), names, strict=True)
    }
    for user, item in shown:
        if item.reason.startswith("new to you: "):
            assert item.novel and item.reason.removeprefix("new to you: ") in item.categories
        if item.reason.startswith("like “"):
            assert item.reason.removeprefix("like “").partition("”, which you clicked")[0] in clicked[user]


def test_a_run_alone_gives_true_reasons(run: Run, data: Dataset) -> None:
    users = data.users.texts.to_list()
    rows = run.recommend(users, k=20)
    categories = dict(zip(data.item_table["item_id"], data.item_table["categories"], strict=True))
    named = [row for row in rows.iter_rows(named=True) if "→" in row["reason"]]
    assert len(named) > 500
    for row in named:
        interest = row["reason"].rpartition(" → ")[2]
        assert any(stems(interest) <= stems(name) for name in categories[row["item_id"]])


def test_a_search_names_words_as_the_item_has_them(pipeline: Pipeline, data: Dataset) -> None:
    """The query is in the plural and has an article; titles are in the singular."""
    [response] = pipeline.search([Request(query="the foldable treadmills", k=20)])
    assert isinstance(response, Response)
    texts = dict(zip(data.item_table["item_id"].to_list(), data.item_texts(), strict=True))
    named = set()
    for item in response.items:
        assert item.reason.startswith("holds “")
        words = item.reason.removeprefix("holds “").removesuffix("”").split("”, “")
        assert set(words) <= set(words_of(texts[item.item]))
        named |= set(words)
    assert "treadmill" in named
    assert "the" not in named
