"""The formats `searec import` reads and `searec export` writes: one file a format, one line here."""

from functools import partial

from searec.data.sources.amazon import read_amazon
from searec.data.sources.base import Exporter, Importer, Raw, reading
from searec.data.sources.kuaisar import read_kuaisar
from searec.data.sources.movielens import read_movielens
from searec.data.sources.plain import read_plain
from searec.data.sources.qilin import read_qilin
from searec.data.sources.recbole import read_recbole, write_recbole
from searec.data.sources.ubi import read_ubi
from searec.data.sources.ubi_write import write_ubi

FORMATS: dict[str, Importer] = {
    "parquet": partial(read_plain, "parquet"),
    "csv": partial(read_plain, "csv"),
    "jsonl": partial(read_plain, "jsonl"),
    "kuaisar": read_kuaisar,
    "recbole": read_recbole,
    "ubi": read_ubi,
    "amazon": read_amazon,
    "movielens": read_movielens,
    "qilin": read_qilin,
}
EXPORTS: dict[str, Exporter] = {"recbole": write_recbole, "ubi": write_ubi}

__all__ = ["EXPORTS", "FORMATS", "Exporter", "Importer", "Raw", "reading"]
