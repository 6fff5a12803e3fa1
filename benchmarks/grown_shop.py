"""A shop of a million items and a hundred thousand users, and runs of it, by copying a small trained one.

The sizes are what counts.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from searec.data.dataset import Dataset, load
from searec.data.log import write_table
from searec.data.synthetic.simulate import World, simulate
from searec.experiments import run_training

WORLD = World(users=400, items=800)
USERS, ITEMS = 100_000, 1_000_000
MODELS: Mapping[str, dict[str, Any]] = {
    "serendipity": {"epochs": 2, "patience": 0},
    "gserec-paper": {"epochs": 2, "patience": 0},
    "bm25": {},
    "dense": {},
    "unisar": {"epochs": 2, "patience": 0},
}
_NOISE = 0.2


def small_shop(room: Path, models: Iterable[str] = MODELS) -> Path:
    """A simulated shop with a run of each model in `room`/runs."""
    shop = simulate(room / "shop", WORLD)
    data = load(shop)
    for model in models:
        run_training.train(model, data, room / "runs" / model, **MODELS[model])
    return shop


def grow(
    shop: Path, runs: Path, out: Path, models: Iterable[str] = MODELS, *, users: int = USERS, items: int = ITEMS
) -> Path:
    """Copies of the shop's users and items, and of its runs' rows, in `out`/shop and `out`/runs.

    Bm25 is fitted anew.
    """
    small = load(shop)
    folder = _copies(shop, out / "shop", users // small.sizes.users, items // small.sizes.items)
    large = load(folder)
    for model in models:
        if model == "bm25":
            run_training.train(model, large, out / "runs" / model)
        else:
            _grow_run(runs / model, out / "runs" / model, small, large)
    return folder


def _copies(shop: Path, out: Path, users: int, items: int) -> Path:
    """The dataset folder: user n of copy c is "n-c", and clicks on copies of items that are drawn."""
    rng = np.random.default_rng(0)
    out.mkdir(parents=True)
    item_table, user_table = pl.read_parquet(shop / "items.parquet"), pl.read_parquet(shop / "users.parquet")
    copies = pl.DataFrame({"copy": np.arange(items)}).cast(pl.String)
    name = pl.concat_str("item_id", pl.lit("-"), "copy").alias("item_id")
    grown = copies.join(item_table, how="cross").with_columns(
        name, pl.concat_str("title", pl.lit(" m"), "copy").alias("title")
    )
    write_table(grown.drop("copy"), out / "items.parquet")
    of_users = pl.DataFrame({"copy": np.arange(users)}).cast(pl.String)
    user = pl.concat_str("user_id", pl.lit("-"), "copy").alias("user_id")
    write_table(of_users.join(user_table, how="cross").with_columns(user).drop("copy"), out / "users.parquet")

    def drawn(count: int) -> pl.Series:
        return pl.Series("drawn", rng.integers(0, items, count)).cast(pl.String)

    feed = of_users.join(pl.read_parquet(shop / "interactions.parquet"), how="cross").with_columns(user)
    feed = feed.with_columns(pl.concat_str("item_id", pl.lit("-"), drawn(feed.height)).alias("item_id")).drop("copy")
    write_table(
        feed.unique(["user_id", "item_id", "timestamp", "event"], maintain_order=True), out / "interactions.parquet"
    )
    searches = of_users.join(pl.read_parquet(shop / "searches.parquet"), how="cross").with_columns(user)
    searches = searches.with_columns(
        pl.concat_str("search_id", pl.lit("-"), "copy").alias("search_id"), drawn(searches.height)
    )
    first = pl.col("clicked").list.head(1).list.eval(pl.element())
    clicked = (
        pl.when(first.list.len() > 0)
        .then(pl.concat_list(pl.concat_str(first.list.first(), pl.lit("-"), "drawn")))
        .otherwise(first)
    )
    write_table(
        searches.with_columns(clicked.alias("clicked")).drop("copy", "drawn", "shown", strict=False),
        out / "searches.parquet",
    )
    return out


def _grow_run(run: Path, out: Path, small: Dataset, large: Dataset) -> None:
    """A run folder whose rows of items, users and words are copies, the learned ones with some noise."""
    out.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    sizes = {
        getattr(small.sizes, name) + 1: getattr(large.sizes, name) + 1
        for name in ("items", "users", "words", "queries")
    }

    def grown(tensor: Tensor) -> Tensor:
        if not tensor.ndim or tensor.shape[0] not in sizes:
            return tensor
        count = sizes[tensor.shape[0]] - 1
        rows = tensor[1:].repeat(-(-count // (len(tensor) - 1)), *[1] * (tensor.ndim - 1))[:count]
        if tensor.is_floating_point() and tensor.ndim == 2 and tensor.shape[1] > 8:
            rows = rows + _NOISE * rows.std() * torch.randn(rows.shape, generator=generator).to(rows.dtype)
        if tensor.shape[1:] == (384,):
            rows = torch.nn.functional.normalize(rows, dim=1)
        return torch.cat((tensor[:1], rows))

    tensors = load_file(run / "weights.safetensors")
    save_file({name: grown(tensor).contiguous() for name, tensor in tensors.items()}, out / "weights.safetensors")
    config = json.loads((run / "config.json").read_text())
    config["data"] = {"fingerprint": large.fingerprint, "sizes": vars(large.sizes)}
    (out / "config.json").write_text(json.dumps(config))
    if (run / "artifacts" / "interests.parquet").exists():
        shutil.copytree(run / "artifacts", out / "artifacts")
