"""Student: a reasoner that is a local causal model, InterestGPT in the paper; its answers are read strictly."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from typing_extensions import override

from searec.config import Count, Natural, NonNegative, configure, settings
from searec.data.leakage.cutoff import Cutoff
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import DataError, RunError, SettingsError, optional_package
from searec.files import fingerprint
from searec.interests.causal_lm import (
    context_length,
    open_model,
    open_tokenizer,
    prompt_ids,
    weights_digest,
    without_warnings,
)
from searec.interests.interest_graph import InterestGraph
from searec.interests.profile import Profile
from searec.interests.reasoner import BuiltInReasoner, ReasoningResult
from searec.interests.reasoner_evaluation import RAW, TOKENS
from searec.interests.student_dialogue import FORMAT, Signals, read_answer, student_prompt
from searec.progress import progress

FILE = "student.json"
ADAPTER, BASE, TOKENIZER, LABELS = "adapter", "base", "tokenizer", "labels"
"""What a distilled student's folder holds; `base` only where the base was made there. The labels carry the cut-off."""
CUT_OFF, TOO_LONG = "the answer was cut off", "the prompt is too long for the model"


@settings
class StudentSettings:
    """Settings of inference.

    batch: profiles at once. answer_tokens: most tokens of an answer, within the model's context. interests: the most
    confident ones stay. temperature: 0 for the likeliest token; above, drawn from `seed`, and an answer depends on its
    batch. device: "auto" takes an accelerator if there is one.
    """

    batch: Count = 32
    answer_tokens: Count = 512
    interests: Count = 10
    temperature: NonNegative = 0.0
    seed: Natural = 0
    device: str = "auto"


@dataclass(frozen=True)
class LoadedStudent:
    """A causal model with its tokenizer, in the state to write, and a digest of its weights."""

    model: Any
    tokenizer: Any
    digest: str


class StudentReasoner(BuiltInReasoner):
    """A local causal model as a reasoner.

    The transcript of a result is one object: `answer`, its number of `tokens`, and `raw`, interests before the rule of
        novelty.

    Args:
        model: a folder that `distil` wrote; or a causal model alone, by folder or hub id, that answers in the same
            format.
        settings: of inference.

    Raises:
        RunError: the folder is damaged or of another prompt format, or its base is not what it was made on.
        DependencyError: transformers or peft is not installed, or the base cannot be had.
    """

    name = "student"

    def __init__(self, model: Path | str, settings: StudentSettings | None = None) -> None:
        self.settings = settings or StudentSettings()
        self._folder = Path(model)
        self._opened = load_student(model, self.settings.device)
        said = [self.settings.answer_tokens, self.settings.interests, self.settings.temperature]
        drawn = [self.settings.seed, self.settings.batch] if self.settings.temperature else []
        self._version = fingerprint(FORMAT, self._opened.digest, json.dumps([*said, *drawn]))

    @classmethod
    @override
    def open(cls, split: Split, tasks: Sequence[Task], options: Mapping[str, str]) -> Self:
        values = dict(options)
        if not values.get("model"):
            got = ", ".join(values)
            raise SettingsError("a student needs its folder", where="student", got=got, remedy="give model=RUN")
        return cls(values.pop("model"), configure(StudentSettings, values, where="student reasoner"))

    @property
    def made_of(self) -> Cutoff | None:
        """The events that its labels rest on; None for a causal model alone.

        Raises:
            LeakError: the cut-off is missing or was changed.
        """
        return Cutoff.load(self._folder / LABELS) if (self._folder / FILE).is_file() else None

    @property
    def version(self) -> str:
        """32 hex digits over weights, prompt format and the settings that change answers."""
        return self._version

    @override
    def infer(self, profiles: Sequence[Profile]) -> list[ReasoningResult]:
        thoughts: list[ReasoningResult | None] = [None] * len(profiles)
        prompts: list[tuple[int, list[int]]] = []
        for row, profile in enumerate(profiles):
            if not Signals.of(profile).texts:
                thoughts[row] = ReasoningResult(profile, InterestGraph(profile.user, profile.at, (), self._made))
                continue
            ids = prompt_ids(self._opened.tokenizer, student_prompt(profile))
            if len(ids) >= context_length(self._opened.model):
                thoughts[row] = ReasoningResult(profile, None, TOO_LONG)
            else:
                prompts.append((row, ids))
        prompts.sort(key=lambda one: -len(one[1]))  # similar lengths for less padding, the longest first for memory
        with self._drawing(), progress("Student", len(prompts)) as advance:
            for start in range(0, len(prompts), self.settings.batch):
                block = prompts[start : start + self.settings.batch]
                for (row, _), (ids, ended) in zip(block, self._answers([ids for _, ids in block]), strict=True):
                    thoughts[row] = self._thought(profiles[row], ids, ended)
                advance(len(block), "")
        return [thought for thought in thoughts if thought is not None]

    @property
    def _made(self) -> dict[str, Any]:
        return {"reasoner": self.name, "version": self.version}

    def _thought(self, profile: Profile, ids: list[int], ended: bool) -> ReasoningResult:
        answer = self._opened.tokenizer.decode(ids, skip_special_tokens=True)
        said: dict[str, object] = {"answer": answer, TOKENS: len(ids) + ended}
        if not ended:
            return ReasoningResult(profile, None, CUT_OFF, (said,))
        try:
            graph = read_answer(answer, profile, self._made)
        except DataError as error:
            return ReasoningResult(profile, None, error.what, ({**said, "error": str(error)},))
        said[RAW] = [one.text for one in graph.interests()]
        return ReasoningResult(profile, graph.novel(profile).top(self.settings.interests), transcript=(said,))

    def _answers(self, prompts: list[list[int]]) -> list[tuple[list[int], bool]]:
        """Return the tokens of each answer, and whether it is complete."""
        import torch
        from transformers import GenerationConfig

        model, tokenizer = self._opened.model, self._opened.tokenizer
        longest = max(map(len, prompts))
        pad = tokenizer.pad_token_id
        ids = torch.tensor(
            [[pad] * (longest - len(one)) + one for one in prompts], device=model.device
        )  # [B, L], padded on the left
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts], device=model.device)
        ends = sorted({tokenizer.eos_token_id, *_listed(model.generation_config.eos_token_id)})
        limit = min(self.settings.answer_tokens, context_length(model) - longest)
        drawn = (
            {"do_sample": True, "temperature": self.settings.temperature}
            if self.settings.temperature
            else {"do_sample": False}
        )
        config = GenerationConfig(max_new_tokens=limit, pad_token_id=pad, eos_token_id=ends, **drawn)  # type: ignore[no-untyped-call]
        with torch.inference_mode():
            written = model.generate(ids, attention_mask=mask, generation_config=config)[:, longest:].tolist()
        return [_until(row, ends) for row in written]

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Draw from the settings' seed and restore the global generator."""
        import torch

        if not self.settings.temperature:
            yield
            return
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.seed)
            yield


def load_student(model: Path | str, device: str = "auto") -> LoadedStudent:
    """Load a distilled student, its adapters merged into the base; or a causal model alone.

    Args:
        model: folder or hub id.
        device: "auto" is an accelerator if there is one.

    Raises:
        RunError: as `StudentReasoner`.
    """
    folder = Path(model)
    if not (folder / FILE).is_file():
        base_model = open_model(model, device=device)
        return _ready(base_model, open_tokenizer(model), base_digest(model, base_model))
    try:
        about = json.loads((folder / FILE).read_text(encoding="utf-8"))
        form, base = about["format"], about["base"]
        place: Path | str = folder / BASE if base["made_here"] else base["name"]
        digest = base["digest"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(
            "the student is damaged", where=folder / FILE, got=repr(error)[:200], remedy="distil it again"
        ) from error
    if form != FORMAT:
        what, remedy = "the student answers in another prompt format", "distil it again"
        raise RunError(what, where=folder, got=form, expected=FORMAT, remedy=remedy)
    import torch

    with optional_package("a student needs peft", "distil"):
        from peft import PeftModel
    base_model = open_model(place, device=device)
    if (present := base_digest(place, base_model)) != digest:
        raise RunError("the base is not what the student was made on", where=place, got=present, expected=digest)
    try:
        with without_warnings(), torch.random.fork_rng():  # adapters draw a start before they are read
            tuned: Any = PeftModel.from_pretrained(base_model, str(folder / ADAPTER))
    except (OSError, ValueError, RuntimeError) as error:
        raise RunError(
            "the student's adapter is damaged", where=folder / ADAPTER, got=str(error).splitlines()[0]
        ) from error
    merged = tuned.merge_and_unload()
    both = fingerprint(digest, weights_digest(folder / ADAPTER), weights_digest(folder / TOKENIZER))
    return _ready(merged, open_tokenizer(folder / TOKENIZER), both)


def base_digest(place: Path | str, model: Any) -> str:
    """Return what identifies a base: a digest of its files, or the hub's of the version.

    Args:
        place: folder or hub id.
        model: the loaded base.
    """
    if Path(place).is_dir():
        return weights_digest(Path(place))
    return str(getattr(model.config, "_commit_hash", None) or place)


def _ready(model: Any, tokenizer: Any, digest: str) -> LoadedStudent:
    from transformers import GenerationConfig

    ends = _listed(model.generation_config.eos_token_id)
    model.generation_config = GenerationConfig(eos_token_id=ends or None)  # type: ignore[no-untyped-call]  # without a chat's penalties
    return LoadedStudent(model.eval(), tokenizer, digest)


def _listed(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)


def _until(row: list[int], ends: list[int]) -> tuple[list[int], bool]:
    """Return the tokens before the first end, and whether there is one.

    >>> _until([5, 6, 1, 0, 0], [1]), _until([5, 6], [1])
    (([5, 6], True), ([5, 6], False))
    """
    place = next((number for number, token in enumerate(row) if token in ends), None)
    return (row, False) if place is None else (row[:place], True)
