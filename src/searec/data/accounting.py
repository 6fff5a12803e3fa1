"""What became of every record of a source: kept, rejected, or merged or left out by a rule that has a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from searec.data.formats.base import FILE, ROW, Outcome, Raw
from searec.errors import DataError

ONCE = "left out: the same record is there before"
_KEY = [FILE, ROW]
_SCHEMA = {FILE: pl.String(), ROW: pl.Int64()}


@dataclass(frozen=True)
class FileAccount:
    """The records of one source file; read = written + rejected + the rows of all outcomes.

    file: its name.
    read: records, counted by a reader of its own.
    written: records that are in a row of a table.
    rejected: records that break a rule.
    outcomes: the others, by rule.
    """

    file: str
    read: int
    written: int
    rejected: int
    outcomes: tuple[Outcome, ...] = ()

    def __str__(self) -> str:
        """One line for the command line."""
        parts = [f"{self.written:,} kept", *([f"{self.rejected:,} rejected"] if self.rejected else [])]
        for outcome in self.outcomes:
            example = f", such as {outcome.example}" if outcome.example else ""
            parts.append(f"{outcome.rows:,} {outcome.rule}{example}")
        records = f"{self.read:,} {'record' if self.read == 1 else 'records'}"
        return f"{self.file}: {records} read = " + " + ".join(parts)


def account(
    raw: Raw, staged: Mapping[str, Path], removed: Mapping[str, pl.DataFrame], rejects: pl.DataFrame
) -> tuple[FileAccount, ...]:
    """Return an account for each file of `Raw.read`; none for a format that does not count.

    A record in several rows is kept if one of them is, else rejected if one is, else left out by the rule of one.

    Args:
        raw: the source.
        staged: the converted tables, with `FILE` and `ROW` where the source has them.
        removed: for each table "row" (from 1) of its rows that are not written, and "rule": null for a reject.
        rejects: as in `log.Log`, with the files and rows of the source.

    Raises:
        DataError: the records do not add up, which is a fault of the import or of the format.
    """
    if raw.read is None:
        return ()
    remaining_rows: dict[str, list[pl.LazyFrame]] = {}
    counts = dict.fromkeys(raw.read, 0)
    left: list[pl.DataFrame] = []
    by_file = [raw.files[name].name for name in raw.tables]
    for name in raw.tables:
        file, scan, gone = raw.files[name].name, pl.scan_parquet(staged[name]), removed[name]
        schema = scan.collect_schema().names()
        index = pl.row_index() + 1
        marks = scan.select(
            pl.col(FILE).fill_null(file) if FILE in schema else pl.lit(file).alias(FILE),
            (pl.col(ROW) if ROW in schema else index).cast(pl.Int64).alias(ROW),
            index.cast(pl.Int64).alias("row"),
        )
        places = gone["row"].unique().implode()
        if ROW not in schema and by_file.count(file) == 1:
            counts[file] = counts.get(file, 0) + scan.select(pl.len()).collect().item() - len(places.item())
        else:
            remaining = marks.filter(~pl.col("row").is_in(places)) if gone.height else marks
            remaining_rows.setdefault(file, []).append(remaining.drop("row").filter(pl.col(ROW).is_not_null()))
        if gone.height:
            of_gone = marks.filter(pl.col("row").is_in(places)).collect(engine="streaming")
            left.append(of_gone.join(gone, on="row").select(FILE, ROW, "rule"))
    bad = rejects.select(pl.col("file").alias(FILE), pl.col("row").alias(ROW)).unique()
    merged = pl.concat([pl.DataFrame(schema={**_SCHEMA, "rule": pl.String()}), *left]).filter(
        pl.col("rule").is_not_null() & pl.col(ROW).is_not_null()
    )
    merged = merged.unique(_KEY, keep="first", maintain_order=True).join(bad, on=_KEY, how="anti")
    if remaining_rows:
        rows = pl.concat([frame for frames in remaining_rows.values() for frame in frames])
        for file, count in rows.group_by(FILE).agg(pl.col(ROW).n_unique()).collect(engine="streaming").iter_rows():
            counts[file] = counts.get(file, 0) + count
        bad, merged = (
            part.join(rows.join(part.lazy(), on=_KEY, how="semi").collect(), on=_KEY, how="anti")
            for part in (bad, merged)
        )
    return tuple(_checked(file, read, counts[file], bad, merged, raw.outcomes) for file, read in raw.read.items())


def _checked(
    file: str, read: int, written: int, bad: pl.DataFrame, merged: pl.DataFrame, given: Sequence[Outcome]
) -> FileAccount:
    by_rule = merged.filter(pl.col(FILE) == file).group_by("rule", maintain_order=True).len().rows()
    outcomes = (
        *(Outcome(file, rule, rows) for rule, rows in by_rule),
        *(o for o in given if o.file == file and o.rows),
    )
    result = FileAccount(file, read, written, bad.filter(pl.col(FILE) == file).height, outcomes)
    if read != written + result.rejected + sum(outcome.rows for outcome in outcomes):
        raise DataError(
            "the records of a source file do not add up: this is a fault of the import, and nothing was written",
            where=file,
            got=str(result),
            remedy="report it with the first lines of the file",
        )
    return result
