"""gensar: what it reads, what it writes, and that it writes what the transformers library would."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from searec.artifacts import prepare
from searec.artifacts.item_identifiers import ItemCoder
from searec.cli import app
from searec.data.batch import Batch, Batcher, Needs
from searec.data.dataset import Dataset
from searec.data.split import NEVER, Split, requests_at
from searec.errors import DataError, DependencyError, SettingsError, UnknownIdError
from searec.evaluation.protocol import RETRIEVED, full_ranks, tie_rank
from searec.experiments import run_training
from searec.models.gensar.paper import GenSARPaper
from searec.models.gensar.prompt_templates import TEMPLATES
from searec.models.gensar.t5 import new_t5
from searec.pipeline.run import Run, read_run
from searec.semantic_ids.identifiers import colliding
from searec.text.tokenizer import EOS, PAD

TINY: dict[str, Any] = {
    "width": 16,
    "layers": 1,
    "heads": 2,
    "head_width": 8,
    "inner": 16,
    "vocabulary": 300,
    "codes": 8,
    "code_epochs": 4,
    "code_least": 0,
    "epochs": 2,
    "batch": 64,
    "lr": 0.01,
    "schedule": "constant",
    "warmup": 0,
}


@pytest.fixture(scope="module")
def run(checkerboard: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has just begun to learn."""
    return run_training.train("gensar-paper", checkerboard.data, tmp_path_factory.mktemp("gensar") / "run", **TINY)


def again(run: Run) -> Run:
    """The run as read from its folder, so that a test may change its items."""
    return read_run(run.folder, run.data, device="cpu")


def model_of(run: Run) -> GenSARPaper:
    assert isinstance(run.model, GenSARPaper)
    return run.model


def held(run: Run, task: Any, rows: slice = slice(None)) -> Batch:
    return Batcher(run.data, run.model.needs).batch(run.split.held_out(task, "test")[rows])


def identifier(model: GenSARPaper, item: int, side: int) -> list[int]:
    """The tokens of an item: behaviour, then codes."""
    mark = model.layout.first + (0 if side == 0 else 2)
    return [
        mark,
        *(int(code) + block for code, block in zip(model.codes[side, item], model.layout.blocks[side], strict=True)),
    ]


def words(model: GenSARPaper, text: str) -> list[int]:
    return list(model.tokens.ids([text], 1 << 16)[0])


# --- where it starts ---


def products(rows: Tensor) -> Tensor:
    """Cosines of rows less their mean."""
    rows = rows.double() - rows.double().mean(0)
    return torch.nn.functional.normalize(rows, dim=1) @ torch.nn.functional.normalize(rows, dim=1).T


@pytest.mark.parametrize(
    "settings", [{}, {"scheme": "semantic", "shared": 3, "specific": 0}, {"apart": "code", "codes": 3}]
)
def test_codes_start_where_the_codebooks_lie(checkerboard: Any, settings: dict[str, Any]) -> None:
    """Both sides' codebooks are turned into the embeddings, which keep their angles.

    Words, and codes that tell apart, start at random.
    """
    split = Split(checkerboard.data)
    config, _ = run_training.settings_for("gensar-paper", "default", {**TINY, "code_width": 8, **settings})
    made = prepare(GenSARPaper, config, split, 0)
    assert isinstance(made, ItemCoder)
    model, again, cold = (
        run_training.new_model("gensar-paper", one, split, 0, made)
        for one in (config, config, dataclasses.replace(config, warm_codes=False))
    )
    assert isinstance(model, GenSARPaper)
    assert isinstance(cold, GenSARPaper)
    assert all(torch.equal(tensor, again.state()[name]) for name, tensor in model.state().items())
    table, other = model.t5.shared.weight.detach(), cold.t5.shared.weight.detach()
    assert torch.equal(table[: model.layout.blocks[0][0]], other[: model.layout.blocks[0][0]])
    places = 0
    for side, task in enumerate((1, 0)[: len(made.vectors)]):  # meaning is for search, behaviour for recommendation
        books = made.rqvae.books(side)
        for start, book in zip(model.layout.blocks[task], books, strict=False):
            rows = slice(start, start + len(book))
            assert torch.allclose(products(table[rows]), products(book), atol=1e-4)
            assert not torch.equal(other[rows], table[rows])  # few random rows may have similar angles by chance
            assert float(table[rows].square().mean()) == pytest.approx(float(other[rows].var()), rel=0.05)
            places += 1
        for start in model.layout.blocks[task][len(books) :]:
            assert torch.equal(table[start : start + 2], other[start : start + 2])
    assert places == (8 if not settings or "apart" in settings else 3)


# --- what it reads ---


@pytest.mark.parametrize("task", ["recommend", "search"])
def test_a_prompt_is_the_history_by_time_then_the_query(run: Run, task: Any) -> None:
    model, data = model_of(run), run.data
    requests = run.split.held_out(task, "test")
    ids, mask = model.prompts.users(held(run, task), task)
    queries = data.queries.texts.to_list()
    for row in range(len(requests)):
        user = requests.user[row]
        events: list[tuple[int, int, list[int]]] = []
        feed = range(data.interactions.offsets[user], requests.feed_end[row])
        events += [
            (int(data.interactions.time[place]), 0, identifier(model, int(data.interactions.item[place]), 0))
            for place in list(feed)[-model.config.feed :]
        ]
        asked = range(data.searches.offsets[user], requests.search_end[row])
        for place in list(asked)[-model.config.searches :]:
            text = [
                model.layout.query_mark,
                *words(model, queries[data.searches.query[place] - 1])[: model.config.query_tokens],
            ]
            found = data.searches.clicks.row(place)[:1].tolist()
            piece = [token for item in found for token in identifier(model, item, 1)]
            events.append((int(data.searches.time[place]), 1, text + piece))
        before, between = TEMPLATES[task][0]
        expected = words(model, before) + [
            token for _, _, tokens in sorted(events, key=lambda event: event[:2]) for token in tokens
        ]
        if task == "search":
            expected += [
                *words(model, between),
                model.layout.query_mark,
                *words(model, queries[requests.query[row] - 1]),
            ]
        assert ids[row][mask[row]].tolist() == expected
        assert not ids[row][~mask[row]].any()


def test_phrasings_are_drawn_in_training_and_the_first_one_serves(run: Run) -> None:
    model = model_of(again(run))
    batch = held(run, "recommend")
    first = [words(model, TEMPLATES["recommend"][n][0]) for n in range(3)]

    def begins() -> set[int]:
        ids, _ = model.prompts.users(batch, "recommend")
        return {n for row in ids.tolist() for n, phrase in enumerate(first) if row[: len(phrase)] == phrase}

    assert begins() == {0}
    model.train()
    assert begins() == {0, 1, 2}


def test_tasks_that_are_not_learned_ask_nothing(checkerboard: Any) -> None:
    split = Split(checkerboard.data)
    batches = {
        task: Batcher(checkerboard.data, Needs(feed=5, searches=5, search_clicks=1, queries=True)).batch(
            split.train(task)[:8]
        )
        for task in ("recommend", "search")
    }
    for tasks, others in ((["recommend"], {"search", "query_item"}), (["search"], {"recommend"})):
        config, _ = run_training.settings_for("gensar-paper", "default", {**_own(), "tasks": tasks})
        model = run_training.new_model("gensar-paper", config, split, 0)
        parts = set(model.loss(batches[tasks[0]]).parts)
        assert not any(part.endswith(other) for part in parts for other in others)
        assert f"describe_{tasks[0]}" in parts


def _own() -> dict[str, Any]:
    return {name: value for name, value in TINY.items() if name in GenSARPaper.Config.__dataclass_fields__}


# --- what it writes ---


def chances(model: GenSARPaper, ids: Tensor, mask: Tensor, task: Any) -> Tensor:
    """[B, I] by the library's whole forward pass, an identifier at a time.

    Each code among those that some item goes on with.
    """
    side = 0 if task == "recommend" else 1
    known = [identifier(model, item, side) for item in range(1, model.sizes.items + 1)]
    found = []
    for tokens in known:
        logits = model.t5(
            input_ids=ids, attention_mask=mask.long(), decoder_input_ids=torch.tensor(tokens[:-1]).expand(len(ids), -1)
        ).logits
        total = torch.zeros(len(ids))
        for place, token in enumerate(tokens[1:]):
            siblings = sorted({other[place + 1] for other in known if other[: place + 1] == tokens[: place + 1]})
            total += logits[:, place, siblings].log_softmax(1)[:, siblings.index(token)]
        found.append(total)
    return torch.stack(found, dim=1)


@pytest.mark.parametrize("task", ["recommend", "search"])
def test_scores_are_the_library_s_log_probabilities(run: Run, task: Any) -> None:
    model = model_of(run)
    batch = held(run, task, slice(6))
    items = torch.tensor([1, 7, 30, 140, 7])
    with torch.no_grad():
        expected = chances(model, *model.prompts.users(batch, task), task)
        scores = model.score(batch.with_candidates(items.expand(6, -1)))
    torch.testing.assert_close(scores, expected[:, items - 1], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(expected.exp().sum(1), torch.ones(6))
    loss = model.loss(dataclasses.replace(batch, target=items[:5].repeat(2)[:6])).parts[task]
    torch.testing.assert_close(loss, -expected[range(6), items[:5].repeat(2)[:6] - 1].mean(), atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_bfloat16_changes_scores_in_their_last_digits(run: Run) -> None:
    model = model_of(run)
    batch = held(run, "recommend", slice(6)).with_candidates(torch.arange(1, 9).expand(6, -1))
    exact, settings = model.score(batch), model.config
    try:
        model.config = dataclasses.replace(settings, bfloat16=True)
        near = model.train(False).score(batch)
    finally:
        model.config = settings
        model.train(False)
    assert not torch.equal(near, exact)
    torch.testing.assert_close(near, exact, atol=0.2, rtol=0)
    assert torch.equal(model.score(batch), exact)


@pytest.mark.parametrize("task", ["recommend", "search"])
def test_retrieval_equals_the_library_s_generate_with_a_prefix_callback(run: Run, task: Any) -> None:
    model = model_of(run)
    side = 0 if task == "recommend" else 1
    known = [identifier(model, item, side) for item in range(1, run.data.sizes.items + 1)]
    beams = 12

    def allowed(batch: int, given: Tensor) -> list[int]:
        so_far = given.tolist()
        return sorted({tokens[len(so_far)] for tokens in known if tokens[: len(so_far)] == so_far}) or [
            PAD
        ]  # of a beam that is dead

    batch = held(run, task, slice(5))
    ids, mask = model.prompts.users(batch, task)
    depth = len(model.layout.sizes)
    told = model.t5.generate(
        input_ids=ids,
        attention_mask=mask.long(),
        decoder_start_token_id=model.layout.mark(task),
        num_beams=beams,
        num_return_sequences=8,
        max_new_tokens=depth,
        min_new_tokens=depth,
        do_sample=False,
        length_penalty=0.0,
        prefix_allowed_tokens_fn=allowed,
        renormalize_logits=True,
        return_dict_in_generate=True,
        output_scores=True,
    )
    item_of = {tuple(tokens): item for item, tokens in enumerate(known, start=1)}
    expected = [[item_of[tuple(row)] for row in rows] for rows in told.sequences.view(5, 8, -1).tolist()]
    object.__setattr__(model, "config", dataclasses.replace(model.config, beam=beams))
    items, scores = model.retrieve(batch, 8)
    assert items.tolist() == expected
    torch.testing.assert_close(scores, told.sequences_scores.view(5, 8), atol=1e-4, rtol=1e-5)


def test_the_full_protocol_goes_by_what_is_retrieved(run: Run) -> None:
    model = model_of(run)
    requests = run.split.held_out("recommend", "test")
    rank, top = full_ranks(model, run.split, requests)
    assert set(rank.tolist()) <= {*range(1, RETRIEVED + 1), run.data.sizes.items}
    assert top.shape == (len(requests), 10)
    # A beam as wide as the catalogue ranks as all scores do.
    wide = again(run)
    object.__setattr__(wide.model, "config", dataclasses.replace(wide.model.config, beam=run.data.sizes.items))
    rank, _ = full_ranks(wide.model, run.split, requests)
    scores = wide.model.score(held(run, "recommend")).detach()
    click_history = run.data.click_history
    for row in range(len(requests)):
        target = int(requests.target[row])
        seen = click_history.item[click_history.offsets[requests.user[row]] : requests.click_end[row]]
        scores[row, [int(item) for item in seen if item != target]] = -torch.inf
    scores[:, 0] = -torch.inf
    expected = tie_rank(scores, torch.from_numpy(requests.target.astype(np.int64)))
    assert np.where(expected <= RETRIEVED, expected, run.data.sizes.items).tolist() == rank.tolist()


def test_suggestions_are_the_likeliest_of_the_known_queries(run: Run) -> None:
    model, data = model_of(run), run.data
    users = ["u0", "u3", "newcomer"]
    table = run.suggest(users, k=4, min_users=1)
    batch = Batcher(data, model.needs).batch(
        requests_at(data, "recommend", data.users.to_internal(users), np.full(3, NEVER))
    )
    ids, mask = model.prompts.users(batch, "query")
    queries = data.queries.texts.to_list()
    known = [[model.layout.query_mark, *words(model, query)[: model.config.query_tokens], EOS] for query in queries]
    total = torch.zeros(3, len(queries))
    with torch.no_grad():
        for row, tokens in enumerate(known):
            logits = model.t5(
                input_ids=ids, attention_mask=mask.long(), decoder_input_ids=torch.tensor(tokens[:-1]).expand(3, -1)
            ).logits
            for place, token in enumerate(tokens[1:]):
                siblings = sorted({other[place + 1] for other in known if other[: place + 1] == tokens[: place + 1]})
                total[:, row] += logits[:, place, siblings].log_softmax(1)[:, siblings.index(token)]
    best, order = total.topk(4, dim=1)
    assert table["user_id"].to_list() == [user for user in users for _ in range(4)]
    assert table["rank"].to_list() == [1, 2, 3, 4] * 3
    assert table["query"].to_list() == [queries[place] for place in order.flatten().tolist()]
    np.testing.assert_allclose(table["score"], best.flatten(), atol=1e-4)


def test_queries_of_too_few_users_are_not_suggested(run: Run) -> None:
    searches = run.data.searches
    asker = np.repeat(np.arange(len(searches.offsets) - 1), np.diff(searches.offsets))
    users = [len(set(asker[searches.query == query])) for query in range(1, run.data.sizes.queries + 1)]
    known = {text for text, count in zip(run.data.queries.texts.to_list(), users, strict=True) if count >= 8}
    assert set(run.suggest(["u0"], k=50, min_users=8)["query"]) == known
    assert run.suggest(["u0"], min_users=10_000).is_empty()
    assert run.suggest([]).columns == ["user_id", "rank", "query", "score"]


# --- items that come and go ---


def test_removed_items_are_never_given_and_new_ones_are_found_at_once(run: Run) -> None:
    fresh = again(run)
    before = fresh.search(["u0"], ["yoga mat"], k=140)
    first = before["item_id"][0]
    fresh.remove_items([first])
    fresh.add_items(
        [{"item_id": "mat-2", "title": "yoga mat deluxe"}, {"item_id": "mat-3", "title": "yoga mat deluxe"}]
    )
    after = fresh.search(["u0"], ["yoga mat"], k=141)
    assert first in set(before["item_id"])
    assert set(after["item_id"]) == (set(before["item_id"]) - {first}) | {"mat-2", "mat-3"}
    assert {"mat-2", "mat-3"} <= set(fresh.recommend(["u1"], k=141, seen=True)["item_id"])
    assert np.exp(before["score"]).sum() == pytest.approx(1, abs=1e-3)
    assert np.exp(after["score"]).sum() == pytest.approx(1, abs=1e-3), (
        "they compete with the new ones, and no longer with the old one"
    )
    codes = model_of(fresh).identifiers.codes
    assert not colliding(codes[0, 1:]).any()
    assert not colliding(codes[1, 1:]).any()
    fresh.remove_items(["mat-2"])
    assert "mat-2" not in set(fresh.search(["u0"], ["yoga mat"], k=141)["item_id"])


def test_a_new_item_has_the_identifier_of_its_words(run: Run) -> None:
    """The first codes of a title that is there already are that item's.

    Or those of the nearest free place beside it.
    """
    fresh = again(run)
    title = "yoga mat deluxe"
    fresh.add_items([{"item_id": "twin", "title": title}])
    codes = model_of(fresh).identifiers.codes[1]
    there = fresh.data.item_table["title"].to_list().index(title) + 1
    others = [item for item in range(1, 141) if item != there]
    common = (codes[:-1] == codes[-1]).cumprod(axis=1).sum(axis=1)
    assert common[there] >= np.mean(common[others])


def test_bad_new_items_are_refused_and_nothing_is_lost(run: Run) -> None:
    fresh = again(run)
    with pytest.raises(DataError, match="no title"):
        fresh.add_items([{"item_id": "a", "title": "thing"}, {"item_id": "b", "title": " "}])
    with pytest.raises(DataError, match="no item_id"):
        fresh.add_items([{"title": "thing"}])
    with pytest.raises(DataError, match="there already"):
        fresh.add_items([{"item_id": "feed00", "title": "thing"}])
    with pytest.raises(DataError, match="there already"):
        fresh.add_items([{"item_id": "a", "title": "thing"}, {"item_id": "a", "title": "thing"}])
    with pytest.raises(UnknownIdError, match="unknown item id 'nothing'"):
        fresh.remove_items(["nothing"])
    assert not fresh.new_items
    assert len(fresh.recommend(["u1"], k=140, seen=True)) == 140


def test_other_models_take_items_out_but_not_in(checkerboard: Any, tmp_path: Path) -> None:
    run = run_training.train("popular", checkerboard.data, tmp_path / "run")
    first = run.recommend(["u1"], k=1)["item_id"][0]
    run.remove_items([first])
    assert first not in set(run.recommend(["u1"], k=140, seen=True)["item_id"])
    with pytest.raises(SettingsError, match="popular cannot add items"):
        run.add_items([{"item_id": "a", "title": "thing"}])
    with pytest.raises(SettingsError, match="popular cannot suggest"):
        run.suggest(["u1"])


# --- what it is made of ---


@pytest.mark.parametrize("scheme", ["semantic", "collaborative", "bi-encoder"])
def test_other_schemes_have_one_identifier_for_both_tasks(checkerboard: Any, scheme: str) -> None:
    config, _ = run_training.settings_for("gensar-paper", "default", {**_own(), "scheme": scheme})
    model = run_training.new_model("gensar-paper", config, Split(checkerboard.data), 0)
    assert isinstance(model, GenSARPaper)
    assert torch.equal(model.codes[0], model.codes[1])
    assert model.layout.blocks[0] == model.layout.blocks[1]


def test_the_joint_scheme_shares_its_first_places_only(run: Run) -> None:
    model = model_of(run)
    assert model.layout.blocks[0][:2] == model.layout.blocks[1][:2]
    assert not set(model.layout.blocks[0][2:]) & set(model.layout.blocks[1][2:])
    assert torch.equal(model.codes[0, :, :2], model.codes[1, :, :2])
    assert not torch.equal(model.codes[0], model.codes[1])


def test_what_it_was_made_of_stands_in_the_run_folder_with_its_cut_off(
    run: Run, rewritten: Dataset, tmp_path: Path
) -> None:
    about = json.loads((run.folder / "artifacts" / "about.json").read_text(encoding="utf-8"))
    assert set(about["collisions"]) == {"semantic", "collaborative"}
    other = run_training.train("gensar-paper", rewritten, tmp_path / "run", **{**TINY, "epochs": 1})
    told = json.loads((other.folder / "artifacts" / "about.json").read_text(encoding="utf-8"))
    assert told["cutoff"] != about["cutoff"], "of other data"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small T5 with its tokenizer, saved as a hub would have it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(["yoga mat deluxe next item after filler thing feed find"] * 3, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(5)
    shape = T5Config(vocab_size=128, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=PAD)
    T5ForConditionalGeneration(shape).save_pretrained(folder)
    return folder


def test_a_checkpoint_is_taken_up_and_no_longer_needed(checkerboard: Any, checkpoint: Path, tmp_path: Path) -> None:
    from transformers import T5ForConditionalGeneration

    config, _ = run_training.settings_for("gensar-paper", "default", {**_own(), "pretrained": str(checkpoint)})
    model = run_training.new_model("gensar-paper", config, Split(checkerboard.data), 0)
    assert isinstance(model, GenSARPaper)
    told = T5ForConditionalGeneration.from_pretrained(checkpoint).state_dict()
    own = model.t5.state_dict()
    for name, tensor in told.items():
        assert torch.equal(own[name][: len(tensor)], tensor), name
    assert model.layout.first >= 128, "every code is a new token"
    moved = tmp_path / "moved"
    checkpoint.rename(moved)
    try:
        run = None
        with pytest.raises(DependencyError, match="cannot load the checkpoint"):
            new_t5(config, 200, start=128)
        moved.rename(checkpoint)
        run = run_training.train(
            "gensar-paper", checkerboard.data, tmp_path / "run", **{**TINY, "epochs": 1}, pretrained=str(checkpoint)
        )
        checkpoint.rename(moved)
        opened = read_run(run.folder, run.data, device="cpu")
        assert len(opened.search(["u1"], ["yoga mat"], k=3)) == 3
    finally:
        if moved.exists():
            moved.rename(checkpoint)


# --- the command line ---


def test_commands_answer_with_titles(run: Run, checkerboard: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    new = tmp_path / "new.jsonl"
    new.write_text('{"item_id": "mat-9", "title": "yoga mat 9"}\n', encoding="utf-8")
    folders = [str(run.folder), str(checkerboard.folder)]
    ask = CliRunner().invoke
    told = ask(app, ["recommend", *folders, "--user", "u1", "--user", "u2", "-k", "3", "--remove", "feed00", "--seen"])
    assert told.exit_code == 0, told.output
    assert [line for line in told.output.splitlines() if not line.startswith(" ")] == ["u1", "u2"]
    assert told.output.count("\n") == 8
    out = tmp_path / "found.json"
    told = ask(
        app, ["search", *folders, "yoga mat", "--user", "u1", "-k", "141", "--add", str(new), "--json", str(out)]
    )
    assert "mat-9        yoga mat 9" in told.output
    assert {row["item_id"] for row in json.loads(out.read_text())} >= {"mat-9", "feed00"}
    told = ask(app, ["suggest", *folders, "--user", "u1", "-k", "2", "--json", "-"])
    assert [row["rank"] for row in json.loads(told.output)] == [1, 2]
    pl.DataFrame({"item_id": ["x"]}).write_csv(tmp_path / "new.txt")
    told = ask(app, ["search", *folders, "yoga mat", "--user", "u1", "--add", str(tmp_path / "new.txt")])
    assert isinstance(told.exception, DataError)
    assert "not a table" in str(told.exception)
