"""What every model of the registry keeps, whatever it is: a new model is covered by standing there.

The world is the checkerboard of conftest: what each user is about to click or find is what the others of his block
have clicked and found, and nobody of the other block.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from searec import artifacts
from searec.data.batch import Batch, Batcher
from searec.data.dataset import Dataset
from searec.data.ragged import gather_windows
from searec.data.schema import TASKS
from searec.data.split import NEVER, Requests, Split, requests_at
from searec.errors import RunError, SettingsError, UnknownIdError
from searec.experiments import run_training
from searec.files import fingerprint
from searec.models import BUILT_IN, model_named, model_names
from searec.models.base import Model
from searec.models.capabilities import (
    ColdStartUsers,
    EncodesQueries,
    FindsSimilarItems,
    HasItemVectors,
    LearnsPartLater,
    RetrievesByInterest,
    ScoresNewItems,
    SuggestsQueries,
    UpdatesItems,
    WeighsFields,
    supports,
)
from searec.nn.losses import Losses
from searec.pipeline.run import Run, read_run
from searec.pipeline.run_folder import write_run
from searec.training.examples import TrainingExamples
from shared_folders import shared_folder
from small_models import MODEL

SMALL = {**MODEL, "dropout": 0.0, "attention_dropout": 0.0}
"""Taken up by each model that has such a setting."""
WRITERS = {"batch": 16, "lr": 0.005, "width": 32, "inner": 32, "schedule": "constant", "warmup": 0}
LESSON: dict[str, dict[str, Any]] = {
    "event-transformer": {"epochs": 4, "batch": 16, "lr": 0.01, "dropout": 0.1, "average": 0.9},
    "gserec": {"epochs": 4, "batch": 16, "lr": 0.01, "dropout": 0.1, "average": 0.9},
    "lcr-ser": {"epochs": 4, "batch": 16, "lr": 0.01, "dropout": 0.1, "average": 0.9, "trunk": "merged"},
    "sasrec": {"epochs": 20, "epoch_steps": 0, "batch": 16, "lr": 0.01},
    "gserec-paper": {"epochs": 30, "batch": 16, "lr": 0.005, "width": 32, "inner": 32},
    "lcr-ser-paper": {"epochs": 30, "batch": 16, "lr": 0.005, "width": 32, "inner": 32},
    "gensar": {"epochs": 4, "batch": 16, "lr": 0.01, "dropout": 0.1, "average": 0.9},
    "tiger": {"epochs": 4, "batch": 16, "lr": 0.01, "dropout": 0.1, "average": 0.9},
    "gensar-paper": {**WRITERS, "epochs": 30, "code_epochs": 50},
    "tiger-paper": {**WRITERS, "epochs": 20},
    "serendipity": {"epochs": 4, "batch": 16, "lr": 0.01, "dropout": 0.1, "average": 0.9},
    "serendipity-paper": {"epochs": 60, "batch": 16, "lr": 0.01},
    "unisar": {
        "epochs": 30,
        "epoch_steps": 0,
        "batch": 16,
        "lr": 0.005,
        "width": 32,
        "inner": 32,
        "init": 0.1,
        "search_weight": 1.0,
        "user": False,
    },
}
"""How a model that learns by loss is taught the checkerboard; see LESSON_OF_OTHERS for those not named."""
BEGUN = {"unisar": {"epoch_steps": 0}}
"""Settings of a model that is only just begun."""
LESSON_OF_OTHERS = {"epochs": 30, "batch": 32, "lr": 0.01}
GIVEN = {"gensar": 0.5, "gensar-paper": 0.5, "tiger-paper": 0.5}
"""What untaught models know: identifiers are learned from clicks, and an untaught T5 repeats codes that it reads."""
WORDLESS: dict[str, dict[str, Any]] = {
    **{
        name: {"text": False, "tasks": ["recommend"]}
        for name in ("event-transformer", "lcr-ser", "gensar", "serendipity")
    },
    "tiger": {"text": False},
    "gserec": {"text": False},
}
"""Settings without words, which alone tell the two blocks of items apart."""
BLIND = {"popular"}
"""Models that tell no user from another, so that the checkerboard has no answer for them."""
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in model_names()),
    ("itemknn", {"feed_only": True, "neighbours": 5, "shrink": 2.0}),
    ("sasrec", {"feed_only": True, "loss": "bce", "negatives": 2, "heads": 1}),
    ("unisar", {"tasks": ["recommend"], "user": False}),
    ("lcr-ser", {"trunk": "merged", "steps": 2}),
    ("lcr-ser", {"trunk": "feed", "steps": 0}),
    ("gserec-paper", {"user_weight": 0.0, "history_weight": 0.0, "text_fallback": False, "layers": 3}),
    (
        "gserec-paper",
        {
            "layers": 0,
            "feed": 3,
            "searches": 2,
            "search_clicks": 1,
            "words": 1,
        },
    ),
    ("gserec-paper", {"query": "sentence", "layers": 4}),
    (
        "lcr-ser-paper",
        {
            "init": 0.3,
            "steps": 0,
            "feed": 3,
            "searches": 2,
            "search_clicks": 1,
            "words": 1,
        },
    ),
    ("lcr-ser-paper", {"detach": False, "distance": "euclidean", "step_embedding": False, "steps": 2}),
    ("lcr-ser-paper", {"searches": 0, "steps": 1}),
    ("unisar", {"tasks": ["search"], "feed": 2, "searches": 2, "search_clicks": 1, "words": 1}),
    ("serendipity-paper", {"loss": "bce", "snapshots": 2, "quota": 0.5, "order": "interest", "index": "exact"}),
]
LEARNERS = [(name, overrides) for name, overrides in VARIANTS if model_named(name).learns == "loss"]

MakeRun = Callable[..., Run]


def said(variant: tuple[str, dict[str, Any]]) -> str:
    return " ".join([variant[0], *(f"{name}={value}" for name, value in variant[1].items())])


def settings(name: str, **overrides: Any) -> dict[str, Any]:
    own = model_named(name).Config.__dataclass_fields__
    return {**{key: value for key, value in SMALL.items() if key in own}, **overrides}


@pytest.fixture(scope="module")
def teach(checkerboard: Any, tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """A run of a model with settings, on the checkerboard; each is trained once for all processes of the session."""

    @functools.cache
    def made(name: str, overrides: tuple[tuple[str, Any], ...], seed: int) -> Run:
        def train(folder: Path) -> None:
            chosen = settings(name, **dict(overrides))
            run_training.train(name, checkerboard.data, folder / "run", seed=seed, **chosen)

        shared = shared_folder(tmp_path_factory, f"contract-{name}-{fingerprint(repr(overrides), str(seed))}", train)
        return read_run(shared / "run", checkerboard.data, device="cpu")

    def teach(name: str, *, seed: int = 0, **overrides: Any) -> Run:
        return made(
            name,
            tuple(
                (key, tuple(value) if isinstance(value, list) else value) for key, value in sorted(overrides.items())
            ),
            seed,
        )

    return teach


@pytest.fixture(scope="module")
def taught(teach: MakeRun) -> MakeRun:
    """A run that has learned the checkerboard; a variant of a model is only just begun."""

    def taught(name: str, **overrides: Any) -> Run:
        if model_named(name).learns == "fit":
            return teach(name, **overrides)
        if not overrides:
            return teach(name, patience=0, validate_every=15, **LESSON.get(name, LESSON_OF_OTHERS))
        return teach(name, lr=0.03, batch=32, **{**BEGUN.get(name, {}), "epochs": 2, **overrides})

    return taught


def questions(data: Dataset, task: Any) -> Requests:
    """Requests with histories of every length.

    In the middle of training, at its end, after everything, and of a user without any.
    """
    split = Split(data)
    everyone = np.arange(1, data.sizes.users + 1, dtype=np.int32)
    query = np.arange(len(everyone), dtype=np.int32) % data.sizes.queries + 1 if task == "search" else None
    asked = [
        split.train(task)[::7],
        split.held_out(task, "test")[::3],
        requests_at(data, task, everyone, np.full(len(everyone), NEVER), query=query)[::2],
    ]
    fields = ("user", "time", "query", "target", "feed_end", "search_end", "click_end", "dislike_end")
    return Requests(task, *(np.concatenate([getattr(requests, name) for requests in asked]) for name in fields))


def batch_of(model: Model, data: Dataset, requests: Requests, candidates: np.ndarray | None = None) -> Batch:
    return Batcher(data, model.needs).batch(requests, candidates)


def whole(model: Model, data: Dataset, requests: Requests) -> Tensor:
    """[R, I] scores of all items but the padding."""
    with torch.no_grad():
        return model.score(batch_of(model, data, requests))[:, 1:]


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.fixture(params=VARIANTS, ids=said)
def run(request: pytest.FixtureRequest, taught: MakeRun) -> Run:
    name, overrides = request.param
    return taught(name, **overrides)


# --- what it learns ---


def reciprocal_rank(run: Run, checkerboard: Any, task: Any) -> float:
    """Mean over users of 1 / rank of the withheld item among those they will never click and have not clicked."""
    data = checkerboard.data
    requests = Split(data).held_out(task, "test")
    scores = whole(run.model, data, requests).numpy()
    found = []
    for row, user in enumerate(data.users.to_external(requests.user)):
        target = int(data.items.to_internal([checkerboard.withheld[task, user]])[0]) - 1
        own = slice(data.click_history.offsets[requests.user[row]], data.click_history.offsets[requests.user[row] + 1])
        clicked = {int(item) - 1 for item in data.click_history.item[own]} - {target}
        left = [item for item in range(data.sizes.items) if item not in clicked]
        found.append(1 / sum(scores[row, item] >= scores[row, target] for item in left))
    return float(np.mean(found))


@pytest.mark.parametrize("name", [name for name in model_names() if name not in BLIND])
def test_known_answer(taught: MakeRun, checkerboard: Any, name: str) -> None:
    run = taught(name)
    chance = 0.05
    for task in run.model.train_tasks:
        assert reciprocal_rank(run, checkerboard, task) > (0.5 if run.model.learns == "loss" else 0.99)
    if run.model.learns == "loss":
        config, _ = run_training.settings_for(name, "default", settings(name, **WORDLESS.get(name, {})))
        untaught = dataclasses.replace(run, model=run_training.new_model(name, config, run.split, 0).eval())
        for task in untaught.model.train_tasks:
            told = reciprocal_rank(untaught, checkerboard, task)
            assert told < GIVEN.get(name, 5 * chance), "the answer is not given away"


def test_popular_counts_clicks_before_each_task_s_cutoff(taught: MakeRun, checkerboard: Any) -> None:
    data = checkerboard.data
    model = taught("popular").model
    for task in TASKS:
        split = Split(data)
        counts = [0] * (data.sizes.items + 1)
        for user in range(1, data.sizes.users + 1):
            for position in range(int(data.click_history.offsets[user]), int(data.click_history.offsets[user + 1])):
                counts[data.click_history.item[position]] += bool(
                    data.click_history.time[position] < split.cutoff((task,))[user]
                )
        scores = whole(model, data, split.held_out(task, "test"))
        assert (scores == torch.tensor(counts[1:])).all()


@pytest.mark.parametrize("name", model_names())
def test_seeds_repeat_bit_for_bit(teach: MakeRun, checkerboard: Any, tmp_path: Path, name: str) -> None:
    short = {"epochs": 2, "batch": 32} if model_named(name).learns == "loss" else {}
    first = teach(name, seed=1, **short).model.state()
    again = run_training.train(
        name, checkerboard.data, tmp_path / name, seed=1, **settings(name, **short)
    ).model.state()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    if model_named(name).learns == "loss":
        other = teach(name, seed=2, **short).model.state()
        assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", model_names())
def test_events_after_the_cutoff_teach_nothing(teach: MakeRun, rewritten: Dataset, tmp_path: Path, name: str) -> None:
    short: dict[str, Any] = {"epochs": 1, "batch": 32} if model_named(name).learns == "loss" else {}
    if "neighbours" in model_named(name).phases:  # validation chooses their weight, and does change here
        short["neighbours"] = False
    if "text_choice" in model_named(name).phases:  # as does the choice of texts
        short["text"] = True
    if "code_weight" in model_named(name).phases:
        short["log_p"] = 1.0
    if "reasoning" in model_named(name).phases:  # and reasoning
        short["searches"] = False
    told = teach(name, **short)
    assert not np.array_equal(told.data.click_history.item, rewritten.click_history.item)
    other = run_training.train(name, rewritten, tmp_path / "run", **settings(name, **short)).model.state()
    for key, tensor in told.model.state().items():
        assert torch.equal(tensor, other[key]), key


@pytest.mark.parametrize("variant", LEARNERS, ids=said)
def test_every_loss_part_moves_a_gradient(
    checkerboard: Any, small_world: Dataset, variant: tuple[str, dict[str, Any]]
) -> None:
    name, overrides = variant
    config, _ = run_training.settings_for(name, "default", settings(name, **overrides))
    split = Split(
        small_world if model_named(name).artifact == "interests" else checkerboard.data
    )  # interests need categories
    model = run_training.new_model(name, config, split, 0)
    examples = TrainingExamples(split, model, batch=32, seed=0)
    batches = [examples.batch(0, step) for step in range(examples.steps(0))]
    names, weights = zip(
        *((key, weight) for key, weight in model.named_parameters() if weight.requires_grad), strict=True
    )

    def moved_by(value: Tensor) -> set[str]:
        gradients = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        return {
            key
            for key, gradient in zip(names, gradients, strict=True)
            if gradient is not None and bool((gradient != 0).any())
        }

    moved: dict[str, set[str]] = {}
    for batch in batches:
        losses = model.loss(batch)
        assert isinstance(losses, Losses)
        for part, value in losses.parts.items():
            assert value.isfinite(), part
            assert losses.weights[part] > 0, part
            moved.setdefault(f"{part} of {batch.task}", set()).update(moved_by(value))
        moved.setdefault("total", set()).update(moved_by(losses.total))
        expected = sum(losses.weights[part] * float(value.detach()) for part, value in losses.parts.items())
        assert float(losses.total.detach()) == pytest.approx(expected, rel=1e-5)
    assert {part for part, found in moved.items() if not found} == set(), "parts that move nothing"
    if set(model.train_tasks) == set(model.tasks):
        still = {"trunk.weight"}  # all events of this world weigh the same
        if supports(model, LearnsPartLater) and not model.is_open:  # learned by a later phase
            still |= {name for name in names if name.startswith(("reasoning.", "scale", "reading."))}
        assert set(names) - moved["total"] - still == set(), "weights that nothing moves"


@pytest.mark.parametrize("variant", LEARNERS, ids=said)
def test_mixed_precision_gives_about_the_same_loss_and_gradients(
    checkerboard: Any, variant: tuple[str, dict[str, Any]]
) -> None:
    name, overrides = variant
    still = {"user_dropout": 0.0} if "user_dropout" in model_named(name).Config.__dataclass_fields__ else {}
    config, _ = run_training.settings_for(name, "default", settings(name, **{**overrides, **still}))
    model = run_training.new_model(name, config, Split(checkerboard.data), 0)
    batch = TrainingExamples(Split(checkerboard.data), model, batch=32, seed=0).batch(0, 0)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    found = []
    for enabled in (False, True):
        torch.manual_seed(0)  # phrasings and items are drawn
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            total = model.loss(batch).total
        gradients = torch.autograd.grad(total, weights, allow_unused=True)
        found.append((float(total.detach()), torch.cat([g.flatten() for g in gradients if g is not None])))
    (plain, gradient), (mixed, rounded) = found
    assert mixed == pytest.approx(plain, rel=0.02)
    assert torch.nn.functional.cosine_similarity(gradient, rounded, dim=0) > 0.98


def test_the_other_kind_of_learning_is_refused(run: Run, checkerboard: Any) -> None:
    data = checkerboard.data
    task = run.model.train_tasks[0]
    with pytest.raises(TypeError, match=f"{run.model.name} learns by"):
        if run.model.learns == "fit":
            run.model.loss(batch_of(run.model, data, questions(data, task)))
        else:
            run.model.fit(data, Split(data))


# --- how it scores ---


def test_a_batch_equals_its_requests_one_by_one(run: Run) -> None:
    for task in run.model.train_tasks:
        requests = questions(run.data, task)
        together = whole(run.model, run.data, requests)
        assert together.shape == (len(requests), run.data.sizes.items)
        assert together.isfinite().all()
        close(
            together, torch.cat([whole(run.model, run.data, requests[row : row + 1]) for row in range(len(requests))])
        )
        backwards = np.arange(len(requests))[::-1].copy()
        close(together, whole(run.model, run.data, requests[backwards])[backwards])


def test_candidates_are_columns_of_the_catalogue(run: Run) -> None:
    for task in run.model.train_tasks:
        requests = questions(run.data, task)
        candidates = np.random.default_rng(0).integers(1, run.data.sizes.items + 1, (len(requests), 7)).astype(np.int32)
        with torch.no_grad():
            scores = run.model.score(batch_of(run.model, run.data, requests, candidates))
        close(scores, whole(run.model, run.data, requests).gather(1, torch.from_numpy(candidates).long() - 1))


def widened(batch: Batch, by: int) -> Batch:
    """The same batch with `by` more columns of padding in every history and query, and more clicks a session."""

    def pad(tensor: Tensor, *sides: int) -> Tensor:
        return torch.nn.functional.pad(tensor, [side for extra in reversed(sides) for side in (0, extra)])

    flat = {
        name: pad(getattr(batch, name), by)
        for name in ("feed_item", "feed_time", "search_query", "search_time", "click_item", "click_time", "words")
    }
    return dataclasses.replace(batch, search_click=pad(batch.search_click, by, by), **flat)


def test_padding_changes_nothing(run: Run) -> None:
    for task in run.model.train_tasks:
        batch = batch_of(run.model, run.data, questions(run.data, task))
        with torch.no_grad():
            close(run.model.score(batch)[:, 1:], run.model.score(widened(batch, 5))[:, 1:])


def test_what_stands_under_padding_is_not_read(run: Run) -> None:
    for task in run.model.train_tasks:
        batch = widened(batch_of(run.model, run.data, questions(run.data, task)), 3)
        noise = torch.Generator().manual_seed(0)

        def under(ids: Tensor, values: Tensor, top: int, noise: torch.Generator = noise) -> Tensor:
            hidden = (ids == 0).view(*ids.shape, *[1] * (values.dim() - ids.dim()))
            return torch.where(hidden, torch.randint(1, top, values.shape, generator=noise).to(values.dtype), values)

        changed = dataclasses.replace(
            batch,
            feed_time=under(batch.feed_item, batch.feed_time, 1 << 60),
            search_time=under(batch.search_query, batch.search_time, 1 << 60),
            search_click=under(batch.search_query, batch.search_click, run.data.sizes.items),
            click_time=under(batch.click_item, batch.click_time, 1 << 60),
        )
        with torch.no_grad():
            close(run.model.score(batch)[:, 1:], run.model.score(changed)[:, 1:])


def test_the_target_is_not_read(run: Run) -> None:
    for task in run.model.train_tasks:
        batch = batch_of(run.model, run.data, questions(run.data, task))
        changed = dataclasses.replace(batch, target=batch.target.flip(0))
        with torch.no_grad():
            close(run.model.score(batch)[:, 1:], run.model.score(changed)[:, 1:])


def test_what_a_model_asks_for_is_read(run: Run) -> None:
    """Each history that `needs` names, and the query, changes the scores when its items change."""
    model, items, words = run.model, run.data.sizes.items, run.data.sizes.words
    for task in model.train_tasks:
        batch = batch_of(model, run.data, questions(run.data, task))

        def shifted(ids: Tensor, count: int) -> Tensor:
            return torch.where(ids == 0, 0, ids % count + 1).to(ids.dtype)

        asked = {
            "feed_item": (model.needs.feed, items),
            "search_click": (model.needs.searches, items),
            "click_item": (model.needs.clicks, items),
        }
        if model.name == "serendipity":  # its interest channel alone reads all clicks: test_serendipity
            del asked["click_item"]
        asked["words"] = (model.needs.words if task == "search" else 0, words)
        with torch.no_grad():
            before = model.score(batch)
            for name, (need, count) in asked.items():
                if need:
                    changed = dataclasses.replace(batch, **{name: shifted(getattr(batch, name), count)})
                    assert not torch.allclose(before, model.score(changed), atol=1e-5), name
            if model.needs.queries and any(batch.texts):
                changed = dataclasses.replace(batch, texts=("", *batch.texts[:0:-1]))
                assert not torch.allclose(before, model.score(changed), atol=1e-5)
            if model.needs.text:
                changed = dataclasses.replace(batch, query_text=batch.query_text[::-1])
                assert not torch.allclose(before, model.score(changed), atol=1e-5)


@pytest.mark.parametrize("k", [1, 9, 1000])
def test_retrieve_is_the_head_of_all_scores(run: Run, k: int) -> None:
    items = run.data.sizes.items
    for task in run.model.train_tasks:
        requests = questions(run.data, task)
        first = np.asarray(run.data.click_history.offsets[requests.user])
        seen = gather_windows(run.data.click_history.item, first, requests.click_end - first)
        batch = batch_of(run.model, run.data, requests)
        scores = whole(run.model, run.data, requests)
        for exclude in (seen, None):
            ids, values = run.model.retrieve(batch, k, None if exclude is None else torch.from_numpy(exclude))
            left = scores.clone()
            if exclude is not None:
                for row, line in enumerate(exclude.tolist()):
                    left[row, [item - 1 for item in line if item]] = -torch.inf
            expected = left.sort(dim=1, descending=True, stable=True).values[:, :k]
            assert ids.shape == values.shape == (len(requests), min(k, items))
            close(values, expected)
            some = ids > 0
            assert torch.equal(some, ~expected.isneginf())
            assert values[~some].isneginf().all()
            close(left.gather(1, ids.long().clamp(min=1) - 1)[some], values[some])
            for row in ids.tolist():
                assert len({item for item in row if item}) == sum(item > 0 for item in row)


# --- what it declares ---

ALL_CAPABILITIES = {
    kind.__name__: kind
    for kind in (
        ColdStartUsers,
        EncodesQueries,
        FindsSimilarItems,
        HasItemVectors,
        RetrievesByInterest,
        WeighsFields,
        ScoresNewItems,
        SuggestsQueries,
        UpdatesItems,
    )
}
CAPABILITIES = {
    "popular": set(),
    "itemknn": {"FindsSimilarItems"},
    "ease": {"FindsSimilarItems"},
    "bm25": {"WeighsFields"},
    "dense": {"HasItemVectors", "EncodesQueries"},
    "event-transformer": {"HasItemVectors", "ScoresNewItems"},
    "lcr-ser": {"HasItemVectors", "ScoresNewItems"},
    "sasrec": {"HasItemVectors"},
    "unisar": {"HasItemVectors"},
    "gserec": {"HasItemVectors", "ScoresNewItems"},
    "gserec-paper": {"HasItemVectors", "ColdStartUsers"},
    "lcr-ser-paper": {"HasItemVectors"},
    "gensar": {"HasItemVectors", "ScoresNewItems", "SuggestsQueries"},
    "tiger": {"HasItemVectors", "ScoresNewItems", "SuggestsQueries"},
    "gensar-paper": {"SuggestsQueries", "UpdatesItems"},
    "tiger-paper": {"SuggestsQueries", "UpdatesItems"},
    "serendipity": {"HasItemVectors", "RetrievesByInterest", "ScoresNewItems"},
    "serendipity-paper": {"HasItemVectors", "RetrievesByInterest"},
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_capabilities_are_those_declared(taught: MakeRun, name: str) -> None:
    model = taught(name).model
    assert {text for text, kind in ALL_CAPABILITIES.items() if isinstance(model, kind)} == CAPABILITIES[name]


@pytest.mark.parametrize("name", model_names())
def test_declarations_name_what_exists(taught: MakeRun, name: str) -> None:
    kind = model_named(name)
    assert kind.name == name and kind.__doc__ and set(kind.tasks) <= set(TASKS)
    assert kind.artifact is None or kind.artifact in artifacts.BUILT_IN
    for task, overrides in kind.single_task.items():
        assert task in kind.tasks
        run_training.settings_for(name, "default", overrides)
    limit = taught(name).model.candidate_limit
    assert limit is None or limit == SMALL["beam"]


@pytest.mark.parametrize("name", model_names())
def test_neighbours_and_reasons_are_items_of_the_catalogue(taught: MakeRun, name: str) -> None:
    """Similar items come best first, and a reason is one of the clicks.

    Items of one block are nearer than those of the other.
    """
    run = taught(name)
    model, data = run.model, run.data
    items, clicks = torch.arange(1, 9), torch.tensor([0, 3, 20, 5])
    click, strength = model.explain(items, clicks)
    assert click.shape == strength.shape == items.shape
    assert set(click.tolist()) <= set(clicks.tolist()) and bool(((strength >= 0) & (strength <= 1)).all())
    assert torch.equal(click > 0, strength > 0)
    known = isinstance(model, HasItemVectors | FindsSimilarItems)
    assert bool((strength > 0).any()) == known
    if known:  # an item that was clicked itself speaks for itself, where there is a vector
        assert not isinstance(model, HasItemVectors) or click[2] == 3
    if isinstance(model, FindsSimilarItems):
        ids, scores = model.similar_items(items, 5)
        assert ids.shape == scores.shape == (8, 5)
        assert torch.equal(ids == 0, scores.isneginf()) and bool((ids <= data.sizes.items).all())
        assert bool((scores[:, :-1] >= scores[:, 1:]).all())
    if isinstance(model, HasItemVectors):
        assert model.item_vectors.shape[0] == data.sizes.items + 1 and not model.item_vectors.requires_grad


# --- what is kept, and what is refused ---


def test_what_is_written_is_read_bit_for_bit(run: Run, tmp_path: Path) -> None:
    write_run(tmp_path, run.model, run.config, {"made": "by a test"}, split=run.split)
    assert not list(tmp_path.glob("*.pkl")) + list(tmp_path.glob("*.pt"))
    again = read_run(tmp_path, run.data, device="cpu")
    assert again.config == run.config
    assert again.model.config == run.model.config
    before, after = run.model.state(), again.model.state()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    for task in run.model.train_tasks:
        requests = questions(run.data, task)
        assert torch.equal(whole(run.model, run.data, requests), whole(again.model, run.data, requests))


def test_weights_that_do_not_fit_are_refused(run: Run) -> None:
    state = run.model.state()
    with pytest.raises(RunError, match="do not fit"):
        run.model.load_state({**state, "another": torch.zeros(1)})
    with pytest.raises(RunError, match="do not fit"):
        run.model.load_state(dict(list(state.items())[1:]))


def test_bad_questions_are_refused(run: Run) -> None:
    def ask(user: str = "u1", k: int = 3, task: str | None = None, query: str = "yoga mat") -> Any:
        task = task or run.model.train_tasks[0]
        return run.recommend([user], k=k) if task == "recommend" else run.search([user], [query], k=k)

    # A lexical index returns matches alone, so its list may be shorter.
    assert 1 <= len(ask()) <= 3 if run.model.name == "bm25" else len(ask()) == 3
    with pytest.raises(UnknownIdError, match="unknown user id 'nobody'"):
        ask(user="nobody")
    for k in (0, -1):
        with pytest.raises(SettingsError, match="k is too small"):
            ask(k=k)
    for task in set(TASKS) - set(run.model.train_tasks):
        with pytest.raises(SettingsError, match=f"does not support {task}"):
            ask(task=task)
    if "search" in run.model.train_tasks:
        with pytest.raises(SettingsError, match="empty query"):
            ask(task="search", query=" ")
        with pytest.raises(SettingsError, match="each query needs its user"):
            run.search(["u1", "u2"], ["yoga mat"])


def test_answers_are_ranked_items_by_outside_id(run: Run) -> None:
    users = ["u3", "u0", "u3", "newcomer"]
    if "recommend" in run.model.train_tasks:
        table = run.recommend(users, k=4)
        assert table.columns[:4] == ["user_id", "rank", "item_id", "score"]
        assert table["user_id"].to_list() == [user for user in users for _ in range(4)]
        assert table["rank"].to_list() == [1, 2, 3, 4] * 4
        assert run.recommend([], k=4).is_empty()
        click_history = run.data.click_history
        for user in ("u0", "u3"):
            inside = int(run.data.users.to_internal([user])[0])
            clicked = set(
                run.data.items.to_external(
                    click_history.item[click_history.offsets[inside] : click_history.offsets[inside + 1]]
                )
            )
            assert not clicked & set(table.filter(user_id=user)["item_id"])
            assert clicked & set(run.recommend([user], k=run.data.sizes.items, seen=True)["item_id"])
            assert len(run.recommend([user], k=run.data.sizes.items)) == run.data.sizes.items - len(clicked)
    if "search" in run.model.train_tasks:
        queries = ["yoga mat", "Fishing  ROD!", "yoga mat", "zebra"]
        table = run.search(users, queries, k=4)
        assert table.columns == ["user_id", "query", "rank", "item_id", "score"]
        alone = [run.search([user], [query], k=4) for user, query in zip(users, queries, strict=True)]
        lengths = [len(rows) for rows in alone]
        if run.model.name == "bm25":  # matches alone: no item holds "zebra"
            assert lengths[0] and lengths[1] and lengths[3] == 0
        else:
            assert lengths == [4] * 4
        assert table["query"].to_list() == [
            query for query, rows in zip(queries, lengths, strict=True) for _ in range(rows)
        ]
        assert run.search([], [], k=4).is_empty()
        np.testing.assert_allclose(np.concatenate([rows["score"] for rows in alone]), table["score"], atol=1e-5)
    assert all(np.diff(table.filter(user_id="u0")["score"]) <= 0)
