"""The formats `searec import` reads and `searec export` writes: one file a format, one line here."""

from functools import partial

from searec.data.formats.amazon import read_amazon
from searec.data.formats.base import Exporter, Importer, Raw, reading
from searec.data.formats.kuaisar import read_kuaisar
from searec.data.formats.movielens import read_movielens
from searec.data.formats.plain import read_plain
from searec.data.formats.qilin import read_qilin
from searec.data.formats.recbole import read_recbole, write_recbole
from searec.data.formats.ubi import read_ubi
from searec.data.formats.ubi_write import write_ubi

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
