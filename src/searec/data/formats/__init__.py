"""The formats `searec import` reads and `searec export` writes: one file a format, one line here.

Other packages add an importer under the entry points group `searec.formats` and an exporter under `searec.exports`.
"""

from searec.plugins import Registry

_HERE = "searec.data.formats"
FORMATS = Registry(
    "format",
    {
        "parquet": f"{_HERE}.plain:read_parquet",
        "csv": f"{_HERE}.plain:read_csv",
        "jsonl": f"{_HERE}.plain:read_json_lines",
        "kuaisar": f"{_HERE}.kuaisar:read_kuaisar",
        "recbole": f"{_HERE}.recbole:read_recbole",
        "ubi": f"{_HERE}.ubi:read_ubi",
        "amazon": f"{_HERE}.amazon:read_amazon",
        "movielens": f"{_HERE}.movielens:read_movielens",
        "qilin": f"{_HERE}.qilin:read_qilin",
    },
    group="searec.formats",
)
"""Name -> `Importer`, imported when it is used."""
EXPORTS = Registry(
    "format",
    {"recbole": f"{_HERE}.recbole:write_recbole", "ubi": f"{_HERE}.ubi_write:write_ubi"},
    group="searec.exports",
)
"""Name -> `Exporter`, imported when it is used."""
