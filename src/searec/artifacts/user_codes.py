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
import torch
from numpy.typing import NDArray

from searec.artifacts.history_texts import Histories, histories_of
from searec.artifacts.summaries import (
    CHAT_VERSION,
    OFFLINE_VERSION,
    PROMPTS,
    Summaries,
    chat_summaries,
    offline_summaries,
)
from searec.config import as_dict, configure
from searec.data.leakage.cutoff import Cutoff
from searec.data.ragged import Ints
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import DataError, RunError
from searec.files import cache_folder, fingerprint, replacing
from searec.semantic_ids.code_config import CodeSettings
from searec.semantic_ids.codebook_usage import code_use
from searec.semantic_ids.rqvae import TextBatch, TwoSidedRQVAE
from searec.semantic_ids.user_code_table import NONE, SIDES, UserCodes
from searec.text.chat import Chat, chat_settings
from searec.text.encoder import Encoder
from searec.training.checkpoint import FILE as CHECKPOINT
from searec.training.checkpoint import read_tensors, write_tensors
from searec.training.processes import first_process
from searec.training.train_config import TrainSettings
from searec.training.training_log import FILE as LOG

VERSION = "user-codes-2"
"""Changes with every change to what is made here from the same input."""
JUDGE = "explained"
_CODES, _WEIGHTS, _ABOUT, _SUMMARIES = "codes.npy", "rqvae.safetensors", "about.json", "summaries"


@dataclass(frozen=True)
class Coder:
    """What makes codes of texts, now and for users who come later: summariser, sentence encoder and RQ-VAE.

    folder: holds all of it, and the codes of the users known.
    """

    folder: Path
    settings: CodeSettings
    rqvae: TwoSidedRQVAE
    summaries: Summaries
    codes: UserCodes

    @classmethod
    def load(cls, folder: Path) -> "Coder":
        """Open a folder of codes.

        Raises:
            RunError: it is missing or damaged.
        """
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            codes = UserCodes(np.load(folder / _CODES), about["settings"]["codes"], about)
        except (OSError, ValueError, KeyError, DataError) as error:
            raise RunError(
                "cannot read the user codes", where=folder, got=str(error).splitlines()[0], remedy="make them again"
            ) from error
        settings = configure(CodeSettings, about["settings"], where=str(folder / _ABOUT))
        rqvae = new_rqvae(settings, about["vector_width"], 0)
        rqvae.load_state(read_tensors(folder / _WEIGHTS)[0])
        rqvae.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        return cls(folder, settings, rqvae, Summaries.load(folder / _SUMMARIES), codes)

    def copy(self, folder: Path) -> None:
        """Copy the whole folder, so that a run needs no cache."""
        with replacing(folder) as beside:
            shutil.copytree(self.folder, beside)

    def newcomers(self, records: Sequence[Mapping[str, Any]]) -> NDArray[np.int16]:
        """[n, 2, L] codes of users who were not there at training, from a text made now; see `Histories.of` for the records."""
        histories = Histories.of(records, limit=self.settings.summary_events)
        summaries = summarise(histories, self.settings, like=self.summaries)
        vectors, present = vectors_of(summaries, self.settings.encoder)
        return quantise(self.rqvae, vectors, present)[1:]


def user_codes(split: Split, tasks: Sequence[Task], settings: CodeSettings, *, seed: int) -> Coder:
    """Codes of every user from what lies before every held-out event of `tasks`.

    The RQ-VAE learns from the users `split.known`; the others are only quantised.

    Args:
        seed: of the RQ-VAE's weights and batches.

    Raises:
        ChatError: some users are left without a summary.
        DependencyError: the sentence encoder, or the chat client, is not installed.
        Interrupted: on request; the same call goes on.
    """
    made_of = Cutoff.of(split, tasks)
    histories = histories_of(split.data, made_of.on(split.data)[0], limit=settings.summary_events)
    versions = (VERSION, OFFLINE_VERSION if settings.summaries == "offline" else f"{CHAT_VERSION} {PROMPTS}")
    own = {name: value for name, value in as_dict(settings).items() if name in CodeSettings.__dataclass_fields__}
    key = fingerprint(*versions, made_of.digest, str(seed), json.dumps(own, sort_keys=True))
    home = cache_folder() / "artifacts" / f"user-codes-{key}"
    if home.is_dir():
        return Coder.load(home)
    summaries = summarise(histories, settings, counted=split.known)
    vectors, present = vectors_of(summaries, settings.encoder)
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
        "settings": own,
        "summaries": dict(summaries.about),
        "explained": log,
        "use": {
            side: [use.as_json() for use in code_use(codes[present[:, place], place], settings.codes)]
            for place, side in enumerate(SIDES)
        },
    }
    if first_process():
        with replacing(home) as beside:
            beside.mkdir()
            np.save(beside / _CODES, codes)
            write_tensors(beside / _WEIGHTS, rqvae.state())
            summaries.save(beside / _SUMMARIES)
            made_of.save(beside / _SUMMARIES)
            made_of.save(beside)
            shutil.copy(work / LOG, beside / LOG)
            (beside / _ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        shutil.rmtree(work)
    return Coder(home, settings, rqvae, summaries, UserCodes(codes, settings.codes, about))


def summarise(
    histories: Histories,
    settings: CodeSettings,
    *,
    like: Summaries | None = None,
    counted: NDArray[np.bool_] | None = None,
) -> Summaries:
    """Texts of histories, by whom the settings say; kept by the chat client's own cache.

    Args:
        like: summaries of the users known, whose weights newcomers are written with.
        counted: [U + 1] of whom weights are made otherwise; all by default.
    """
    if settings.summaries == "offline":
        return offline_summaries(histories, weights=None if like is None else like.weights, counted=counted)
    with Chat(chat_settings(settings.chat_model)) as chat:
        return chat_summaries(histories, chat)


def vectors_of(summaries: Summaries, encoder: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Unit vectors [U + 1, 2, E] of the texts, zero where there is none, and where there are any [U + 1, 2]."""
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
    return vectors, present


def new_rqvae(settings: CodeSettings, width: int, seed: int) -> TwoSidedRQVAE:
    """An untrained RQ-VAE for vectors of `width`; its weights are drawn from `seed` and nothing else."""
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
    """Train the RQ-VAE in `folder`, from its checkpoint if there is one; gives the variance it explains on each side."""
    from searec.training.loop import train

    folder.mkdir(parents=True, exist_ok=True)
    plan = TrainSettings(
        epochs=settings.code_epochs,
        batch=settings.code_batch,
        lr=settings.code_lr,
        weight_decay=settings.code_weight_decay,
        clip=settings.code_clip,
        schedule="linear",
        patience=0,
        validate_every=max(1, settings.code_epochs // 10),
        seed=seed,
    )
    examples = UserTexts(vectors, present, plan.batch, seed)
    everyone = examples.rows(np.arange(len(examples.users)))

    def validate(current: TwoSidedRQVAE) -> dict[str, float]:
        sides = current.explained(everyone.to(current.device)).tolist()
        some = [bool(present[:, side].any()) for side in range(len(SIDES))]
        return {JUDGE: float(np.mean([value for value, has in zip(sides, some, strict=True) if has]))} | {
            f"{JUDGE}.{side}": value for side, value, has in zip(SIDES, sides, some, strict=True) if has
        }

    about = {"codes": as_dict(rqvae.config)}
    begun = (folder / CHECKPOINT).is_file()
    report = train(rqvae, examples, validate, folder, plan, made_from=about, judge=JUDGE, resume=begun)
    return dict(report.best)


def quantise(rqvae: TwoSidedRQVAE, vectors: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.int16]:
    """[U + 1, 2, L] codes, `NONE` where there is no text."""
    codes = np.full((*present.shape, rqvae.config.levels), NONE, dtype=np.int16)
    for side in range(len(SIDES)):
        if present[:, side].any():
            codes[present[:, side], side] = rqvae.codes(vectors[present[:, side], side], side)
    return codes


class UserTexts:
    """The RQ-VAE's batches: users with a text on either side, in an order drawn for each epoch."""

    def __init__(self, vectors: NDArray[np.float32], present: NDArray[np.bool_], size: int, seed: int) -> None:
        self.vectors, self.present, self.size, self.seed = vectors, present, size, seed
        self.users = np.flatnonzero(present.any(axis=1))

    def steps(self, epoch: int) -> int:
        """Batches in an epoch."""
        return -(-len(self.users) // self.size)

    def batch(self, epoch: int, step: int, process: int, processes: int) -> TextBatch:
        """One process's share of batch `step` of `epoch`."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.users))
        return self.rows(np.array_split(order, self.steps(epoch))[step][process::processes])

    def rows(self, places: Ints) -> TextBatch:
        """The batch of some of the users."""
        users = self.users[places]
        return TextBatch(torch.from_numpy(self.vectors[users]), torch.from_numpy(self.present[users]))
