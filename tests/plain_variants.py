"""Seeded variants of plain files: folders that are mostly right, with odd values, odd bytes and odd structure."""

import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import polars as pl

FORMATS = ("csv", "jsonl", "parquet")
_IDS = (
    "u1",
    "u1 ",
    "U1",
    "u\u200b1",
    "007",
    "7",
    "7.0",
    "NA",
    "",
    " ",
    "é",
    "a,b",
    'q"',
    "x\ny",
    "12345678901234567",
    "0",
)
_TEXTS = (
    "lamp",
    'tv 32"',
    '27" screen',
    "a;b",
    "tab\there",
    "",
    " ",
    "línea",
    "\ufffd",
    "x" * 300,
    "'",
    "\u2028",
    "[]",
    '"',
)
_TIMES = (
    *("2024-01-05", "2024-01-05T10:00:00Z", "20240105T100000Z", "2024-01-05 10:00:00,5+02", "1700000000", "1.70E+12"),
    *("0", "yesterday", "", "2999-01-01", "2024-02-31", "2018/11/25", "1700000000000", "-5", "1e400", "nan"),
)
_NAMES = ("row", "__row", "file", "len", "price", "", "item", "user", "time", "index", "value")


def write(folder: Path, form: str, seed: int) -> dict[str, int | None]:
    """Write one variant; return the records of each file, None where the bytes were damaged.

    Args:
        folder: a new folder.
        form: one of `FORMATS`.
        seed: the same seed gives the same files.
    """
    random_ = random.Random(f"{form} {seed}")
    folder.mkdir()
    odd = random_.choice((0.0, 0.02, 0.3))
    records: dict[str, int | None] = {}
    for table in ("items", "users", "interactions", "searches"):
        if table in ("users", "searches") and random_.random() < 0.4:
            continue
        rows = [_row(random_, table, number, odd) for number in range(random_.choice((0, 1, 3, 20)))]
        extra = random_.sample(_NAMES, random_.choice((0, 0, 1, 3)))
        for row in rows:
            row |= {name: random_.choice(_TEXTS) for name in extra}
        packed = form != "parquet" and random_.random() < 0.1
        name = f"{table}.{form}" + ".gz" * packed
        data, count = {"csv": _csv, "jsonl": _json_lines, "parquet": _parquet}[form](random_, rows, table, extra)
        records[name] = count
        if random_.random() < 0.1 and data:
            data, records[name] = _damaged(random_, data), None
        (folder / name).write_bytes(gzip.compress(data) if packed else data)
    return records


def _row(random_: random.Random, table: str, number: int, odd: float) -> dict[str, Any]:
    def value(usual: Any, choices: tuple[Any, ...]) -> Any:
        return random_.choice(choices) if random_.random() < odd else usual

    user, item = value(f"u{random_.randrange(3)}", _IDS), value(f"i{random_.randrange(4)}", _IDS)
    time = value(f"2024-01-{number % 28 + 1:02}T00:00:{number % 60:02}Z", _TIMES)
    clicked = [value(f"i{random_.randrange(4)}", _IDS) for _ in range(random_.randrange(3))]
    return {
        "items": {
            "item_id": value(f"i{number}", _IDS),
            "title": value(f"thing {number}", _TEXTS),
            "categories": clicked,
        },
        "users": {"user_id": value(f"u{number}", _IDS)},
        "interactions": {
            "user_id": user,
            "item_id": item,
            "timestamp": time,
            "event": value("click", ("", "view", "7")),
        },
        "searches": {
            "search_id": value(f"s{number}", ("s0", "", " ")),
            "user_id": user,
            "query": value("mug", _TEXTS),
            "timestamp": time,
            "clicked": clicked,
        },
    }[table]


def _columns(table: str, extra: list[str], random_: random.Random) -> list[str]:
    columns = [*_row(random_, table, 0, 0.0), *(name for name in extra)]
    return list(dict.fromkeys(columns))


def _csv(random_: random.Random, rows: list[dict[str, Any]], table: str, extra: list[str]) -> tuple[bytes, int]:
    columns = _columns(table, extra, random_)
    end = random_.choice(("\n", "\r\n", "\r"))
    records = [columns, *([row[name] for name in columns] for row in rows)]
    lines = []
    for record in records:
        fields = []
        for value in record:
            text = "|".join(value) if isinstance(value, list) and random_.random() < 0.5 else value
            text = text if isinstance(text, str) else json.dumps(text)
            # A quote inside a field that no quote opens is an ordinary character.
            must = any(mark in text for mark in ",\r\n") or text.startswith('"')
            fields.append('"' + text.replace('"', '""') + '"' if must or random_.random() < 0.2 else text)
        if len(columns) > 1 and lines and random_.random() < 0.02:
            fields = fields[:-1] if random_.random() < 0.5 else [*fields, "more"]
        lines.append(",".join(fields))
        if random_.random() < 0.02:
            lines.append("")
    text = end.join(lines) + end * random_.randrange(2)
    whole = text.encode("utf-8-sig" if random_.random() < 0.1 else "utf-8")
    single = len(columns) == 1  # an empty line is no record, even where one field would be empty
    count = sum(1 for record, row in zip(records[1:], rows, strict=True) if not (single and not record[0]))
    return whole, count if not single else _by_csv(whole)


def _by_csv(data: bytes) -> int:
    import csv

    return sum(map(bool, csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))) - 1


def _json_lines(random_: random.Random, rows: list[dict[str, Any]], table: str, extra: list[str]) -> tuple[bytes, int]:
    lines = []
    for row in rows:
        shown: dict[str, Any] = {}
        for name, usual in row.items():
            value, chance = usual, random_.random()
            if chance < 0.03 and name != "title":
                value = random_.choice((7, 7.0, 12345678901234567, None, True, 1.5e3, [1, 2.0], {"a": 1}))
            elif chance < 0.05:
                continue
            shown[name] = value
        text = json.dumps(shown, ensure_ascii=random_.random() < 0.5)
        if random_.random() < 0.02:
            text = text.replace('"mug"', '"mug\\ud800"').replace('"thing', '"\\udc00thing')
        if random_.random() < 0.01:
            text = random_.choice(("[1]", "{", "NaN", text + text, text.replace(":", "=", 1)))
        lines.append(text)
        if random_.random() < 0.03:
            lines.append(random_.choice(("", "  ")))
    data = "\n".join(lines).encode()
    return (b"\xef\xbb\xbf" if random_.random() < 0.1 else b"") + data, sum(bool(line.strip()) for line in lines)


def _parquet(random_: random.Random, rows: list[dict[str, Any]], table: str, extra: list[str]) -> tuple[bytes, int]:
    columns = _columns(table, extra, random_)
    frame = pl.DataFrame({name: [row[name] for row in rows] for name in columns})
    for name in ("user_id", "item_id"):
        if name in columns and random_.random() < 0.3:
            dtype = random_.choice((pl.Float64, pl.Int64, pl.Categorical))
            try:
                frame = frame.with_columns(pl.col(name).str.replace("[a-z]", "").cast(dtype, strict=False))
            except pl.exceptions.PolarsError:
                continue
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue(), len(rows)


def _damaged(random_: random.Random, data: bytes) -> bytes:
    place = random_.randrange(len(data))
    kind = random_.randrange(4)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + random_.choice((b'"', b"\xff", b"\0", b"\r", b",,", b"\n", b"{")) + data[place:]
    if kind == 2:
        return data[:place] + data[place + 1 :]
    return data[:place] + data[place:].replace(b",", b";")
