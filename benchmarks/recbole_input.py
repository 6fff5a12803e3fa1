"""RecBole's input, an atomic file, from the interactions of a dataset folder.

python benchmarks/recbole_input.py --data DATA --out OUT     writes OUT/<name of OUT>.inter
"""

import argparse
from pathlib import Path

import polars as pl


def write_atomic(folder: Path, out: Path, *, users: int | None = None) -> Path:
    """Write `out/<out's name>.inter`: user_id, item_id, timestamp; the first `users` users or all of them.

    RecBole keeps a timestamp as float32, which rounds seconds since 1970 to about two minutes, and sorts by that. So
    what
    is written is the rank of the time, exact up to 16 million.
    """
    rows = pl.scan_parquet(folder / "interactions.parquet")
    if users is not None:
        rows = rows.join(
            pl.scan_parquet(folder / "users.parquet").select("user_id").head(users), on="user_id", how="semi"
        )
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{out.name}.inter"
    rows.select(
        pl.col("user_id").alias("user_id:token"),
        pl.col("item_id").alias("item_id:token"),
        pl.col("timestamp").rank("dense").alias("timestamp:float"),
    ).collect().write_csv(file, separator="\t")
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--users", type=int, help="the first so many users only")
    options = parser.parse_args()
    print(write_atomic(options.data, options.out, users=options.users))
