"""User codes from a dataset: histories to texts to vectors to codes (arXiv 2508.04145, gserec.md, Stages 1 and 2).

Each stage is kept under `files.cache_folder()` by what it was made from, and goes on where it was broken off: chat
answers and vectors one by one, the RQ-VAE from its checkpoint.
"""

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
from typing_extensions import override

from searec.artifacts.base import ABOUT, Artifact, cached_folder, own_settings, written
from searec.artifacts.history_texts import Histories, digest, histories_of
from searec.artifacts.new_users import titled
from searec.artifacts.quantiser_training import ShuffledRows, train_quantiser
from searec.artifacts.summaries import (
    CHAT_VERSION,
    OFFLINE_VERSION,
    PROMPTS,
    Summaries,
    chat_summaries,
    offline_summaries,
)
from searec.config import configure
from searec.data.batch import Batch
from searec.data.dataset import Dataset
from searec.data.leakage.checks import bounds
from searec.data.leakage.cutoff import Cutoff
from searec.data.leakage.findings import Finding, Table, event_at
from searec.data.ragged import Ints, first_not_before
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import DataError, RunError
from searec.files import fingerprint, replacing
from searec.models.growth import Growth
from searec.models.gserec_paper import NewUsers
from searec.semantic_ids.code_config import CodeSettings
from searec.semantic_ids.codebook_usage import code_use
from searec.semantic_ids.rqvae import TextBatch, TwoSidedRQVAE
from searec.semantic_ids.user_code_table import NONE, SIDES, UserCodes
from searec.text.chat import Chat, chat_settings
from searec.text.encoder import Encoder
from searec.training.checkpoint import read_tensors, write_tensors
from searec.training.processes import first_process
from searec.training.training_log import FILE as LOG

VERSION = "user-codes-2"
"""Changes with every change to what is made here from the same input."""
_CODES, _WEIGHTS, _SUMMARIES = "codes.npy", "rqvae.safetensors", "summaries"


@dataclass(frozen=True)
class UserCoder(Artifact):
    """Codes of users, and what makes them of texts: summariser, sentence encoder and RQ-VAE."""

    noun = "user codes"
    parts = ("summaries",)
    folder: Path
    settings: CodeSettings
    rqvae: TwoSidedRQVAE
    summaries: Summaries
    codes: UserCodes

    @classmethod
    @override
    def make(cls, split: Split, tasks: Sequence[Task], config: Any, *, seed: int = 0) -> "UserCoder":
        """Make codes of every user from what lies before every held-out event of `tasks`, or read them from the cache.

        The RQ-VAE learns from the users `split.known`; the others are only quantised.

        Args:
            split: whose training events are read.
            tasks: those that the model learns.
            config: settings that hold `CodeSettings`.
            seed: of the RQ-VAE's weights and batches.

        Raises:
            ChatError: some users are left without a summary.
            DependencyError: the sentence encoder, or the chat client, is not installed.
            Interrupted: on request; the same call goes on.
        """
        made_of = Cutoff.of(split, tasks)
        histories = histories_of(split.data, made_of.on(split.data)[0], limit=config.summary_events)
        versions = (VERSION, OFFLINE_VERSION if config.summaries == "offline" else f"{CHAT_VERSION} {PROMPTS}")
        chosen = own_settings(config, CodeSettings)
        settings = configure(CodeSettings, chosen)
        home = cached_folder("user-codes", *versions, made_of.digest, str(seed), json.dumps(chosen, sort_keys=True))
        if home.is_dir():
            return cls.load(home)
        summaries = summarise(histories, settings, counted=split.known)
        vectors, present = vectors_of(summaries, settings.encoder, fallback=settings.text_fallback)
        rqvae = new_rqvae(settings, vectors.shape[2], seed)
        work = home.with_name(f"{home.name}.training")
        if settings.code_standardise:
            rqvae.standardise(vectors[split.known], present[split.known])
        log = learn(rqvae, vectors, present & split.known[:, None], settings, seed, work)
        codes = quantise(rqvae, vectors, present)
        about = {
            "made": versions[0],
            "cutoff": histories.cutoff,
            "data": split.data.fingerprint,
            "unseen": split.unseen,
            "seed": seed,
            "vector_width": vectors.shape[2],
            "settings": chosen,
            "summaries": dict(summaries.about),
            "explained": log,
            "use": {
                side: [use.as_json() for use in code_use(codes[present[:, place], place], settings.codes)]
                for place, side in enumerate(SIDES)
            },
        }
        if first_process():
            with written(home, work) as beside:
                np.save(beside / _CODES, codes)
                write_tensors(beside / _WEIGHTS, rqvae.state())
                summaries.save(beside / _SUMMARIES)
                made_of.save(beside / _SUMMARIES)
                made_of.save(beside)
                shutil.copy(work / LOG, beside / LOG)
                (beside / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return cls(home, settings, rqvae, summaries, UserCodes(codes, settings.codes, about))

    @classmethod
    @override
    def load(cls, folder: Path) -> "UserCoder":
        """Open a folder of codes.

        Raises:
            RunError: it is missing or damaged.
        """
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            codes = UserCodes(np.load(folder / _CODES), about["settings"]["codes"], about)
        except (OSError, ValueError, KeyError, DataError) as error:
            raise RunError(
                "cannot read the user codes", where=folder, got=str(error).splitlines()[0], remedy="make them again"
            ) from error
        settings = configure(CodeSettings, about["settings"], where=str(folder / ABOUT))
        rqvae = new_rqvae(settings, about["vector_width"], 0)
        rqvae.load_state(read_tensors(folder / _WEIGHTS)[0])
        rqvae.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        return cls(folder, settings, rqvae, Summaries.load(folder / _SUMMARIES), codes)

    @override
    def attach(self, model: Any, split: Split) -> None:
        sentences = None
        if model.config.query == "sentence":
            vectors = Encoder(model.config.encoder).encode(split.data.queries.texts.to_list())
            sentences = torch.from_numpy(np.concatenate((np.zeros_like(vectors[:1]), vectors)))
        model.load_artifacts(self.codes, torch.from_numpy(split.known), sentences)

    @override
    def new_users(self, records: Sequence[Mapping[str, Any]], data: Dataset, batch: Batch, model: Any) -> NewUsers:
        codes = torch.from_numpy(self.codes_of(titled(data, records))).to(model.device)
        if model.config.query != "sentence":
            return NewUsers(codes)
        sentences = torch.zeros(len(batch.texts), model.config.query_width)
        sentences[1:] = torch.from_numpy(Encoder(self.settings.encoder).encode(batch.texts[1:]))
        return NewUsers(codes, sentences.to(model.device))

    @override
    def describe_new(self, growth: Growth, split: Split, model: Any) -> NewUsers:
        """Return codes of the new users, from the events that the split lets be read, and vectors of new queries."""
        tasks, new = model.train_tasks, growth.new("users")
        codes = self._described(growth, split, tasks)[1][new]
        if model.config.query != "sentence":
            return NewUsers(torch.from_numpy(codes))
        texts = growth.data.queries.texts.gather(growth.new("queries") - 1).to_list()
        vectors = Encoder(self.settings.encoder).encode(texts).reshape(len(texts), -1)
        return NewUsers(torch.from_numpy(codes), torch.from_numpy(vectors) if texts else None)

    def _described(
        self, growth: Growth, split: Split, tasks: Sequence[Task]
    ) -> tuple[Summaries | None, NDArray[np.int16]]:
        """Summaries of the new users alone, None if they have no history, and codes [U + 1, 2, L], set for them."""
        data, codes = growth.data, np.full((growth.data.sizes.users + 1, *self.codes.codes.shape[1:]), NONE, np.int16)
        is_new = growth.source("users") == 0
        is_new[0] = False
        if not is_new.any():
            return None, codes
        read = np.where(is_new, self.grown_cutoff(growth, split, tasks).on(data)[0], np.iinfo(np.int64).min)
        histories = histories_of(data, read, limit=self.settings.summary_events)
        if not len(histories.clicks) and not len(histories.searches):
            return None, codes
        summaries = summarise(histories, self.settings, like=self.summaries)
        return summaries, self._coded(summaries)

    @override
    def grown(self, growth: Growth, split: Split, tasks: Sequence[Task], described: NewUsers) -> "UserCoder":
        data, source = growth.data, growth.source("users")
        made_of = self.grown_cutoff(growth, split, tasks)
        home = cached_folder(
            "user-codes", VERSION, made_of.digest, fingerprint(self.folder / _CODES, self.folder / _WEIGHTS)
        )
        if not home.is_dir():
            summaries, codes = self._described(growth, split, tasks)
            codes = np.where((source > 0)[:, None, None], self.codes.codes[source], codes)
            texts = self.summaries.texts[source].with_columns(pl.Series("user", np.arange(len(source)), pl.Int32))
            if summaries is not None:
                is_new = pl.Series(source == 0)
                texts = texts.with_columns(
                    pl.when(is_new).then(summaries.texts[side]).otherwise(pl.col(side)).alias(side) for side in SIDES
                )
            cutoff = digest(data, made_of.on(data)[0])
            of_data = {"cutoff": cutoff, "data": data.fingerprint, "grown_from": self.codes.about["cutoff"]}
            about = {**self.codes.about, **of_data}
            with replacing(home) as beside:
                beside.mkdir()
                np.save(beside / _CODES, codes)
                shutil.copy(self.folder / _WEIGHTS, beside / _WEIGHTS)
                Summaries(texts, {**self.summaries.about, "cutoff": cutoff}, self.summaries.weights).save(
                    beside / _SUMMARIES
                )
                made_of.save(beside / _SUMMARIES)
                made_of.save(beside)
                (beside / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return type(self).load(home)

    def codes_of(self, records: Sequence[Mapping[str, Any]]) -> NDArray[np.int16]:
        """Return codes [n, 2, L] of new users, from texts made now; records as in `Histories.of`."""
        histories = Histories.of(records, limit=self.settings.summary_events)
        summaries = summarise(histories, self.settings, like=self.summaries)
        return self._coded(summaries)[1:]

    def _coded(self, summaries: Summaries) -> NDArray[np.int16]:
        """Codes [U + 1, 2, L] of texts."""
        vectors, present = vectors_of(summaries, self.settings.encoder, fallback=self.settings.text_fallback)
        return quantise(self.rqvae, vectors, present)

    @override
    def findings(self, split: Split, tasks: Sequence[Task], cutoff: Cutoff, where: str) -> list[Finding]:
        """Return codes and texts of users without events on a side before the cut-off, and histories of other times."""
        data, read = split.data, bounds(split, tasks)[0]
        findings = []
        tables: tuple[tuple[Table, Ints, Ints], ...] = (
            ("interactions", data.interactions.time, data.interactions.offsets),
            ("searches", data.searches.time, data.searches.offsets),
        )
        ends = [first_not_before(time, offsets[:-1], offsets[1:], read) for _, time, offsets in tables]
        is_empty = np.stack([end == offsets[:-1] for end, (_, _, offsets) in zip(ends, tables, strict=True)], axis=1)
        is_unread = is_empty.all(axis=1, keepdims=True) if self.settings.text_fallback else is_empty
        for place, (side, (table, _, _)) in enumerate(zip(SIDES, tables, strict=True)):
            end = ends[place]
            for what, wrong in (
                ("codes", self.codes.has() & is_unread),
                ("summaries", self.summaries.has() & is_empty),
            ):
                users = np.flatnonzero(wrong[:, place])
                if len(users):
                    row = event_at(data, table, int(end[users[0]]))
                    whose = data.users.to_external(users[:1])[0]
                    telling = f"{what} tell of users who had done nothing before the cut-off ({side} side)"
                    rows = () if row is None or row.user != whose else (row,)
                    findings.append(
                        Finding("error", telling, f"{where}, user {whose!r}", rows, len(users), remedy="train it again")
                    )
        expected = digest(data, cutoff.on(data)[0])
        for what, digest_of_cutoff in (
            ("codes", self.codes.about.get("cutoff")),
            ("summaries", self.summaries.about.get("cutoff")),
        ):
            if digest_of_cutoff != expected:
                findings.append(
                    Finding(
                        "error",
                        f"the {what} rest on other histories than their cut-off tells",
                        f"{where}: {digest_of_cutoff}",
                        expected=expected,
                    )
                )
        return findings


def summarise(
    histories: Histories,
    settings: CodeSettings,
    *,
    like: Summaries | None = None,
    counted: NDArray[np.bool_] | None = None,
) -> Summaries:
    """Return texts of histories, by the summariser of the settings; a chat client has a cache of its own.

    Args:
        histories: to write of.
        settings: of the codes.
        like: summaries of the known users, whose weights new users are written with.
        counted: [U + 1] users whose histories weights are counted over otherwise; all by default.
    """
    if settings.summaries == "offline":
        return offline_summaries(histories, weights=None if like is None else like.weights, counted=counted)
    with Chat(chat_settings(settings.chat_model)) as chat:
        return chat_summaries(histories, chat)


def vectors_of(
    summaries: Summaries, encoder: str, *, fallback: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return unit vectors [U + 1, 2, E] of the texts, zero where there is none, and where there is one [U + 1, 2].

    Args:
        summaries: the texts.
        encoder: name of the sentence encoder.
        fallback: a user with a text on one side has it on both.
    """
    present = summaries.has()
    encode = Encoder(encoder).encode
    sides = [encode(summaries.texts[side].drop_nulls().to_list()) for side in SIDES]
    if not present.any():
        raise DataError(
            "no user has a history to make codes of", expected="users with clicks or searches before what is held out"
        )
    vectors = np.zeros((*present.shape, max(side.shape[1] for side in sides)), dtype=np.float32)
    for place, side in enumerate(sides):
        if len(side):
            vectors[present[:, place], place] = side
    if fallback:
        vectors = np.where(present[:, :, None], vectors, vectors[:, ::-1])
        present = np.broadcast_to(present.any(axis=1, keepdims=True), present.shape)
    return vectors, present


def new_rqvae(settings: CodeSettings, width: int, seed: int) -> TwoSidedRQVAE:
    """Return an untrained RQ-VAE.

    Args:
        settings: of the codes.
        width: of the vectors.
        seed: that its weights are drawn from, and nothing else.
    """
    config = configure(
        TwoSidedRQVAE.Config,
        {
            "width": settings.code_width,
            "levels": settings.levels,
            "size": settings.codes,
            "contrast_weight": settings.code_contrast,
            "temperature": settings.code_temperature,
            "reseed_every": settings.reseed_every,
            "sinkhorn": settings.sinkhorn,
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TwoSidedRQVAE(config, width)


def learn(
    rqvae: TwoSidedRQVAE,
    vectors: NDArray[np.float32],
    present: NDArray[np.bool_],
    settings: CodeSettings,
    seed: int,
    folder: Path,
) -> dict[str, float]:
    """Train the RQ-VAE on the users that have a text on either side; returns the variance it explains.

    Args:
        rqvae: to train, in place.
        vectors: [U + 1, 2, E] of the texts.
        present: [U + 1, 2] where there is a text.
        settings: of the codes.
        seed: of the batches' order.
        folder: of log and checkpoint.
    """

    def batch_of(users: Ints) -> TextBatch:
        return TextBatch(torch.from_numpy(vectors[users]), torch.from_numpy(present[users]))

    examples = ShuffledRows(np.flatnonzero(present.any(axis=1)), batch_of, settings.code_batch, seed)
    sides = [side for side in range(len(SIDES)) if present[:, side].any()]
    epochs, clip = settings.code_epochs, settings.code_clip
    return train_quantiser(rqvae, examples, settings, folder, epochs=epochs, clip=clip, sides=sides)


def quantise(rqvae: TwoSidedRQVAE, vectors: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Return codes [U + 1, 2, L], `NONE` where there is no text.

    Args:
        rqvae: trained.
        vectors: [U + 1, 2, E] of the texts.
        present: [U + 1, 2] where there is a text.
    """
    codes = np.full((*present.shape, rqvae.config.levels), NONE, dtype=np.int16)
    for side in range(len(SIDES)):
        if present[:, side].any():
            codes[present[:, side], side] = rqvae.codes(vectors[present[:, side], side], side)
    return codes
