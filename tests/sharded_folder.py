"""Datasets in folders of shards, as other programs leave them."""

from pathlib import Path

import polars as pl

from searec.data.schema import TABLES


def in_shards(folder: Path, out: Path, *, seed: int, suffix: str = "", pieces: int = 3) -> Path:
    """A dataset folder's rows, shuffled, in folders of shards."""
    for table in TABLES:
        rows = pl.read_parquet(folder / table.file).sample(fraction=1, shuffle=True, seed=seed)
        home = out / f"{table.name}{suffix}"
        (home / "more").mkdir(parents=True)
        for number in range(pieces):
            names = ["b.parquet", "a.parquet", "more/c.parquet"]
            rows.gather_every(pieces, number).write_parquet(home / names[number])
        (home / "_SUCCESS").touch()
        (home / ".a.parquet.crc").touch()
        (home / "_notes.parquet").write_text("not Parquet")
    return out
