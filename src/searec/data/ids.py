"""Ids that differ only in what people do not mean to tell apart: found, named and, on request, folded into one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from searec.data.formats.base import FOLD_RULES, FoldRule
from searec.data.schema import ITEMS, USERS

_NAMES: dict[FoldRule, str] = {
    "blanks": "blanks",
    "invisible": "invisible characters",
    "case": "upper and lower case",
    "zeros": "leading zeros",
    "decimal": "a trailing .0",
}
_INVISIBLE = r"[\p{Cf}\x00-\x08\x0E-\x1F\x7F-\x84\x86-\x9F\u{FE00}-\u{FE0F}]"
_PLAIN = "^(?:0|[a-z1-9_-][a-z0-9_-]*)$"
"""Ids that no rule changes."""
_NOTHING = ("na", "n/a", "#n/a", "nan", "null", "none", "nil", "undefined", "unknown", "(null)", "-", "?", "-1")
_MOST = 0.5
_ID_COLUMNS = {"user_id": ("user_id",), "item_id": ("item_id", "clicked", "shown")}
"""The columns that hold ids of users and of items."""


@dataclass(frozen=True)
class SimilarIds:
    """Ids that become one when some rules are applied.

    groups: how many ids would be left.
    ids: how many there are now.
    rules: the rules that it takes.
    examples: the ids of one group, at most three.
    """

    groups: int
    ids: int
    rules: tuple[FoldRule, ...]
    examples: tuple[str, ...]

    def __str__(self) -> str:
        """What differs, with an example, as the end of "user ids: ..."."""
        rules = " and ".join(_NAMES[rule] for rule in self.rules)
        examples = " and ".join(repr(example) for example in self.examples)
        groups = "1 id" if self.groups == 1 else f"{self.groups:,} ids"
        return f"{self.ids:,} differ only by {rules} and may be {groups}, such as {examples}"


def folded(ids: pl.Expr, rules: Sequence[FoldRule] = FOLD_RULES) -> pl.Expr:
    """Return ids as they are without what the rules leave out of account; equal for ids that become one.

    Args:
        ids: a column of text.
        rules: the rules.
    """
    if "invisible" in rules:
        ids = ids.str.replace_all(_INVISIBLE, "")
    if "blanks" in rules:
        ids = ids.str.replace_all(r"\s+", " ").str.strip_chars()
    if "case" in rules:
        ids = ids.str.to_lowercase()
    if "decimal" in rules:
        ids = ids.str.replace(r"^(\s*-?[0-9]+)\.0+(\s*)$", "$1$2")
    if "zeros" in rules:
        ids = ids.str.replace(r"^(\s*)0+([0-9]+(?:\.[0-9]+)?\s*)$", "$1$2")
    return ids


def similar_ids(ids: pl.Series) -> list[SimilarIds]:
    """Return the ids that differ only by what `FOLD_RULES` name, one result for each set of rules that it takes.

    Args:
        ids: distinct ids; null and blank ones are left out.
    """
    alike = _alike(ids, FOLD_RULES)
    by_rules: dict[tuple[FoldRule, ...], list[tuple[str, ...]]] = {}
    for group in alike["id"].to_list():
        series = pl.Series("id", group)
        needed = tuple(
            rule
            for rule in FOLD_RULES
            if series.to_frame().select(folded(pl.col("id"), [r for r in FOLD_RULES if r != rule]).n_unique()).item()
            > 1
        )
        by_rules.setdefault(needed or FOLD_RULES[:1], []).append(tuple(sorted(group)))
    return [
        SimilarIds(len(groups), sum(map(len, groups)), rules, groups[0][:3])
        for rules, groups in sorted(by_rules.items())
    ]


def _alike(ids: pl.Series, rules: Sequence[FoldRule]) -> pl.DataFrame:
    """Groups of more than one id that the rules make one: "folded" and the list "id"."""
    frame = ids.cast(pl.String).alias("id").to_frame().filter(pl.col("id").str.strip_chars() != "")
    is_plain = frame.select(pl.col("id").str.contains(_PLAIN)).to_series()
    if is_plain.all():
        return pl.DataFrame(schema={"folded": pl.String(), "id": pl.List(pl.String)})
    others = frame.filter(~is_plain).with_columns(folded(pl.col("id"), rules).alias("folded"))
    plain = frame.filter(is_plain).with_columns(pl.col("id").alias("folded"))
    groups = pl.concat([plain, others]).lazy().group_by("folded").agg("id").filter(pl.col("id").list.len() > 1)
    return groups.sort("folded").collect(engine="streaming")


def id_counts(tables: Mapping[str, pl.LazyFrame], key: str) -> pl.DataFrame:
    """Return each id of users or items: "id", "rows" (of events that name it) and "listed" (in users or items).

    Args:
        tables: tables of the dataset folder by name.
        key: "user_id" or "item_id".
    """
    parts = []
    for name, frame in tables.items():
        schema = frame.collect_schema()
        for column in _ID_COLUMNS[key]:
            if column in schema:
                ids = frame.select(pl.col(column).alias("id"))
                ids = ids.explode("id") if isinstance(schema[column], pl.List) else ids
                is_list = name in (ITEMS.name, USERS.name)
                count = pl.lit(0, dtype=pl.UInt32) if is_list else pl.len()
                parts.append(ids.group_by("id").agg(count.alias("rows"), pl.lit(is_list).alias("listed")))
    whole = pl.concat(parts).group_by("id").agg(pl.col("rows").sum(), pl.col("listed").any())
    return whole.filter(pl.col("id").is_not_null()).collect(engine="streaming")


def note_similar(counts: pl.DataFrame, key: str) -> list[str]:
    """Return notes on ids that may be one, and on an id such as NA that most events name.

    Args:
        counts: what `id_counts` returns.
        key: "user_id" or "item_id".
    """
    kind = key.removesuffix("_id")
    notes = [
        f"{kind} ids: {similar}; --fold-ids {','.join(similar.rules)} makes them one"
        for similar in similar_ids(counts["id"])
    ]
    total = int(counts["rows"].sum())
    blank = counts.filter(pl.col("id").str.strip_chars().str.to_lowercase().is_in(_NOTHING))
    notes += [
        f"{kind} id {name!r} is in {rows:,} of {total:,} events: it looks like a missing value, not like a {kind}"
        for name, rows in blank.filter(pl.col("rows") > _MOST * total).select("id", "rows").sort("id").iter_rows()
    ]
    return notes


def fold_map(counts: pl.DataFrame, rules: Sequence[FoldRule]) -> dict[str, str]:
    """Return the id to use for each id that is to be replaced: of those that become one, the one most used.

    Ids that users or items list come first.

    Args:
        counts: what `id_counts` returns.
        rules: what to leave out of account.
    """
    groups = _alike(counts["id"], rules).explode("id").join(counts, on="id")
    ordered = groups.sort("folded", "listed", "rows", "id", descending=[False, True, True, False])
    best = ordered.group_by("folded", maintain_order=True).agg(pl.col("id").first().alias("best"))
    pairs = ordered.join(best, on="folded").filter(pl.col("id") != pl.col("best"))
    return dict(pairs.select("id", "best").iter_rows())


def replace_ids(frame: pl.LazyFrame, ids: Mapping[str, Mapping[str, str]]) -> pl.LazyFrame:
    """Return a table with other ids.

    Args:
        frame: a table of the dataset folder.
        ids: for "user_id" and "item_id" the new id by old id.
    """
    schema = frame.collect_schema()
    columns = []
    for key, names in ids.items():
        for column in _ID_COLUMNS[key]:
            if names and column in schema:
                is_list = isinstance(schema[column], pl.List)
                value = pl.col(column)
                columns.append(value.list.eval(pl.element().replace(names)) if is_list else value.replace(names))
    return frame.with_columns(columns)
