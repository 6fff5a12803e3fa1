"""Codebooks learned from the vectors of items, and the identifiers they give."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from searec.artifacts.item_vectors import Vectors
from searec.artifacts.quantiser_training import ShuffledRows, train_quantiser
from searec.config import configure
from searec.data.ragged import Ints
from searec.semantic_ids.code_config import IdentifierSettings
from searec.semantic_ids.codebook_usage import code_use, decided
from searec.semantic_ids.identifiers import Identifiers, add_extra_code, moved_apart, spread
from searec.semantic_ids.item_rqvae import ItemBatch, ItemRQVAE
from searec.semantic_ids.user_code_table import SIDES

TASK_OF_SIDE = (SIDES.index("search"), SIDES.index("recommend"))
"""Meaning is for search, behaviour for recommendation."""

NEIGHBOURS = 10
"""Items nearest by their words that the behaviour of an item without clicks is taken from."""
_ROWS_AT_ONCE = 1_024


def behaviour_of_nearest(texts: Vectors, known: Vectors, behaviour: Vectors) -> Vectors:
    """Return the mean behaviour [n, E] of the known items nearest by text.

    Args:
        texts: [n, W] unit vectors.
        known: [I, W] of known items.
        behaviour: [I, E] of known items.
    """
    rows = [np.zeros((0, behaviour.shape[1]), dtype=np.float32)]
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        cosines = texts[start : start + _ROWS_AT_ONCE] @ known.T
        near = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
        rows.append(behaviour[near].mean(axis=1))
    return np.concatenate(rows)


def with_behaviour(sides: Sequence[Vectors]) -> list[Vectors]:
    """Return text and behaviour vectors [I, E], where items without clicks behave as those nearest by text.

    Args:
        sides: of all items; zero where there is no behaviour.
    """
    texts, behaviour = sides
    is_silent = ~np.asarray(behaviour).any(axis=1)
    if not is_silent.any() or is_silent.all():
        return [texts, behaviour]
    full = np.array(behaviour, dtype=np.float32)
    full[is_silent] = behaviour_of_nearest(texts[is_silent], texts[~is_silent], full[~is_silent])
    return [texts, full]


def new_rqvae(settings: IdentifierSettings, widths: Sequence[int], seed: int) -> ItemRQVAE:
    """Return an untrained RQ-VAE.

    Args:
        settings: of the identifiers.
        widths: of the vectors of each side.
        seed: that its weights are drawn from, and nothing else.
    """
    both = len(widths) == 2
    config = configure(
        ItemRQVAE.Config,
        {
            "width": settings.code_width,
            "shared": settings.shared if both else settings.shared + settings.specific,
            "specific": settings.specific if both else 0,
            "size": settings.codes,
            "shared_size": settings.shared_codes if both else 0,
            "reseed_every": settings.reseed_every,
            **({"hidden": ()} if settings.quantiser == "k-means" else {}),
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ItemRQVAE(config, widths)


def learn(
    rqvae: ItemRQVAE, sides: Sequence[Vectors], settings: IdentifierSettings, seed: int, folder: Path
) -> dict[str, float]:
    """Train the RQ-VAE on all items, or fit it in one pass; returns the variance it explains.

    Args:
        rqvae: to train, in place.
        sides: [I, E] vectors of each side.
        settings: of the identifiers.
        seed: of the batches' order.
        folder: of log and checkpoint.
    """
    if settings.quantiser == "k-means":
        folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            rqvae.fit(sides)
        shares = rqvae.explained(ItemBatch(tuple(torch.from_numpy(np.asarray(side)) for side in sides))).tolist()
        return {"explained": float(np.mean(shares)), **{f"explained.{n}": share for n, share in enumerate(shares)}}

    def batch_of(items: Ints) -> ItemBatch:
        return ItemBatch(tuple(torch.from_numpy(np.asarray(side)[items]) for side in sides))

    examples = ShuffledRows(np.arange(len(sides[0])), batch_of, settings.code_batch, seed)
    epochs = max(settings.code_epochs, -(-settings.code_least // examples.steps(0)))
    shown = list(range(len(sides)))
    return train_quantiser(rqvae, examples, settings, folder, epochs=epochs, clip=1.0, sides=shown)


def identify(rqvae: ItemRQVAE, sides: Sequence[Vectors], settings: IdentifierSettings) -> Identifiers:
    """Return identifiers of all items: quantised, spread where they collide, with an extra code where they still do.

    Args:
        rqvae: trained.
        sides: [I, E] vectors of each side.
        settings: of the identifiers.
    """
    codes, left = rqvae.codes(rqvae.latents(sides))
    shared = settings.shared if rqvae.specific is not None else 0
    sizes = [settings.shared_codes or settings.codes] * shared + [settings.codes] * (codes.shape[2] - shared)
    by_side: list[NDArray[np.integer[Any]]] = []
    shares, use, levels = {}, {}, codes.shape[2]
    names = ("semantic", "collaborative") if len(sides) == 2 else (settings.scheme,)
    books = rqvae.last_books()
    for side, name in enumerate(names):
        quantised = codes[side].cpu().numpy()
        use[name] = [level.as_json() for level in code_use(quantised, sizes)]
        if rqvae.specific is None and side:  # both read the same codes
            moved = by_side[0]
        else:
            moved, shares[name] = spread(
                quantised, left[side], books[side], epsilon=settings.sinkhorn, rounds=settings.sinkhorn_rounds
            )
        by_side.append(moved)
    if settings.apart == "nearest":
        by_side = [moved_apart(side, left[place], books[place], settings.codes) for place, side in enumerate(by_side)]
    apart = [add_extra_code(side) for side in by_side]
    extra = max(count for _, count in apart)
    whole = [side if side.shape[1] > levels or not extra else np.pad(side, ((0, 0), (0, 1))) for side, _ in apart]
    one = len(whole) == 1 or rqvae.specific is None
    order = [whole[0], whole[0]] if one else [whole[TASK_OF_SIDE.index(task)] for task in range(len(SIDES))]
    return Identifiers(
        np.pad(np.stack(order), ((0, 0), (1, 0), (0, 0))).astype(np.int32),
        (*sizes, *([extra] if extra else [])),
        levels if one else settings.shared,
        one,
        {
            "collisions": {name: {"before": share[0], "after": share[-1]} for name, share in shares.items()},
            "extra_codes": extra,
            "use": use,
            "decided": {SIDES[task]: decided(rows) for task, rows in enumerate(order[:1] if one else order)},
        },
    )
