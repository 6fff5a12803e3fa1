"""The formats `searec import` reads: one file a format, one line here."""

from functools import partial

from searec.data.sources.amazon import read_amazon
from searec.data.sources.base import Importer, Raw, reading
from searec.data.sources.movielens import read_movielens
from searec.data.sources.plain import read_plain
from searec.data.sources.qilin import read_qilin

FORMATS: dict[str, Importer] = {
    "parquet": partial(read_plain, "parquet"),
    "csv": partial(read_plain, "csv"),
    "jsonl": partial(read_plain, "jsonl"),
    "amazon": read_amazon,
    "movielens": read_movielens,
    "qilin": read_qilin,
}

__all__ = ["FORMATS", "Importer", "Raw", "reading"]
