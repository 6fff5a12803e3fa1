"""gensar on the event trunk: identifiers that are written and scored, candidates, and next queries."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from searec.artifacts import prepare
from searec.artifacts.identifier_training import with_behaviour
from searec.artifacts.item_identifiers import ItemCoder
from searec.config import as_dict
from searec.data.batch import Batch, Batcher
from searec.data.counts import Counts
from searec.data.schema import TASKS
from searec.data.split import Split
from searec.errors import SettingsError
from searec.evaluation.protocol import validation_score
from searec.experiments import run_training
from searec.models.gensar.model import GenSAR
from searec.pipeline.run import Run, read_run
from searec.training.code_weight import FIRST, WEIGHTS
from searec.training.examples import TrainingExamples
from small_models import settings

SMALL: dict[str, Any] = {
    **settings("gensar", log_p=1.0),
    "text": True,
    "neighbours": False,
    "dropout": 0.0,
    "id_dropout": 0.0,
}


@pytest.fixture(scope="module")
def run(checkerboard: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has just begun to learn."""
    return run_training.train("gensar", checkerboard.data, tmp_path_factory.mktemp("gensar") / "run", **SMALL)


@pytest.fixture
def model(run: Run) -> GenSAR:
    """The model as read from its folder, so that a test may change it."""
    opened = read_run(run.folder, run.data, device="cpu").model
    assert isinstance(opened, GenSAR)
    return opened.eval()


def held(run: Run, task: Any) -> Batch:
    return Batcher(run.data, run.model.needs).batch(run.split.held_out(task, "test"))


def by_codes(model: GenSAR, **changes: Any) -> GenSAR:
    """The model, ranking by the probability of identifiers alone."""
    model.config = replace(model.config, item_head=False, **changes)
    return model


# --- identifiers ---


@pytest.mark.parametrize("task", TASKS)
def test_probabilities_of_all_items_sum_to_one(run: Run, model: GenSAR, task: Any) -> None:
    with torch.no_grad():
        log_p = by_codes(model).score(held(run, task))[:, 1:]
    assert log_p.exp().sum(1).numpy() == pytest.approx(1, abs=1e-4)
    assert log_p.std() > 0.1


@pytest.mark.parametrize("task", TASKS)
def test_wide_beams_find_what_scores_say(run: Run, model: GenSAR, task: Any) -> None:
    with torch.no_grad():
        log_p = by_codes(model).score(held(run, task))[:, 1:]
        items, found = model.retrieve(held(run, task), 9)
    best = log_p.topk(9, dim=1).values
    torch.testing.assert_close(found, best, atol=1e-4, rtol=0)
    torch.testing.assert_close(log_p.gather(1, items - 1), best, atol=1e-4, rtol=0)


def test_what_is_learned_is_the_probability_that_is_scored(run: Run, model: GenSAR) -> None:
    """The loss of a stretch is the mean of -log p of its clicks."""
    batch = TrainingExamples(run.split, model, batch=8, seed=0).batch(0, 0)
    with torch.no_grad():
        read = model.read_stretches(batch)
        parts = model.loss(batch).parts
        for task, target in read.targets.items():
            states = read.states[target.row, target.place]
            log_p = model._log_p_scores(states, target.item[:, None], task) / model._weight(task)
            assert float(parts[f"codes.{task}"]) == pytest.approx(-float(log_p.mean()), abs=1e-4)


def test_an_item_is_the_sum_of_its_codes(run: Run, model: GenSAR) -> None:
    """A code of the search identifier moves the items that have it, and no others."""
    assert model.items.code is not None
    before = model.table().detach().clone()
    place, code = 2, int(model.codes[1, 5, 2])
    with torch.no_grad():
        model.items.code.weight[model._blocks[1][place].start + code] += 1.0
    moved = (model.table() - before)[1:].detach()
    has_code = model.codes[1, 1:, place] == code
    torch.testing.assert_close(moved, has_code[:, None].float().expand_as(moved), atol=1e-5, rtol=0)
    assert 0 < has_code.sum() < len(has_code)


def test_codes_start_where_the_codebooks_lie(checkerboard: Any) -> None:
    split = Split(checkerboard.data)
    config, _ = run_training.settings_for("gensar", "default", {**_own(), "code_width": 8, "width": 32})
    made = prepare(GenSAR, config, split, 0)
    assert isinstance(made, ItemCoder)
    warm, cold = (
        run_training.new_model("gensar", one, split, 0, made) for one in (config, replace(config, warm_codes=False))
    )
    assert isinstance(warm, GenSAR) and isinstance(cold, GenSAR)
    assert warm.items.code is not None and cold.items.code is not None
    book = warm._blocks[1][1]
    lies = _cosines(made.code_vectors()[book])
    torch.testing.assert_close(_cosines(warm.items.code.weight[book]), lies, atol=1e-4, rtol=0)
    assert (_cosines(cold.items.code.weight[book]) - lies).abs().max() > 0.1


def _cosines(rows: torch.Tensor) -> torch.Tensor:
    rows = rows.detach() - rows.detach().mean(0)
    rows = torch.nn.functional.normalize(rows, dim=1)
    return rows @ rows.T


def _own() -> dict[str, Any]:
    return {name: value for name, value in SMALL.items() if name in GenSAR.Config.__dataclass_fields__}


def test_identifiers_of_other_items_are_refused(model: GenSAR) -> None:
    identifiers = replace(model.identifiers, codes=model.identifiers.codes[:, :-1])
    with pytest.raises(SettingsError, match="identifiers do not fit the data; got: 139 items; expected: 140 items"):
        model.load_artifacts(identifiers, torch.zeros(1, 1))


@pytest.mark.parametrize(("items", "shared", "codes"), [(200, 8, 32), (20_000, 32, 128), (1_000_000, 64, 512)])
def test_codebooks_grow_with_the_catalogue(items: int, shared: int, codes: int) -> None:
    """Room for sixteen times the items, so that few identifiers collide."""
    sized, _ = GenSAR.sized(Counts(1_000, items, 10_000, 1_000))
    assert (sized["shared_codes"], sized["codes"]) == (shared, codes)
    assert shared * codes**2 >= 16 * items


def test_items_without_clicks_behave_as_those_nearest_by_text() -> None:
    texts = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 0]]
    behaviour = np.array([[2, 0], [4, 0], [0, 1], [0, 3], [0, 0]], dtype=np.float32)
    _, full = with_behaviour([texts, behaviour])
    assert np.array_equal(full[:4], behaviour[:4])
    assert full[4].tolist() == [1.5, 1.0], "the mean of all four: there are fewer than ten"


# --- candidates and weights ---


def test_candidates_by_words_join_a_narrow_beam(run: Run, model: GenSAR) -> None:
    """With one beam the best item by words is found all the same, and scored as `score` does."""
    model.config = replace(model.config, beam=1, lexical=3)
    batch = held(run, "search")
    with torch.no_grad():
        items, scores = model.retrieve(batch, 1)
        match = model._matches(batch, batch.query, model.query_texts(batch))
        every = model.score(batch)
        model.config = replace(model.config, lexical=0)
        alone, _ = model.retrieve(batch, 1)
    listed = torch.cat((match.topk(3, dim=1).indices, alone), dim=1)
    torch.testing.assert_close(scores[:, 0], every.gather(1, listed).amax(1), atol=1e-4, rtol=0)
    assert (items != alone).any()


def test_the_weight_of_probabilities_is_that_in_the_scores(run: Run, model: GenSAR) -> None:
    batch = held(run, "recommend")
    with torch.no_grad():
        model.weigh_codes({"recommend": 0.0})
        without = model.score(batch)[:, 1:]
        model.weigh_codes({"recommend": 2.0})
        with_it = model.score(batch)[:, 1:]
        log_p = by_codes(model).score(batch)[:, 1:]
    torch.testing.assert_close(with_it - without, 2 * log_p, atol=1e-4, rtol=0)


# --- next queries ---


def test_suggestions_are_the_product_with_the_state_and_how_usual_a_query_is(run: Run, model: GenSAR) -> None:
    queries = ["yoga mat", "running shoes", "lamp"]
    batch = held(run, "search")
    assert model.suggests_queries and model.next_query is not None
    with torch.no_grad():
        place, log_p = model.suggest(batch, model.index_queries(dict(zip(queries, [1, 1, 1], strict=True))), 3)
        often, _ = model.suggest(batch, model.index_queries(dict(zip(queries, [1, 10**9, 1], strict=True))), 3)
        torch.nn.init.zeros_(model.next_query.weight)
        usual, share = model.suggest(batch, model.index_queries(dict(zip(queries, [1, 3, 6], strict=True))), 2)
    assert log_p.exp().sum(1).numpy() == pytest.approx(1, abs=1e-4)
    assert {tuple(sorted(row)) for row in place.tolist()} == {(1, 2, 3)}
    assert set(often[:, 0].tolist()) == {2}
    assert {tuple(row) for row in usual.tolist()} == {(3, 2)}
    assert share[0].exp().tolist() == pytest.approx([0.6, 0.3], abs=1e-4)


def test_without_texts_no_query_is_suggested(checkerboard: Any, tmp_path: Path) -> None:
    run = run_training.train("gensar", checkerboard.data, tmp_path / "run", **{**SMALL, "text": False, "epochs": 1})
    with pytest.raises(SettingsError, match="gensar cannot suggest queries"):
        run.suggest(["u0"])


# --- tiger ---


def test_tiger_differs_in_identifiers_and_tasks_alone(checkerboard: Any) -> None:
    counts = Counts.of(checkerboard.data)
    (gensar, training), (tiger, same) = (
        run_training.settings_for(name, "default", counts=counts) for name in ("gensar", "tiger")
    )
    ours, theirs = as_dict(gensar), as_dict(tiger)
    assert {name for name in ours if ours[name] != theirs[name]} == {"scheme", "tasks"}
    assert training == same


# --- what validation chooses, and items that come later ---


def test_the_weight_of_probabilities_is_what_validation_prefers(checkerboard: Any, tmp_path: Path) -> None:
    run = run_training.train("gensar", checkerboard.data, tmp_path / "run", **{**SMALL, "log_p": "auto"})
    assert isinstance(run.model, GenSAR)
    phases = {one["phase"]: one for one in run.config["phases"]}
    chosen = {task: phases["code_weight"][f"weight.{task}"] for task in TASKS}
    assert chosen == dict(zip(TASKS, run.model.log_p_weight.tolist(), strict=True))
    for task in TASKS:
        figure = phases["code_weight"][f"full-ndcg@10.{task}"]
        for weight in (FIRST, *WEIGHTS):
            run.model.weigh_codes({task: weight})
            assert (
                validation_score(run.model, run.split, "full-ndcg@10", requests=2_000, seed=0)[f"full-ndcg@10.{task}"]
                <= figure + 1e-6
            )
        run.model.weigh_codes(chosen)


def test_a_new_item_has_the_codes_of_the_nearest_by_text(run: Run, model: GenSAR) -> None:
    """One with the words of a known item is scored as that one without its id, its bias and the index of words."""
    known, batch = 3, held(run, "search")
    text = run.data.item_texts()[known - 1]
    with torch.no_grad():
        model.match.log_weights[0] = -10.0
        new = model.score_new(batch, model.describe_items([text], torch.zeros(1, 1, dtype=torch.long)))
        model.items.id.weight[known] = 0
        model.bias[:, known] = model.bias[:, 1:].mean(1)
        as_known = model.score(batch)[:, [known]]
    torch.testing.assert_close(new, as_known, atol=2e-2, rtol=0)
