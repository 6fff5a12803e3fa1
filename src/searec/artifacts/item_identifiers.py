"""Item identifiers from a dataset, with a tokenizer and texts to learn the identifiers from.

They are cached by what they were made from; the RQ-VAE continues from its checkpoint where it was interrupted.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from searec.artifacts.base import ABOUT, Artifact, cached_folder, own_settings, written
from searec.artifacts.identifier_training import (
    TASK_OF_SIDE,
    behaviour_of_nearest,
    identify,
    learn,
    new_rqvae,
    with_behaviour,
)
from searec.artifacts.item_vectors import Vectors, item_vectors
from searec.artifacts.new_items import texts_of
from searec.artifacts.pseudo_queries import VERSION as PSEUDO_VERSION
from searec.artifacts.pseudo_queries import from_words, pseudo_queries
from searec.config import configure
from searec.data.dataset import Dataset
from searec.data.leakage.checks import bounds, clicks_of
from searec.data.leakage.cutoff import Cutoff
from searec.data.leakage.findings import Finding, event_at, row_at
from searec.data.ragged import Ragged
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.errors import DataError, RunError
from searec.files import fingerprint, replacing
from searec.models.gensar.item_corpus import ItemCorpus
from searec.models.gensar.prompt_templates import TEMPLATE_TEXTS
from searec.models.growth import Growth
from searec.semantic_ids.code_config import IdentifierSettings
from searec.semantic_ids.identifiers import Identifiers, free_codes
from searec.semantic_ids.item_rqvae import ItemRQVAE
from searec.semantic_ids.user_code_table import SIDES
from searec.text.encoder import Encoder
from searec.text.tokenizer import Tokens
from searec.training.checkpoint import read_tensors, write_tensors
from searec.training.processes import first_process
from searec.training.training_log import FILE as LOG

VERSION = "items-4"
"""Changes with every change to what is made here from the same input."""
_IDENTIFIERS, _WEIGHTS, _TOKENS = "identifiers.safetensors", "rqvae.safetensors", "tokenizer.json"
_OF_TEXTS = ("vocabulary", "pretrained", "doc2query", "pseudo_queries")
_QUERIES, _VECTORS = "pseudo_queries.parquet", "vectors_{}.npy"


@dataclass(frozen=True)
class ItemCoder(Artifact):
    """What makes identifiers of items, now and for items that come later, and what a generative model learns them from.

    Attributes:
        vectors: [I, E] of each side, as quantised.
        queries: distinct pseudo-queries.
        of_item: which of them each item has.
    """

    noun = "item identifiers"
    folder: Path
    settings: IdentifierSettings
    identifiers: Identifiers
    rqvae: ItemRQVAE
    tokens: Tokens | None  # of a model that reads and writes texts
    vectors: Sequence[NDArray[np.floating[Any]]]
    queries: list[str]
    of_item: Ragged

    @classmethod
    @override
    def make(cls, split: Split, tasks: Sequence[Task], config: Any, *, seed: int = 0) -> "ItemCoder":
        """Make identifiers of every item from the training events of both tasks, or read them from the cache.

        Args:
            split: whose training events they are made from.
            tasks: not used; identifiers serve both tasks.
            config: a generative model's `IdentifierSettings`, and of one that reads and writes texts vocabulary,
                pretrained, doc2query and pseudo_queries.
            seed: of the RQ-VAE's weights and batches, and of what else is trained or drawn.

        Raises:
            DependencyError: the sentence encoder or transformers is not installed, or a checkpoint cannot be had.
            Interrupted: on request; the same call goes on.
        """
        chosen = own_settings(config, IdentifierSettings)
        texts = {name: getattr(config, name) for name in _OF_TEXTS if hasattr(config, name)}
        made_of = Cutoff.of(split, TASKS)
        made_from = (VERSION, PSEUDO_VERSION, made_of.digest, str(seed), json.dumps([chosen, texts], sort_keys=True))
        home = cached_folder("items", *made_from)
        if home.is_dir():
            return cls.load(home)
        settings = configure(IdentifierSettings, chosen)
        sides = item_vectors(split, settings, seed)
        rqvae = new_rqvae(settings, [side.shape[1] for side in sides], seed)
        quantised = with_behaviour(sides) if settings.quantiser == "k-means" and len(sides) == 2 else sides
        if settings.code_standardise:
            rqvae.standardise(quantised)
        work = home.with_name(f"{home.name}.training")
        explained = learn(rqvae, quantised, settings, seed, work)
        identifiers = identify(rqvae, quantised, settings)
        tokens, queries, of_item = cls._texts(split, texts, seed) if texts else (None, [], _no_queries(split.data))
        about = {
            "made": VERSION,
            "cutoff": made_of.digest,
            "data": split.data.fingerprint,
            "unseen": split.unseen,
            "seed": seed,
            "vector_widths": [side.shape[1] for side in sides],
            "settings": chosen,
            "texts": texts,
            "explained": explained,
            **identifiers.about,
        }
        if first_process():
            with written(home, work) as beside:
                identifiers.save(beside / _IDENTIFIERS)
                write_tensors(beside / _WEIGHTS, rqvae.state())
                for side, rows in enumerate(sides):
                    np.save(beside / _VECTORS.format(side), rows.astype(np.float16))
                if tokens is not None:
                    (beside / _TOKENS).write_text(tokens.text, encoding="utf-8")
                pl.DataFrame(
                    {"query": [[queries[place] for place in of_item.row(item)] for item in range(len(of_item))]}
                ).write_parquet(beside / _QUERIES)
                if (work / LOG).exists():
                    shutil.copy(work / LOG, beside / LOG)
                made_of.save(beside)
                (beside / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return cls.load(home)

    @staticmethod
    def _texts(split: Split, settings: Mapping[str, Any], seed: int) -> tuple[Tokens, list[str], Ragged]:
        """The tokenizer, the distinct pseudo-queries, and which of them each item has."""
        words = split.data.item_texts()
        model, count = settings["doc2query"], settings["pseudo_queries"]
        queries, of_item = pseudo_queries(split.data.item_table, words, model=model, count=count, seed=seed)
        if settings["pretrained"]:
            return Tokens.of_checkpoint(settings["pretrained"]), queries, of_item
        trained = np.unique(split.train("search").query)
        known = split.data.queries.texts.gather(trained.astype(np.int64) - 1).to_list()
        return Tokens.trained([*TEMPLATE_TEXTS, *words, *known, *queries], settings["vocabulary"]), queries, of_item

    @classmethod
    @override
    def load(cls, folder: Path) -> "ItemCoder":
        """Open a folder of identifiers.

        Raises:
            RunError: it is missing or damaged.
        """
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            widths = about["vector_widths"]
            vectors = [np.load(folder / _VECTORS.format(side), mmap_mode="r") for side in range(len(widths))]
            table = pl.read_parquet(folder / _QUERIES)
            tokens = Tokens((folder / _TOKENS).read_text(encoding="utf-8")) if about["texts"] else None
        except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
            raise RunError(
                "cannot read the identifiers", where=folder, got=str(error).splitlines()[0], remedy="make them again"
            ) from error
        settings = configure(IdentifierSettings, about["settings"], where=str(folder / ABOUT))
        rqvae = new_rqvae(settings, widths, 0)
        rqvae.load_state(read_tensors(folder / _WEIGHTS)[0])
        rqvae.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        identifiers = Identifiers.load(folder / _IDENTIFIERS)
        by_item = table.explode("query").drop_nulls("query")
        queries = by_item["query"].unique(maintain_order=True)
        place = dict(zip(queries, range(len(queries)), strict=True))
        counts = table["query"].list.len().to_numpy()
        of_item = Ragged(
            np.concatenate(([0], np.cumsum(counts))),
            np.array([place[query] for query in by_item["query"]], dtype=np.int64),
        )
        return cls(folder, settings, identifiers, rqvae, tokens, vectors, queries.to_list(), of_item)

    def corpus(self, texts: Sequence[str]) -> ItemCorpus:
        """The texts of the items [I] and their pseudo-queries, as a model learns identifiers from them."""
        return ItemCorpus(tuple(texts), tuple(self.queries), self.of_item)

    def code_vectors(self) -> Tensor:
        """[T, sides x width] where each code lies among the RQ-VAE's latents, in the order of `Identifiers.blocks`.

        Zero for codes that only tell items apart.
        """
        blocks = self.identifiers.blocks(0)
        vectors = torch.zeros(self.identifiers.tokens, self.rqvae.config.width * len(self.vectors))
        for side in range(len(self.vectors)):
            task = 0 if self.identifiers.one else TASK_OF_SIDE[side]
            for start, book in zip(
                blocks[task].tolist(), self.rqvae.books(side), strict=False
            ):  # a code that tells apart is in no book
                vectors[start : start + len(book)] = book.cpu()
        return vectors

    @override
    def attach(self, model: Any, split: Split) -> None:
        if self.tokens is None:
            model.load_artifacts(self.identifiers, self.code_vectors())
            return
        texts = split.data.item_texts()
        model.load_artifacts(self.identifiers, self.tokens, self.corpus(texts), self.code_vectors())

    @override
    def new_items(self, records: Sequence[Mapping[str, Any]], model: Any) -> NDArray[np.integer[Any]]:
        """Return identifiers [2, n, K] of items that came after the training, from their texts; no two are alike.

        Nobody has clicked them yet, so their behaviour is that of the items nearest by words.

        Raises:
            DataError: a scheme that needs clicks of every item; or no identifier is free.
        """
        taken: Identifiers = model.identifiers
        texts = texts_of(pl.DataFrame(list(records)))
        scheme = self.settings.scheme
        if scheme not in ("joint", "semantic"):
            raise DataError(f"the {scheme} scheme has no identifiers for new items", remedy="train with scheme=joint")
        semantic = Encoder(self.settings.encoder).encode(texts)
        sides: list[Vectors] = [semantic]
        if scheme == "joint":
            known, behaviour = (np.asarray(part, dtype=np.float32) for part in self.vectors)
            sides.append(behaviour_of_nearest(semantic, known, behaviour))
        codes, left = self.rqvae.codes(self.rqvae.latents(sides))
        free = []
        one = taken.one
        for side, book in enumerate(self.rqvae.last_books()):
            task = side if one else TASK_OF_SIDE[side]
            free.append(free_codes(codes[side].cpu().numpy(), left[side], book, taken.codes[task, 1:], taken.sizes))
        return np.stack((free[0], free[0]) if one else [free[TASK_OF_SIDE.index(task)] for task in range(len(SIDES))])

    @override
    def describe_new(self, growth: Growth, split: Split, model: Any) -> NDArray[np.integer[Any]]:
        """Return identifiers [2, n, K] of the new items by internal id, as `new_items` makes them."""
        new = growth.new("items")
        if not len(new):
            return np.zeros((len(SIDES), 0, self.identifiers.depth), dtype=np.int32)
        return self.new_items(growth.data.item_table[(new - 1).tolist()].to_dicts(), model)

    @override
    def grown(
        self, growth: Growth, split: Split, tasks: Sequence[Task], described: NDArray[np.integer[Any]]
    ) -> "ItemCoder":
        data, source, new = growth.data, growth.source("items"), growth.new("items")
        made_of = self.grown_cutoff(growth, split, TASKS)
        home = cached_folder(
            "items", VERSION, made_of.digest, fingerprint(self.folder / _IDENTIFIERS, self.folder / _WEIGHTS)
        )
        if not home.is_dir():
            codes = np.ascontiguousarray(self.identifiers.codes[:, source], dtype=np.int32)
            codes[:, new] = described
            table = pl.read_parquet(self.folder / _QUERIES)["query"].to_list()
            words = from_words(data.item_table, json.loads(self._about())["texts"].get("pseudo_queries", 0))
            queries = [table[at - 1] if at else words[item] for item, at in enumerate(source[1:].tolist())]
            semantic = Encoder(self.settings.encoder).encode(data.item_texts()) if len(new) else None
            with replacing(home) as beside:
                beside.mkdir()
                dataclasses.replace(self.identifiers, codes=codes).save(beside / _IDENTIFIERS)
                for name in (_WEIGHTS, *([_TOKENS] if self.tokens is not None else [])):
                    shutil.copy(self.folder / name, beside / name)
                for side, vectors in enumerate(self.vectors):
                    rows = np.asarray(vectors)[np.maximum(source[1:] - 1, 0)]
                    # Nobody had clicked a new item when the identifiers were learned.
                    is_semantic = side == 0 and self.settings.scheme in ("joint", "semantic") and semantic is not None
                    rows[new - 1] = semantic[new - 1] if is_semantic and semantic is not None else 0
                    np.save(beside / _VECTORS.format(side), rows)
                pl.DataFrame({"query": queries}, schema={"query": pl.List(pl.String)}).write_parquet(beside / _QUERIES)
                made_of.save(beside)
                about = {**json.loads(self._about()), "data": data.fingerprint, "cutoff": made_of.digest}
                (beside / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return type(self).load(home)

    def _about(self) -> str:
        return (self.folder / ABOUT).read_text(encoding="utf-8")

    @override
    def findings(self, split: Split, tasks: Sequence[Task], cutoff: Cutoff, where: str) -> list[Finding]:
        """Return behaviour of items without clicks before the cut-off, and pseudo-queries entered only after it."""
        data, settings = split.data, self.settings
        limit = bounds(split, tasks)[1]
        findings = []
        if settings.collaborative == "svd" and settings.scheme in ("joint", "collaborative"):
            _, item, old = clicks_of(split, limit)
            silent = np.bincount(item[old], minlength=data.sizes.items + 1)[1:] == 0
            items = np.flatnonzero(silent & np.any(np.asarray(self.vectors[-1]) != 0, axis=1)) + 1
            if len(items):
                later = np.flatnonzero(item == items[0])
                rows = tuple(
                    row_at(data, place)
                    for place in later[np.argsort(data.click_history.time[later], kind="stable")][:1].tolist()
                )
                whose = data.items.to_external(items[:1])[0]
                what = "behaviour is known of items that nobody had clicked before the cut-off"
                findings.append(
                    Finding(
                        "error",
                        what,
                        f"collaborative vectors of {where}, item {whose!r}",
                        rows,
                        len(items),
                        remedy="train it again",
                    )
                )
        from_items = pl.DataFrame(
            {"query": [query for queries in from_words(data.item_table, 1 << 30) for query in queries]},
            schema={"query": pl.String},
        )
        first = _first_entered(data)
        user = np.repeat(np.arange(len(data.searches.offsets) - 1), np.diff(data.searches.offsets))
        old = np.asarray(data.searches.time) < limit[user]
        known = data.queries.texts.gather(np.unique(data.searches.query[old]).astype(np.int64) - 1)
        late = pl.DataFrame({"query": self.queries}, schema={"query": pl.String}).join(
            from_items, on="query", how="anti"
        )
        late = (
            late.join(pl.DataFrame({"query": known}), on="query", how="anti").join(first, on="query").sort("position")
        )
        if late.height:
            written = bool(
                json.loads((self.folder / ABOUT).read_text(encoding="utf-8")).get("texts", {}).get("doc2query")
            )
            row = event_at(data, "searches", int(late["position"][0]))
            what = f"{late.height:,} pseudo-queries are what users entered only after the cut-off" + (
                ", which the model that wrote them may have come upon by itself"
                if written
                else ", and no words of an item"
            )
            place = f"pseudo-queries of {where}"
            rows = () if row is None else (row,)
            findings.append(
                Finding(
                    "warning" if written else "error",
                    what,
                    place,
                    rows,
                    late.height,
                    remedy="" if written else "train it again",
                )
            )
        return findings


def _first_entered(data: Dataset) -> pl.DataFrame:
    """Return query, position: where each text was entered first."""
    searches = data.searches
    order = np.argsort(searches.time, kind="stable")
    query, place = np.unique(np.asarray(searches.query)[order], return_index=True)
    return pl.DataFrame({"query": data.queries.texts.gather(query.astype(np.int64) - 1), "position": order[place]})


def _no_queries(data: Dataset) -> Ragged:
    return Ragged(np.zeros(data.sizes.items + 1, dtype=np.int64), np.zeros(0, dtype=np.int64))
