"""Generative retrieval: constrained beam search against the library's generate().

And a training step against a bare T5 step.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from searec.data.dataset import load
from searec.data.split import Split
from searec.experiments.run_training import new_model, settings_for
from searec.models.gensar.code_heads import CodeHeads, CodeWriter
from searec.models.gensar.constrained_decoding import PromptWriter
from searec.models.gensar.paper import GenSARPaper
from searec.models.gensar.seq2seq_tasks import Seq2SeqTask
from searec.models.gensar.t5 import InferenceT5
from searec.nn.event_trunk import EventTrunk, Timeline
from searec.nn.sets import is_in
from searec.semantic_ids import beam
from searec.semantic_ids.trie import Trie
from searec.semantic_ids.user_code_table import SIDES
from searec.training.examples import TrainingExamples
from timing import line, paired, seconds

PLACES, CODES, BEAMS, EVENTS = 4, 256, 30, 50
PROMPT = 85
"""Tokens of a prompt with five feed clicks and five search sessions."""
SHAPES: dict[str, dict[str, Any]] = {
    "small": {
        "d_model": 128,
        "d_kv": 32,
        "d_ff": 256,
        "num_layers": 2,
        "num_heads": 4,
        "vocab_size": 4096 + 3 + 6 * CODES,
        "decoder_start_token_id": 0,
    },
    "t5-small": {
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_heads": 8,
        "vocab_size": 32128 + 3 + 6 * CODES,
        "decoder_start_token_id": 0,
    },
}
QUERIES = {"small": (64, 16), "t5-small": (16, 4)}
"""Queries a batch, ours and generate()'s; both are past the point where more help."""
_STEPS = 6


def _writer(t5: InferenceT5, ids: Tensor) -> PromptWriter:
    """Writes identifiers after prompts of a bare T5."""
    first = t5.model.config.vocab_size - PLACES * CODES
    heads = [(first + CODES * place, CODES) for place in range(PLACES)]
    return PromptWriter(t5, (ids, torch.ones_like(ids, dtype=torch.bool)), 0, heads)


class _EventForm:
    """Identifiers by the event trunk: 50 events of each user are read, then heads write the codes."""

    def __init__(self, shape: dict[str, Any], rows: int) -> None:
        width, inner, layers = shape["d_model"], shape["d_ff"], shape["num_layers"]
        self.trunk = EventTrunk(width, layers, shape["num_heads"], inner, 0.0, length=EVENTS).eval()
        self.heads = CodeHeads(width, inner, PLACES, PLACES * CODES).eval()
        self.table = torch.randn(PLACES * CODES, width) / width**0.5
        self.blocks = [slice(place * CODES, (place + 1) * CODES) for place in range(PLACES)]
        one = torch.ones(rows, EVENTS, dtype=torch.long)
        self.timeline = Timeline(one, 0 * one, one, one.cumsum(1), one.float(), 0 * one)
        self.content = torch.randn(rows, EVENTS, width) / width**0.5

    def search(self, trie: Trie) -> object:
        """The best identifiers of each user, the reading of the events included."""
        state = self.trunk(self.content, self.timeline)[:, -1]
        return beam.search(CodeWriter(self.heads, state, self.table, self.blocks), trie, BEAMS)


def decoding() -> None:
    """Queries/s of beam search among 20 thousand and a million identifiers.

    Random weights and identifiers, as both cost the same. `event_per_s` is of gensar's default form of the same width
    and layers.
    """
    from transformers import T5Config, T5ForConditionalGeneration

    for items in (20_000, 1_000_000):
        codes = np.unique(np.random.default_rng(0).integers(0, CODES, (round(items * 1.01), PLACES)), axis=0)[:items]
        started = time.perf_counter()
        trie = Trie.build(codes, np.arange(1, len(codes) + 1))
        built = {
            "items": len(codes),
            "trie_s": round(time.perf_counter() - started, 2),
            "trie_mib": round(trie.bytes / 2**20, 1),
        }
        for name, shape in SHAPES.items():
            torch.manual_seed(0)
            t5: Any = T5ForConditionalGeneration(T5Config(**shape)).eval()  # type: ignore[no-untyped-call]
            many, few = (torch.randint(2, 4000, (count, PROMPT)) for count in QUERIES[name])
            generate = _generate(t5, few, codes, t5.config.vocab_size - PLACES * CODES)

            plain, small = InferenceT5.of(t5), InferenceT5.of(t5, bfloat16=True)

            def ours(t5: InferenceT5 = plain, ids: Tensor = many, trie: Trie = trie) -> tuple[Tensor, Tensor]:
                return beam.search(_writer(t5, ids), trie, BEAMS)

            def free(t5: InferenceT5 = plain, ids: Tensor = many) -> object:
                return _unconstrained(_writer(t5, ids))

            ours_in_bfloat16 = functools.partial(ours, small)
            event_form = _EventForm(shape, len(many))
            with torch.no_grad():
                event_form.search(trie)
                event_s = min(seconds(functools.partial(event_form.search, trie)) for _ in range(5))
                agreement = _agreement(ours_in_bfloat16()[0], ours()[0])
                free()
                against_free = paired(ours, free, rounds=9)
                against_library, bfloat16 = paired(ours, generate), paired(ours_in_bfloat16, ours)
            rates = {
                "ours_per_s": len(many) / against_library["ours_s"],
                "generate_per_s": len(few) / against_library["theirs_s"],
                "event_per_s": len(many) / event_s,
            }
            ratios = {
                "ratio": round(rates["ours_per_s"] / rates["generate_per_s"], 1),
                "event_ratio": round(rates["event_per_s"] / rates["generate_per_s"], 1),
                "bfloat16_ratio": round(rates["ours_per_s"] * bfloat16["ratio"] / rates["generate_per_s"], 1),
                "bfloat16_top_10": agreement,
                "to_unconstrained": round(1 / against_free["ratio"], 3),
            }
            line(
                "constrained beam search against generate()",
                f"{name}, random",
                {
                    **built,
                    **{key: round(rate, 2) for key, rate in rates.items()},
                    **ratios,
                    "beams": BEAMS,
                    "prompt": PROMPT,
                },
            )


def _agreement(items: Tensor, others: Tensor) -> float:
    """Share of the ten best of each query that both searches give."""
    return round(float(is_in(items[:, :10], others[:, :10]).float().mean()), 4)


def _unconstrained(writer: PromptWriter) -> Tensor:
    """The same search without a trie: every code may follow every other."""
    total, codes, parent = torch.zeros(1, 1), None, None
    for _ in range(PLACES):
        value = (writer.step(codes, parent).log_softmax(2) + total[..., None]).flatten(1)
        total, pick = value.topk(BEAMS, dim=1)
        parent, codes = pick // CODES, pick % CODES
    return total


def _generate(t5: Any, ids: Tensor, codes: np.ndarray[Any, Any], first: int) -> Callable[[], object]:
    """The library's beam search with a prefix callback over nested dictionaries, the usual way to constrain it."""
    tree: dict[int, Any] = {}
    for row in (codes + first + CODES * np.arange(PLACES)).tolist():
        node = tree
        for token in row:
            node = node.setdefault(token, {})

    def allowed(batch: int, given: Tensor) -> list[int]:
        node = tree
        for token in given[1:].tolist():
            node = node.get(token, {})
        return list(node) or [0]

    def generate() -> object:
        return t5.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            num_beams=BEAMS,
            num_return_sequences=BEAMS,
            max_new_tokens=PLACES,
            min_new_tokens=PLACES,
            do_sample=False,
            length_penalty=0.0,
            prefix_allowed_tokens_fn=allowed,
        )

    return generate


def run(data: Path) -> None:
    """Print a training step's time, its data path included, beside the library's T5 on the same tokens."""
    dataset = load(data)
    split = Split(dataset)
    config, plan = settings_for("gensar-paper", "default", {"code_epochs": 2})
    assert plan is not None
    model = new_model("gensar-paper", config, split, 0).train()
    assert isinstance(model, GenSARPaper)
    examples = TrainingExamples(split, model, batch=plan.batch, seed=0)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    torch.manual_seed(0)
    groups = [model.training_tasks(examples.batch(0, step)) for step in range(_STEPS)]
    bare = [[_bare(model, one) for group in step for one in group] for step in groups]

    def ours() -> None:
        for step in range(_STEPS):
            model.loss(examples.batch(0, step)).total.backward()  # type: ignore[no-untyped-call]
            adam.step()
            adam.zero_grad()

    def theirs() -> None:
        for step in bare:
            torch.stack([model.t5(**one).loss for one in step]).sum().backward()  # type: ignore[no-untyped-call]
            adam.step()
            adam.zero_grad()

    seconds(ours)
    found = paired(ours, theirs, rounds=5)
    line("gensar training step against a bare T5 step", data, {**found, "steps": _STEPS, "batch": plan.batch})


def _bare(model: GenSARPaper, task: Seq2SeqTask) -> dict[str, Tensor]:
    """A task as the library's T5 takes it; its loss is over the whole vocabulary."""
    if task.is_token is None:
        assert task.task is not None
        labels = task.target + torch.tensor(model.layout.blocks[SIDES.index(task.task)])
    else:
        labels = task.target.masked_fill(~task.is_token, -100)
    mask = task.mask.long()
    return {"input_ids": task.ids, "attention_mask": mask, "decoder_input_ids": task.decoder_input, "labels": labels}
