"""Distillation: what is learned from and what is not, what is left as it was, and that a seed says it all."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from searec.config import as_dict, configure
from searec.distillation.distil import DistilSettings, distil, evaluate_student, require_new_folder, trained_users
from searec.distillation.fine_tuning import (
    FineTuningSettings,
    LengthGroupedSampler,
    Lora,
    fine_tune,
    new_trainer,
    tokens_of,
)
from searec.distillation.labels import Labels, make_labels
from searec.errors import DataError, DependencyError, Interrupted, RunError, SettingsError
from searec.interests.causal_lm import answer_ids, open_model, open_tokenizer
from searec.interests.profile import Profile
from searec.interests.reasoner import Reasoner
from searec.interests.reasoner_evaluation import Categories, evaluate_reasoning
from searec.interests.student_reasoner import FILE, StudentReasoner, StudentSettings

COURSE = FineTuningSettings(epochs=1, lr=1e-2, batch=4)
KEYS = ("input_ids", "attention_mask")


def changed(config: DistilSettings, **values: Any) -> DistilSettings:
    return configure(DistilSettings, values, base=config)


def weights(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.safetensors"))}


def test_the_loss_is_that_of_the_answers_alone(checkpoint: Path, lessons: Labels, tmp_path: Path) -> None:
    tokenizer, model = open_tokenizer(checkpoint), open_model(checkpoint)
    some = list(lessons.train[:5])
    rows = [tokens_of(tokenizer, one) for one in some]
    for row, one in zip(rows, some, strict=True):
        prompt = row["input_ids"][: row["completion_mask"].index(1)]
        assert tokenizer.decode(prompt, skip_special_tokens=True) == one.prompt
    trainer = new_trainer(model, tokenizer, some, [], tmp_path, FineTuningSettings(epochs=1, lr=1e-3, batch=5))
    [batch] = list(trainer.get_train_dataloader())
    asked = {tuple(row["input_ids"]): row["completion_mask"] for row in rows}
    for ids, labels, mask in zip(
        batch["input_ids"].tolist(), batch["labels"].tolist(), batch["attention_mask"].tolist(), strict=True
    ):
        length = sum(mask)
        answer = asked[tuple(ids[:length])]
        assert labels[:length] == [token if part else -100 for token, part in zip(ids, answer, strict=False)]
        assert labels[length - 1] == tokenizer.eos_token_id and set(labels[length:]) <= {-100}, (
            "the end is learned, padding is not"
        )
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.detach()
    each, own = -logits.log_softmax(-1), batch["labels"]
    counted = [each[row, place - 1, own[row, place]] for row, place in (own != -100).nonzero().tolist()]
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, dict(batch))
    assert loss.item() == pytest.approx(torch.stack(counted).mean().item(), rel=1e-5)


def test_labels_that_differ_in_their_prompts_have_the_same_targets(
    checkpoint: Path, lessons: Labels, tmp_path: Path
) -> None:
    tokenizer = open_tokenizer(checkpoint)
    label = lessons.train[0]
    other = replace(label, prompt=label.prompt.replace("shopper", "user"))
    first, second = tokens_of(tokenizer, label), tokens_of(tokenizer, other)
    trainer = new_trainer(open_model(checkpoint), tokenizer, [label, other], [], tmp_path, COURSE)
    learned = [[token for token in row["labels"] if token != -100] for row in trainer.train_dataset]
    assert first["input_ids"] != second["input_ids"]
    assert learned[0] == learned[1] == answer_ids(tokenizer, label.completion)


def test_batches_are_of_like_lengths_in_an_order_of_seed_and_epoch(
    checkpoint: Path, lessons: Labels, tmp_path: Path
) -> None:
    lengths = [int(one) for one in np.random.default_rng(0).integers(10, 400, 203)]
    order = LengthGroupedSampler(lengths, 10, seed=1)
    first = list(order)
    assert sorted(first) == list(range(203)) and list(order) == first and len(order) == 203
    spread = [np.ptp([lengths[row] for row in first[start : start + 10]]) for start in range(0, 200, 10)]
    assert max(spread) < 80, "of 390"
    starts = [lengths[first[start]] for start in range(0, 200, 10)]
    assert starts != sorted(starts), "short and long ones come mixed"
    order.set_epoch(1)
    assert list(order) != first and list(LengthGroupedSampler(lengths, 10, seed=2)) != first
    assert (
        list(LengthGroupedSampler(lengths[:7], 10, seed=1)) != list(range(7))
        and list(LengthGroupedSampler([], 10, seed=1)) == []
    )

    tokenizer = open_tokenizer(checkpoint)
    trainer = new_trainer(open_model(checkpoint), tokenizer, lessons.train, [], tmp_path, COURSE, seed=3)
    rows = [tokens_of(tokenizer, one)["input_ids"] for one in lessons.train]
    expected = LengthGroupedSampler([len(row) for row in rows], COURSE.batch, seed=3)
    loader = trainer.get_train_dataloader()
    for epoch in (0, 1):
        expected.set_epoch(epoch)
        loader.set_epoch(epoch)
        read = [
            ids[: sum(mask)] for batch in loader for ids, mask in zip(*(batch[k].tolist() for k in KEYS), strict=True)
        ]
        assert read == [rows[row] for row in expected]


def test_trl_itself_makes_the_same_tokens_of_these_texts(
    tiny_student: Path, checkpoint: Path, lessons: Labels, tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    tokenizer = open_tokenizer(tiny_student / "tokenizer")
    some = lessons.train[:4]
    ours = new_trainer(open_model(tiny_student / "base"), tokenizer, some, [], tmp_path / "a", COURSE)
    texts = Dataset.from_list([{"prompt": one.prompt, "completion": one.completion} for one in some])
    config = SFTConfig(
        output_dir=str(tmp_path / "b"),
        report_to="none",
        bf16=False,
        use_cpu=True,
        max_length=None,
        activation_checkpointing=False,
    )
    theirs = SFTTrainer(
        model=open_model(tiny_student / "base"), args=config, train_dataset=texts, processing_class=tokenizer
    )
    for name in ("input_ids", "labels"):
        assert list(ours.train_dataset[name]) == list(theirs.train_dataset[name])


def test_adapters_alone_are_trained_and_the_base_stays_bit_for_bit(
    checkpoint: Path, lessons: Labels, tmp_path: Path
) -> None:
    on_disk = {file.name: file.read_bytes() for file in checkpoint.iterdir()}
    model = open_model(checkpoint)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    done = fine_tune(
        model, open_tokenizer(checkpoint), lessons.train, [], tmp_path, COURSE, title="x", lora=Lora(rank=2, alpha=4)
    )
    taught = {name: one for name, one in done.model.named_parameters() if one.requires_grad}
    assert taught and all("lora_" in name for name in taught)
    assert all(one.any() for name, one in taught.items() if "lora_B" in name), "they start at zero"
    assert done.figures["trained"] == sum(one.numel() for one in taught.values())
    after = {name: one for name, one in done.model.get_base_model().named_parameters() if "lora_" not in name}
    assert {name.replace(".base_layer", "") for name in after} == set(before)
    assert all(torch.equal(one, before[name.replace(".base_layer", "")]) for name, one in after.items())
    assert {file.name: file.read_bytes() for file in checkpoint.iterdir()} == on_disk


def test_a_folder_is_whole_and_holds_no_pickle(tiny_student: Path, lessons: Labels, tiny: DistilSettings) -> None:
    names = {str(file.relative_to(tiny_student)) for file in tiny_student.rglob("*") if file.is_file()}
    assert names == {
        "student.json",
        "about.json",
        "log.jsonl",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "base/config.json",
        "base/generation_config.json",
        "base/model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "labels/train.jsonl",
        "labels/eval.jsonl",
        "labels/about.json",
        "labels/cutoff.json",
        "labels/cutoff.parquet",
    }
    assert not list(tiny_student.parent.glob("*.training"))
    told = json.loads((tiny_student / FILE).read_text())
    assert told["format"] == "interests-1" and told["teacher"] == {"name": "rules", "version": "1"}
    assert told["settings"] == as_dict(tiny) and told["base"]["made_here"] and told["figures"] is None
    assert told["labels"]["labels"]["train"] == len(lessons.train)
    about = json.loads((tiny_student / "about.json").read_text())
    assert "made here" in about["done"][0] and "no substitute for a real checkpoint" in about["done"][0]
    assert "LoRA adapters of rank 2" in about["done"][1]
    assert about["phases"]["base"]["trained"] == about["phases"]["base"]["weights"]
    assert about["phases"]["adapters"]["trained"] < about["phases"]["adapters"]["weights"] // 2
    assert {json.loads(line)["phase"] for line in (tiny_student / "log.jsonl").read_text().splitlines()} == {
        "base",
        "adapters",
    }
    assert Labels.load(tiny_student / "labels") == lessons
    assert (
        trained_users(tiny_student) == {one.user for one in lessons.train}
        and trained_users(tiny_student.parent) == set()
    )


def test_a_seed_says_it_all(
    tiny_student: Path, lessons: Labels, tiny: DistilSettings, tmp_path: Path, no_network: list[Any], capfd: Any
) -> None:
    random.random(), np.random.rand(), torch.rand(1)  # whatever was drawn before
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()
    again = distil(lessons, tmp_path / "again", tiny)
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.random.get_rng_state(), states[2])
    assert no_network == [], "nobody is told"
    assert capfd.readouterr().out == ""
    assert weights(again) == weights(tiny_student)
    assert StudentReasoner(again).version == StudentReasoner(tiny_student).version
    other = weights(distil(lessons, tmp_path / "other", tiny, seed=1))
    assert all(other[name] != one for name, one in weights(tiny_student).items())


@pytest.mark.parametrize(("steps", "phase"), [(2, "full"), (5, "full"), (9, "lora")])
def test_stopped_and_resumed_is_as_if_never_stopped(
    tiny_student: Path, lessons: Labels, tiny: DistilSettings, tmp_path: Path, steps: int, phase: str
) -> None:
    asked = iter(range(1000))
    with pytest.raises(Interrupted, match="stopped on request"):
        distil(lessons, tmp_path / "run", tiny, stopping=lambda: next(asked) == steps)
    work = tmp_path / "run.training"
    assert not (tmp_path / "run").exists() and list((work / phase).glob("checkpoint-*"))
    with pytest.raises(RunError, match="broken off"):
        distil(lessons, tmp_path / "run", tiny)
    with pytest.raises(RunError, match=r"made with other settings or labels; where: .*; got: settings"):
        distil(lessons, tmp_path / "run", changed(tiny, lr=1e-3), resume=True)
    with pytest.raises(RunError, match="got: labels"):
        distil(replace(lessons, train=lessons.train[1:]), tmp_path / "run", tiny, resume=True)
    went = []
    distil(lessons, tmp_path / "run", tiny, resume=True, stopping=lambda: bool(went.append(1)))
    assert len(went) == 12 - steps - 1 and not work.exists()
    assert weights(tmp_path / "run") == weights(tiny_student)
    assert distil(lessons, tmp_path / "run", tiny, resume=True) == tmp_path / "run", "nothing is left to do"
    with pytest.raises(RunError, match="not empty"):
        distil(lessons, tmp_path / "run", tiny)
    with pytest.raises(RunError, match="got: seed"):
        distil(lessons, tmp_path / "run", tiny, seed=1, resume=True)


def test_a_checkpoint_goes_the_same_way(
    checkpoint: Path,
    teacher: Reasoner,
    shoppers: Callable[[int], list[Profile]],
    lessons: Labels,
    tiny: DistilSettings,
    tmp_path: Path,
) -> None:
    config = changed(tiny, base=str(checkpoint), targets=["q_proj", "v_proj"], accumulate=2, checkpointing=True)
    before = {file.name: file.read_bytes() for file in checkpoint.iterdir()}
    folder = distil(lessons, tmp_path / "run", config)
    assert {file.name: file.read_bytes() for file in checkpoint.iterdir()} == before
    assert not (folder / "base").exists()
    told = json.loads((folder / FILE).read_text())
    assert told["base"] == {"name": str(checkpoint), "made_here": False, "digest": told["base"]["digest"]}
    assert "its weights are as they were" in json.loads((folder / "about.json").read_text())["done"][0]
    layers = json.loads((folder / "adapter" / "adapter_config.json").read_text())["target_modules"]
    assert layers == ["q_proj", "v_proj"]
    thoughts = teacher.infer(shoppers(40))
    found = evaluate_student(folder, thoughts, catalogue=Categories(("Apron",)))
    assert found.profiles == len(lessons.held)
    assert json.loads((folder / FILE).read_text())["figures"] == found.as_json()
    alone, taught = StudentReasoner(checkpoint)._opened.model, StudentReasoner(folder)._opened.model
    moved = {
        name
        for (name, one), other in zip(alone.named_parameters(), taught.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert moved == {f"model.layers.{layer}.self_attn.{name}_proj.weight" for layer in (0, 1) for name in "qv"}
    (checkpoint / "config.json").write_text(json.dumps({**json.loads(before["config.json"]), "rms_norm_eps": 1e-4}))
    try:
        with pytest.raises(RunError, match="base is not what"):
            StudentReasoner(folder)
    finally:
        (checkpoint / "config.json").write_bytes(before["config.json"])


def test_what_cannot_be_distilled_is_said_before_any_work(
    checkpoint: Path, lessons: Labels, tiny: DistilSettings, tmp_path: Path
) -> None:
    def refused(kind: type[Exception], match: str, labels: Labels = lessons, **values: Any) -> None:
        with pytest.raises(kind, match=match):
            distil(labels, tmp_path / str(len(match)), changed(tiny, **values))

    refused(DataError, r"no label is left to train on; got: .* too long", max_length=40)
    refused(DataError, "no label is left", labels=make_labels([], teacher="t", version="1"))
    refused(SettingsError, "heads must divide", heads=3)
    assert not list(tmp_path.glob("*.training"))
    refused(SettingsError, "no such layers", base=str(checkpoint), targets="nothing_proj")
    refused(DependencyError, "cannot load the checkpoint", base=str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="'rank'"):
        changed(tiny, rnk=3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(RunError, match="not empty"):
        require_new_folder(tmp_path / "full", resume=False)
    with pytest.raises(RunError, match="something else"):
        require_new_folder(tmp_path / "full", resume=True)


def test_a_label_longer_than_the_model_reads_is_refused(
    checkpoint: Path, lessons: Labels, tiny: DistilSettings, tmp_path: Path
) -> None:
    tokenizer = open_tokenizer(checkpoint)
    lengths = sorted(len(tokens_of(tokenizer, one)["input_ids"]) for one in (*lessons.train, *lessons.held))
    limit = lengths[len(lengths) // 2]
    folder = distil(lessons, tmp_path / "run", changed(tiny, base=str(checkpoint), max_length=limit))
    assert Labels.load(folder / "labels").refused["too long"] == sum(length > limit for length in lengths)


def test_a_student_comes_to_agree_with_its_teacher(
    teacher: Reasoner, shoppers: Callable[[int], list[Profile]], tiny: DistilSettings, tmp_path: Path
) -> None:
    """On users it has never seen; one with random weights says nothing that can be read."""
    thoughts = teacher.infer(shoppers(200))
    labels = make_labels(thoughts, teacher="rules", version="1", share=0.2)
    config = changed(tiny, width=64, layers=2, batch=16, base_lr=5e-3, base_epochs=10, vocabulary=2048)
    found = evaluate_student(
        distil(labels, tmp_path / "run", config), thoughts, catalogue=Categories(("Desk lamps", "Aprons"))
    )
    assert found.profiles == len(labels.held) >= 30
    assert (
        found.figures["answered"].value > 0.9
        and found.figures["f1"].value > 0.9
        and found.figures["after.2"].value > 0.99
    )
    assert found.tokens is not None and found.seconds
    about = json.loads((tmp_path / "run" / FILE).read_text())
    assert about["figures"]["figures"]["f1"]["value"] == found.figures["f1"].value

    lessons = [one for one in thoughts if one.profile.user in {label.user for label in labels.held}]
    fresh = distil(labels, tmp_path / "fresh", changed(config, base_epochs=1, base_lr=1e-9, lr=1e-9))
    untaught = evaluate_reasoning(
        StudentReasoner(fresh, StudentSettings(answer_tokens=120)).infer([one.profile for one in lessons]),
        teacher=lessons,
    )
    assert untaught.figures["f1"].value == 0 < found.figures["f1"].low
