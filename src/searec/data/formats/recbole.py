"""RecBole's atomic files, read and written: NAME.inter, NAME.item, NAME.user, and searec's NAME.search beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

import polars as pl

from searec.config import nearest
from searec.data.convert import as_times
from searec.data.formats.base import FILE, ROW, ImportOptions, Raw, completed, of_count, refuse_encoding, split_mapping
from searec.data.formats.fields import FieldFile, read_fields
from searec.data.formats.recbole_text import read, read_list, read_name, unquoted, written, written_list, written_name
from searec.data.schema import INTERACTIONS, ITEMS, SEARCHES, TABLES, USERS, Column, Kind, Table
from searec.errors import DataError

SUFFIXES = {ITEMS.name: ".item", USERS.name: ".user", INTERACTIONS.name: ".inter", SEARCHES.name: ".search"}
TYPES = ("token", "token_seq", "float", "float_seq")
_MAPPED = (INTERACTIONS, ITEMS, USERS)
_ITEM = ("item_id", "product_id", "business_id", "venue_id", "artist_id")
_USER = ("user_id", "session_id")
NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "interactions": {
        "user_id": _USER,
        "item_id": _ITEM,
        "timestamp": ("timestamp", "time", "date"),
        "event": ("event", "event_type", "behavior", "behavior_type", "action_type"),
    },
    "items": {
        "item_id": _ITEM,
        "title": ("title", "item_name", "movie_title", "product_title", "book_title", "name"),
        "description": ("description",),
        "brand": ("brand",),
        "categories": ("categories", "category", "class", "genres", "genre"),
    },
    "users": {"user_id": _USER},
}
"""The names under which published atomic files keep searec's columns; the first that is there is taken."""
_SEPARATOR = "\t"


@dataclass(frozen=True)
class _Atomic:
    """One kind of atomic file: its rows as text under the header's names, the header's types by name, and its files."""

    path: Path
    frame: pl.LazyFrame
    types: dict[str, str]
    files: tuple[tuple[str, FieldFile], ...]


def read_recbole(source: Path, options: ImportOptions) -> Raw:
    """The tables of a folder of atomic files, unread.

    Args:
        source: a folder as RecBole keeps it, or its .inter file.
        options: the mapping is "table.column" -> column, or "table" -> file name in the folder; for interactions,
            items and users.

    Raises:
        SettingsError: a mapping of something that does not exist.
        DataError: no such folder, file or column, a header that is not RecBole's, or a file that cannot be read.
    """
    options.refuse_unused("recbole", "time_format", "time_unit")
    files, columns = split_mapping(options.mapping, {table.name: [c.name for c in table.columns] for table in _MAPPED})
    folder, name, logs = _find(source, files.get(INTERACTIONS.name))
    notes: list[str] = []
    ours = (folder / (name + SUFFIXES[SEARCHES.name])).is_file()
    files_of: dict[str, Path] = {INTERACTIONS.name: logs[0]}
    opened = {INTERACTIONS.name: _open(logs)}
    if not ours and not sum(file.records for _, file in opened[INTERACTIONS.name].files):
        raise DataError("no interactions", where=logs[0], expected="a line for each below the header")
    inter = _chosen(opened[INTERACTIONS.name], INTERACTIONS, columns[INTERACTIONS.name], notes, ours=ours)
    tables = {INTERACTIONS.name: inter}
    if len(logs) > 1:
        notes.append("read together: " + ", ".join(path.name for path in logs))
    if ours:
        files_of[SEARCHES.name] = folder / (name + SUFFIXES[SEARCHES.name])
        opened[SEARCHES.name] = _open([files_of[SEARCHES.name]])
        tables[SEARCHES.name] = _chosen(opened[SEARCHES.name], SEARCHES, {}, notes, ours=True)
    else:
        notes.append("RecBole knows no searches: there are none")
    for table in (ITEMS, USERS):
        path = folder / files.get(table.name, name + SUFFIXES[table.name])
        if not path.is_file() and (table.name in files or columns[table.name]):
            raise DataError(
                "missing file", where=path, got=_listing(folder), remedy=f"--map {table.name}=FILE names another"
            )
        key = table.columns[0].name
        frame = pl.LazyFrame(schema={key: pl.String, FILE: pl.String, ROW: pl.get_index_type()})
        if path.is_file():
            files_of[table.name] = path
            opened[table.name] = _open([path])
            frame = _chosen(opened[table.name], table, columns[table.name], notes, ours=ours)
        else:
            notes.append(f"no {path.name}: {table.name} are the ids seen in events")
        tables[table.name] = _complete(frame, key, inter, notes, there=path.is_file()) if not ours else frame
        if table is ITEMS and not ours:
            tables[table.name] = _titled(tables[table.name], notes)
        files_of.setdefault(table.name, logs[0])
    read = [file for atomic in opened.values() for file in atomic.files]
    return Raw(
        tables,
        files_of,
        (*notes, *(note for _, file in read for note in file.notes)),
        pl.concat([file.rejects for _, file in read]).lazy(),
        repeats=not ours,
        read={file_name: file.records for file_name, file in read},
    )


def write_recbole(tables: Mapping[str, pl.LazyFrame], name: str) -> dict[str, pl.LazyFrame]:
    """Return the lines of each atomic file of a dataset folder, by file name.

    Interactions are in the order of time: RecBole stores times as float32, which is coarser than two minutes, and its
    sort leaves those as they stand.

    Args:
        tables: the folder's tables.
        name: of the dataset.
    """
    lines = {}
    for table in TABLES:
        frame = tables[table.name]
        schema = frame.collect_schema()
        if table is INTERACTIONS:
            frame = frame.sort("timestamp", maintain_order=True)
        fields = [_field(pl.col(column), dtype) for column, dtype in schema.items()]
        header = _SEPARATOR.join(
            f"{written_name(column)}:{kind}" for column, (kind, _) in zip(schema.names(), fields, strict=True)
        )
        row = pl.concat_str([value.fill_null("") for _, value in fields], separator=_SEPARATOR).alias("line")
        lines[name + SUFFIXES[table.name]] = pl.concat([pl.LazyFrame({"line": [header]}), frame.select(row)])
    return lines


def _find(source: Path, named: str | None) -> tuple[Path, str, list[Path]]:
    """The folder, the dataset's name, and the file or files of interactions."""
    if not source.exists():
        raise DataError(
            "no such folder",
            where=source,
            expected="a folder with NAME.inter, and NAME.item and NAME.user if there are any",
        )
    folder = source if source.is_dir() else source.parent
    whole = folder / f"{folder.resolve().name}.inter"
    one = source if folder != source else folder / named if named is not None else whole
    logs = [one] if one.is_file() else [] if named is not None else sorted(folder.glob("*.inter"))
    if not logs:
        raise DataError("missing file", where=one, got=_listing(folder), remedy="--map interactions=FILE names another")
    stems = [path.name.removesuffix(".inter") for path in logs]
    names = (
        set(stems) if len(logs) == 1 else {stem.partition(".")[0] for stem in stems}
    )  # NAME.train.inter, NAME.test.inter, ...
    if len(names) > 1:
        got = ", ".join(path.name for path in logs)
        raise DataError(
            "several datasets in one folder", where=source, got=got, remedy="--map interactions=NAME.inter says which"
        )
    return folder, names.pop(), logs


def _listing(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())) or "an empty folder"


def _open(paths: Sequence[Path]) -> _Atomic:
    """Files with one header, unread, each row with its file and row; lines that hold nothing are left out."""
    frames, files = [], []
    for path in paths:
        try:
            file = read_fields(path, _SEPARATOR)
            file.frame.select(pl.len()).collect(engine="streaming")  # what is broken is found here, and in which file
        except (pl.exceptions.PolarsError, OSError) as error:
            _refuse(path, error)
        files.append((path.name, file))
        frames.append(file.frame.with_columns(pl.lit(path.name).alias(FILE)))
    headers = [frame.collect_schema().names()[1:-1] for frame in frames]
    for path, header in zip(paths, headers, strict=True):
        if header != headers[0]:
            expected = f"{', '.join(headers[0])}, as in {paths[0].name}"
            raise DataError("files with different headers", where=path, got=", ".join(header), expected=expected)
    types: dict[str, str] = {}
    for field in headers[0]:
        name, _, kind = field.partition(":")
        if not name or kind not in TYPES or read_name(name) in types:
            refuse_encoding(paths[0])
            expected = f"name:type, type one of {', '.join(TYPES)}, with tabs between, each name once"
            raise DataError("not the header of an atomic file", where=paths[0], got=repr(field), expected=expected)
        types[read_name(name)] = kind
    names = dict(zip(headers[0], types, strict=True))
    return _Atomic(paths[0], pl.concat(frames).rename(names), types, tuple(files))


def _refuse(path: Path, error: Exception) -> NoReturn:
    """Find what is wrong with a file that Polars refused."""
    if path.is_file() and path.stat().st_size == 0:
        raise DataError("file is empty", where=path, expected="a header of name:type fields, and rows") from error
    refuse_encoding(path)
    raise DataError(
        "cannot read the atomic file", where=path, got=str(error).splitlines()[0], remedy="write the file again"
    ) from error


def _chosen(atomic: _Atomic, table: Table, mapped: Mapping[str, str], notes: list[str], *, ours: bool) -> pl.LazyFrame:
    """A file's columns under searec's names and with the types of its header; others are kept for items and users."""
    there = list(atomic.types)
    expressions: dict[str, pl.Expr] = {}
    for column in table.columns:
        source = mapped.get(column.name) or next((n for n in _names(table, column) if n in there), None)
        if source is not None and source not in there:
            expected = f"the column mapped to {table.name}.{column.name}"
            raise DataError(
                f"missing column {source!r}",
                where=atomic.path,
                got=", ".join(there),
                expected=expected,
                remedy=nearest(source, there),
            )
        if source is not None:
            expressions[column.name] = _value(source, atomic.types[source], column.kind, ours=ours)
        elif column.required and (table, column.name) not in ((INTERACTIONS, "event"), (ITEMS, "title")):
            remedy = f"--map {table.name}.{column.name}=COLUMN names another"
            if column.name == "timestamp":
                remedy += "; a file without times cannot be used, since times decide what a model may see"
            raise DataError(
                f"missing column {column.name!r}",
                where=atomic.path,
                got=", ".join(there),
                expected=" or ".join(_names(table, column)),
                remedy=remedy,
            )
        elif column.name == "event":
            event = "rating" if "rating" in there else "click"
            expressions["event"] = pl.lit(event)
            notes.append(
                f"{atomic.path.name} has no event column: every interaction is a {event!r}"
                + "; ratings are not kept" * (event == "rating")
            )
        elif column.name == "title":
            expressions["title"] = pl.lit(None, dtype=pl.String)
    taken = {
        *expressions,
        *mapped.values(),
        *(expr.meta.root_names()[0] for expr in expressions.values() if expr.meta.root_names()),
    }
    if table in (ITEMS, USERS):
        others = {name: kind for name, kind in atomic.types.items() if name not in taken}
        expressions |= {name: _value(name, kind, None, ours=ours) for name, kind in others.items()}
        notes += _not_numbers(atomic, others)
    return atomic.frame.select(*(value.alias(name) for name, value in expressions.items()), FILE, ROW)


def _not_numbers(atomic: _Atomic, types: Mapping[str, str]) -> list[str]:
    """Notes on values of number columns that are none, and become null."""
    notes = []
    for name, kind in types.items():
        if not kind.startswith("float"):
            continue
        members = pl.col(name).str.split(" ") if kind == "float_seq" else pl.concat_list(name)
        values = atomic.frame.select(ROW, members.alias("value")).explode("value", empty_as_null=False)
        text = pl.col("value").str.strip_chars()
        bad = values.filter((text != "") & text.cast(pl.Float64, strict=False).is_null())
        counts = bad.select(pl.len(), pl.col("value", ROW).first().name.prefix("first_"))
        count, value, row = counts.collect(engine="streaming").row(0)
        if count:
            notes.append(
                f"{atomic.path.name}: {count:,} {'value' if count == 1 else 'values'} of {name}:{kind} "
                f"{'is no number and becomes' if count == 1 else 'are no numbers and become'} null, "
                f"such as {value!r} in row {row}"
            )
    return notes


def _names(table: Table, column: Column) -> tuple[str, ...]:
    return NAMES.get(table.name, {}).get(column.name, (column.name,))


def _value(name: str, type: str, kind: Kind | None, *, ours: bool) -> pl.Expr:
    """One column of a file; `kind` is None for one that searec does not know."""
    field = pl.col(name)
    if kind is Kind.TIME:
        return cast("pl.Expr", as_times(name, pl.String(), "s")) if ours else field
    if kind is Kind.TEXT or (kind is None and type == "token"):
        return read(field) if ours else unquoted(field)
    if kind is None and type == "float":
        return field.str.strip_chars().cast(pl.Float64, strict=False)
    if ours and type != "float_seq":
        return read_list(field)
    members = (field if ours else unquoted(field)).str.split(" ").list.filter(pl.element() != "")
    if type == "float_seq" and kind is None:
        return members.list.eval(pl.element().cast(pl.Float64, strict=False))
    return pl.when(type != "token").then(members).otherwise(pl.concat_list(unquoted(field))) if not ours else members


def _complete(frame: pl.LazyFrame, key: str, inter: pl.LazyFrame, notes: list[str], *, there: bool) -> pl.LazyFrame:
    whole = completed(frame, key, [inter])
    if there:
        added = (
            whole.select(pl.len()).collect(engine="streaming").item()
            - frame.select(pl.len()).collect(engine="streaming").item()
        )
        if added:
            notes.append(f"{of_count(added, 'value', 'values')} of {key} that events name and no file has: added")
    return whole


def _titled(items: pl.LazyFrame, notes: list[str]) -> pl.LazyFrame:
    """Items without a title go by their id."""
    if "title" not in items.collect_schema():
        items = items.with_columns(title=pl.lit(None, dtype=pl.String))
    title = pl.col("title")
    blank = title.is_null() | (title.str.strip_chars() == "")
    count = items.select(blank.sum()).collect(engine="streaming").item()
    if count:
        notes.append(of_count(count, "item has", "items have") + " no title: the id is used as the title")
    return items.with_columns(pl.when(blank).then("item_id").otherwise(title).alias("title"))


def _field(value: pl.Expr, dtype: pl.DataType) -> tuple[str, pl.Expr]:
    """RecBole's type of a column, and the column as fields; JSON unless number, time, text or a list of these."""
    if isinstance(dtype, pl.Datetime):
        micro = value.dt.epoch("us")
        return "float", (micro // 1_000_000).cast(pl.String) + "." + (micro % 1_000_000).cast(pl.String).str.pad_start(
            6, "0"
        )
    if dtype.is_numeric():
        return "float", value.cast(pl.String)
    if isinstance(dtype, pl.List) and not dtype.inner.is_nested():
        numbers = dtype.inner.is_numeric()
        texts = value.cast(pl.List(pl.String))
        return ("float_seq", texts.list.join(" ", ignore_nulls=True)) if numbers else ("token_seq", written_list(texts))
    text = value.cast(pl.String)
    if dtype.is_nested():
        text = pl.when(value.is_not_null()).then(pl.struct(value).struct.json_encode())
    elif isinstance(dtype, pl.Binary):
        text = value.bin.encode("base64")
    return "token", written(text)
