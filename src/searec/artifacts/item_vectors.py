"""Vectors of items that identifiers are made of: by words, by who clicked them, or both in one (gensar.md)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from searec.config import Count, Positive, configure, settings
from searec.data.candidates import refuse_single_item
from searec.data.click_vectors import click_vectors
from searec.data.leakage.cutoff import Cutoff
from searec.data.schema import TASKS
from searec.data.split import Split
from searec.files import cache_folder, fingerprint
from searec.models import model_named
from searec.nn.learner import Learner
from searec.nn.losses import Losses
from searec.semantic_ids.code_config import IdentifierSettings
from searec.text.encoder import Encoder
from searec.training.checkpoint import FILE as CHECKPOINT
from searec.training.train_config import TrainConfig

Vectors = NDArray[np.float32]
_RECENT = 5


def item_vectors(split: Split, settings: IdentifierSettings, seed: int) -> list[Vectors]:
    """Return vectors [I, E] for each side that the scheme quantises, from training events of both tasks alone.

    Args:
        split: whose training events are read.
        settings: of the identifiers.
        seed: of what is trained.

    Raises:
        DependencyError: the sentence encoder is not installed.
        Interrupted: on request; the same call goes on.
    """
    if settings.scheme == "collaborative":
        return [collaborative(split, settings, seed)]
    semantic = Encoder(settings.encoder).encode(split.data.item_texts())
    if settings.scheme == "semantic":
        return [semantic]
    if settings.scheme == "bi-encoder":
        return [bi_encoded(split, semantic, settings, seed)]
    return [semantic, collaborative(split, settings, seed)]


def collaborative(split: Split, settings: IdentifierSettings, seed: int) -> Vectors:
    """Return vectors [I, E] of behaviour; those of items without training clicks say nothing.

    Args:
        split: whose training events are read.
        settings: of the identifiers.
        seed: of what is trained.
    """
    if settings.collaborative == "svd":
        refuse_single_item(split.data, "item identifiers")
        return click_vectors(split, settings.collaborative_width)
    return unisar_vectors(split, seed)


def unisar_vectors(split: Split, seed: int) -> Vectors:
    """Return item embeddings [I, D] of a unisar trained for both tasks; cached, and continued where interrupted.

    Args:
        split: whose training events are read.
        seed: of the training.
    """
    from searec.training.phases import run_phases

    kind = model_named("unisar")
    config = configure(kind.Config, kind.presets["default"])
    plan = configure(TrainConfig, {**kind.train_presets["default"], "seed": seed})
    made_of = Cutoff.of(split, TASKS)
    key = fingerprint("unisar-vectors-2", made_of.digest, repr(config), repr(plan))
    home = _home(f"unisar-{key}", made_of)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = kind(config, split.data.sizes)
    run_phases(model, split, home, plan, made_from={"cutoff": made_of.digest}, resume=(home / CHECKPOINT).is_file())
    return model.item_vectors[1:].cpu().float().numpy()  # type: ignore[no-any-return]


def _home(name: str, made_of: Cutoff) -> Path:
    """The cache folder of vectors that are trained, with what they are made of."""
    home = cache_folder() / "artifacts" / name
    home.mkdir(parents=True, exist_ok=True)
    made_of.save(home)
    return home


@dataclass(frozen=True)
class Pairs:
    """Pairs of what is known and what was clicked.

    query: [B] rows of query vectors, -1 for a recommendation. recent: [B, R] items, 0 pads. target: [B] item.
    """

    query: Tensor
    recent: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.target)

    def to(self, device: torch.device | str) -> "Pairs":
        """The pairs on another device."""
        return Pairs(self.query.to(device), self.recent.to(device), self.target.to(device))


class BiEncoder(Learner):
    """One tower of items, tuned to be near queries and near the clicks before them (arXiv 2508.10478).

    The sentence encoder stays frozen; a small network on top of each side is tuned.
    """

    items: Tensor
    queries: Tensor

    name = "bi-encoder"

    @settings
    class Config:
        """width: of the vectors. temperature: of the in-batch softmax."""

        width: Count = 128
        temperature: Positive = 0.07

    def __init__(self, config: Config, items: Tensor, queries: Tensor) -> None:
        super().__init__()
        self.config = config
        inside = items.shape[1]
        self.register_buffer("items", F.pad(items, (0, 0, 1, 0)), persistent=False)
        self.register_buffer("queries", queries, persistent=False)
        self.own = nn.Embedding(len(items) + 1, config.width, padding_idx=0)
        nn.init.normal_(self.own.weight, std=0.02)
        self.item_head = nn.Sequential(nn.Linear(inside, inside), nn.ReLU(), nn.Linear(inside, config.width))
        self.query_head = nn.Sequential(nn.Linear(inside, inside), nn.ReLU(), nn.Linear(inside, config.width))

    def embed(self, items: Tensor) -> Tensor:
        """[..., width] unit vectors of items."""
        return F.normalize(self.item_head(self.items[items]) + self.own(items), dim=-1)

    def loss(self, batch: Pairs) -> Losses:
        """In-batch softmax of each task's pairs; a row's own target elsewhere in the batch is no negative."""
        targets = self.embed(batch.target)
        has_query = batch.query >= 0
        present = batch.recent > 0
        recent = (self.embed(batch.recent) * present[..., None]).sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        known = torch.where(has_query[:, None], self.query_head(self.queries[batch.query.clamp(min=0)]), recent)
        logits = F.normalize(known, dim=1) @ targets.T / self.config.temperature
        same = batch.target[:, None] == batch.target
        logits = logits.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool, device=same.device), -torch.inf)
        each = F.cross_entropy(logits, torch.arange(len(logits), device=logits.device), reduction="none")
        parts = {
            name: each[rows].sum() / len(each) for name, rows in (("search", has_query), ("recommend", ~has_query))
        }
        return Losses(parts, dict.fromkeys(parts, 1.0))


class _PairExamples:
    """The bi-encoder's batches, both tasks mixed, in an order drawn for each epoch."""

    def __init__(self, split: Split, size: int, seed: int) -> None:
        data = split.data
        search, recommend = split.train("search"), split.train("recommend")
        ends = recommend.click_end
        first = np.maximum(data.click_history.offsets[recommend.user], ends - _RECENT)
        place = first[:, None] + np.arange(_RECENT)
        recent = np.where(
            place < ends[:, None],
            data.click_history.item.take(np.minimum(place, max(0, len(data.click_history.item) - 1))),
            0,
        )
        self.query = np.concatenate((search.query - 1, np.full(len(recommend), -1)))
        self.recent = np.concatenate((np.zeros((len(search), _RECENT), dtype=np.int64), recent))
        self.target = np.concatenate((search.target, recommend.target))
        self.size, self.seed = size, seed

    def steps(self, epoch: int) -> int:
        """Batches in an epoch."""
        return -(-len(self.target) // self.size)

    def batch(self, epoch: int, step: int, process: int, processes: int) -> Pairs:
        """One process's share of batch `step` of `epoch`."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.target))
        rows = np.array_split(order, self.steps(epoch))[step][process::processes]
        return Pairs(
            *(torch.from_numpy(column[rows].astype(np.int64)) for column in (self.query, self.recent, self.target))
        )


def bi_encoded(split: Split, semantic: Vectors, settings: IdentifierSettings, seed: int) -> Vectors:
    """Return item vectors [I, width] of a bi-encoder tuned on the training events of both tasks; cached.

    Args:
        split: whose training events are read.
        semantic: [I, E] vectors of the items' texts.
        settings: of the identifiers.
        seed: of the training.
    """
    from searec.training.loop import train

    plan = TrainConfig(epochs=10, batch=512, lr=1e-3, schedule="linear", patience=0, validate_every=10, seed=seed)
    config = configure(BiEncoder.Config)
    made_of = Cutoff.of(split, TASKS)
    made_from = json.dumps([settings.encoder, repr(config), repr(plan)])
    home = _home(f"bi-encoder-{fingerprint('bi-encoder-2', made_of.digest, made_from)}", made_of)
    queries = Encoder(settings.encoder).encode(split.data.queries.texts.to_list())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BiEncoder(config, torch.from_numpy(semantic), torch.from_numpy(queries))
    examples = _PairExamples(split, plan.batch, seed)
    _train(train, model, examples, home, plan, made_of)
    with torch.no_grad():
        return model.embed(torch.arange(1, split.data.sizes.items + 1, device=model.device)).cpu().numpy()


def _train(
    train: object, model: BiEncoder, examples: _PairExamples, home: Path, plan: TrainConfig, made_of: Cutoff
) -> None:
    held = examples.batch(plan.epochs, 0, 0, 1)

    def validate(learner: BiEncoder) -> dict[str, float]:
        return {"fit": -float(learner.loss(held.to(learner.device)).total)}

    about = {"cutoff": made_of.digest}
    train(model, examples, validate, home, plan, made_from=about, judge="fit", resume=(home / CHECKPOINT).is_file())  # type: ignore[operator]
