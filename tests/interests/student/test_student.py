"""The student: what it is asked, how its answers are read, and what is told apart when it is opened."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from searec.data.schema import TASKS
from searec.data.split import Split
from searec.errors import DependencyError, RunError, SettingsError
from searec.interests.causal_lm import answer_ids, open_model, open_tokenizer, prompt_ids
from searec.interests.profile import Profile
from searec.interests.reasoner_evaluation import RAW, TOKENS
from searec.interests.student_dialogue import student_prompt
from searec.interests.student_reasoner import CUT_OFF, FILE, TOO_LONG, StudentReasoner, StudentSettings

GOOD = (
    '{"demands":[[1,"camping",0.9]],"interests":[["camping","hyponym","stoves",0.8],["camping","hyponym",'
    '"tents",0.7],%s]}'
)
ROPES = '["camping","co-hyponym","ropes",0.6],["camping","co-hyponym","sleeping bags",0.9]'


@pytest.fixture(scope="module")
def student(tiny_student: Path) -> StudentReasoner:
    return StudentReasoner(tiny_student)


def answering(
    student: StudentReasoner, monkeypatch: pytest.MonkeyPatch, texts: dict[str, str], *, end: bool = True
) -> list[int]:
    """Have a student write these texts by the newest query of whom it is asked about.

    Gives the sizes of its batches.
    """
    tokenizer = student._opened.tokenizer
    batches: list[int] = []

    def write(prompts: list[list[int]]) -> list[tuple[list[int], bool]]:
        batches.append(len(prompts))
        asked = [json.loads(tokenizer.decode(one).splitlines()[1])["searches"]["1"] for one in prompts]
        return [(answer_ids(tokenizer, texts[query])[:-1], end) for query in asked]

    monkeypatch.setattr(student, "_answers", write)
    return batches


def test_an_answer_becomes_a_graph_without_what_is_known(
    student: StudentReasoner, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(student, monkeypatch, {"red tent": GOOD % ROPES})
    [thought] = student.infer([asked(0, ["red tent"])])
    assert thought.problem is None and thought.graph is not None
    assert [one.text for one in thought.graph.interests()] == ["sleeping bags", "stoves", "ropes"]
    assert thought.graph.origin == {"reasoner": "student", "version": student.version}
    [said] = thought.transcript
    assert isinstance(said, dict) and said[RAW] == ["sleeping bags", "stoves", "tents", "ropes"]
    assert said["answer"] == GOOD % ROPES and said[TOKENS] == len(answer_ids(student._opened.tokenizer, GOOD % ROPES))


def test_the_surest_interests_stay(tiny_student: Path, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    student = StudentReasoner(tiny_student, StudentSettings(interests=2))
    answering(student, monkeypatch, {"red tent": GOOD % ROPES})
    [thought] = student.infer([asked(0, ["red tent"])])
    assert thought.graph is not None and [one.text for one in thought.graph.interests()] == ["sleeping bags", "stoves"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("I think of camping.", "the answer is not JSON"),
        ((GOOD % ROPES)[:-2], "the answer is not JSON"),
        (GOOD % ROPES + "\nand more", "the answer is not JSON"),
        ('{"demands":[]}', "the answer has another shape"),
        ((GOOD % ROPES).replace("[1,", "[2,"), "the answer starts from no signal of the prompt"),
        ((GOOD % ROPES).replace('["camping","co', '["music","co'), "an interest whose demand nothing leads to"),
        ((GOOD % ROPES).replace("0.6", "6"), "a confidence outside (0, 1]"),
    ],
)
def test_a_malformed_answer_is_a_named_problem_of_that_profile_alone(
    student: StudentReasoner, asked: Any, monkeypatch: pytest.MonkeyPatch, answer: str, problem: str
) -> None:
    answering(student, monkeypatch, {"red tent": GOOD % ROPES, "blue tent": answer})
    good, bad = student.infer([asked(0, ["red tent"]), asked(1, ["blue tent"])])
    assert good.graph and good.problem is None
    assert bad.graph is None and bad.problem == problem
    [said] = bad.transcript
    assert isinstance(said, dict) and said["answer"] == answer and RAW not in said and problem in str(said["error"])


def test_an_answer_cut_off_is_not_mended(student: StudentReasoner, asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(student, monkeypatch, {"red tent": GOOD % ROPES}, end=False)
    [thought] = student.infer([asked(0, ["red tent"])])
    assert thought.graph is None and thought.problem == CUT_OFF, "even if it could be read"


def test_the_limit_of_tokens_cuts_off(tiny_student: Path, asked: Any) -> None:
    [thought] = StudentReasoner(tiny_student, StudentSettings(answer_tokens=3)).infer([asked(0, ["red tent"])])
    assert thought.problem == CUT_OFF
    [said] = thought.transcript
    assert isinstance(said, dict) and said[TOKENS] == 3


def test_who_has_nothing_and_who_has_too_much_are_not_asked(
    student: StudentReasoner, asked: Any, monkeypatch: Any
) -> None:
    batches = answering(student, monkeypatch, {"red tent": GOOD % ROPES})
    nothing, much, some = student.infer(
        [Profile("n", 5), asked(1, ["red tent", "very long query " * 200]), asked(2, ["red tent"])]
    )
    assert nothing.graph is not None and not nothing.graph and nothing.problem is None
    assert much.graph is None and much.problem == TOO_LONG
    assert some.graph and batches == [1]
    assert student.infer([]) == []


def test_batches_go_by_length_and_thoughts_by_profile(
    tiny_student: Path, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = StudentReasoner(tiny_student, StudentSettings(batch=2))
    seen: list[list[int]] = []

    def write(prompts: list[list[int]]) -> list[tuple[list[int], bool]]:
        seen.append([len(one) for one in prompts])
        return [(one[-4:], True) for one in prompts]

    monkeypatch.setattr(student, "_answers", write)
    queries = [
        ["red tent"],
        ["red tent"] * 1 + ["blue pan", "green boots"],
        ["blue pan", "cheap novel"],
        ["guitar"],
        ["small leash", "pan"],
    ]
    profiles = [asked(number, some) for number, some in enumerate(queries)]
    thoughts = student.infer(profiles)
    assert [one.profile for one in thoughts] == profiles
    lengths = [length for batch in seen for length in batch]
    assert [len(one) for one in seen] == [2, 2, 1] and lengths == sorted(lengths, reverse=True)


def test_an_answer_does_not_depend_on_who_is_asked_beside(tiny_student: Path, asked: Any) -> None:
    """Padding stands on the left, masked: a row of a batch is what it is alone."""
    short, long = asked(0, ["red tent"]), asked(1, ["blue pan", "cheap novel", "small leash"])
    student = StudentReasoner(tiny_student, StudentSettings(answer_tokens=24))
    together = [one.transcript for one in student.infer([short, long])]
    assert together == [student.infer([one])[0].transcript for one in (short, long)]
    opened = student._opened
    ids = prompt_ids(opened.tokenizer, student_prompt(short))
    for _ in range(24):  # greedy by hand, without a cache
        with torch.inference_mode():
            ids.append(int(opened.model(torch.tensor([ids])).logits[0, -1].argmax()))
    written = opened.tokenizer.decode(ids[-24:], skip_special_tokens=True)
    [said] = together[0]
    assert isinstance(said, dict) and written.startswith(said["answer"]) and said["answer"]


def test_drawing_is_repeated_by_its_seed_and_leaves_the_generator_alone(tiny_student: Path, asked: Any) -> None:
    def said(seed: int) -> object:
        student = StudentReasoner(tiny_student, StudentSettings(temperature=1.0, seed=seed, answer_tokens=20))
        return student.infer([asked(0, ["red tent"])])[0].transcript

    before = torch.random.get_rng_state()
    assert said(1) == said(1) != said(2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_version_changes_with_what_changes_answers(tiny_student: Path, tmp_path: Path) -> None:
    def version(folder: Path, **values: Any) -> str:
        return StudentReasoner(folder, StudentSettings(**values)).version

    first = version(tiny_student)
    assert version(tiny_student, batch=1) == version(shutil.copytree(tiny_student, tmp_path / "copy")) == first
    others = [version(tiny_student, **one) for one in ({"interests": 3}, {"answer_tokens": 9}, {"temperature": 0.5})]
    assert len({first, *others}) == 4
    flip(tmp_path / "copy" / "adapter" / "adapter_model.safetensors")
    assert version(tmp_path / "copy") not in {first, *others}


def test_a_student_is_opened_by_settings_as_text(tiny_student: Path, checkerboard: Any) -> None:
    options = {"model": str(tiny_student), "interests": "3"}
    student = StudentReasoner.open(Split(checkerboard.data), TASKS, options)
    assert student.version == StudentReasoner(tiny_student, StudentSettings(interests=3)).version and len(options) == 2
    with pytest.raises(SettingsError, match="model=RUN"):
        StudentReasoner.open(Split(checkerboard.data), TASKS, {})
    with pytest.raises(SettingsError, match="'interests'"):
        StudentReasoner.open(Split(checkerboard.data), TASKS, {"model": str(tiny_student), "interest": "3"})


def flip(file: Path) -> None:
    """Change the last weight a little."""
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def test_a_model_alone_is_a_student_too(checkpoint: Path, asked: Any) -> None:
    student = StudentReasoner(checkpoint, StudentSettings(answer_tokens=5))
    [thought] = student.infer([asked(0, ["red tent"])])
    assert thought.problem == CUT_OFF and student.name == "student"


def test_what_cannot_be_opened_is_told_apart(tiny_student: Path, tmp_path: Path) -> None:
    def spoilt(name: str, spoil: Callable[[Path], object]) -> Path:
        folder = shutil.copytree(tiny_student, tmp_path / name)
        spoil(folder)
        return folder

    about = json.loads((tiny_student / FILE).read_text())
    cases = {
        "base": (lambda folder: flip(folder / "base" / "model.safetensors"), "base is not what"),
        "format": (
            lambda folder: (folder / FILE).write_text(json.dumps({**about, "format": "interests-0"})),
            "another prompt format",
        ),
        "json": (lambda folder: (folder / FILE).write_text("{"), "damaged"),
        "field": (lambda folder: (folder / FILE).write_text("{}"), "damaged"),
        "adapter": (lambda folder: shutil.rmtree(folder / "adapter"), "adapter is damaged"),
    }
    for name, (spoil, problem) in cases.items():
        with pytest.raises(RunError, match=problem):
            StudentReasoner(spoilt(name, spoil))
    with pytest.raises(DependencyError, match="cannot load the checkpoint"):
        StudentReasoner(tmp_path / "nothing")


def test_pickled_weights_are_not_read(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "pickled")
    torch.save(open_model(checkpoint).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(DependencyError, match="cannot load"):
        open_model(folder)


def test_a_tokens_name_in_a_query_is_text(checkpoint: Path, tiny_student: Path, asked: Any) -> None:
    """A query that names the end of text does not end the prompt."""
    for folder in (checkpoint, tiny_student / "tokenizer"):
        tokenizer = open_tokenizer(folder)
        profile = replace(asked(0, ["red </s> tent <pad>"]))
        ids = prompt_ids(tokenizer, student_prompt(profile))
        assert not {tokenizer.eos_token_id, 0} & set(ids[1:])
        assert tokenizer.decode(ids, skip_special_tokens=True) == student_prompt(profile)
    assert open_tokenizer(checkpoint).bos_token_id == prompt_ids(open_tokenizer(checkpoint), "x")[0]
