"""Validation by seconds of training, of several runs in one picture.

python benchmarks/curves.py RUN... --out FILE.svg [--metric full-ndcg@10.recommend]

Only the first phase has a curve; what later phases add is in config.json of the run.
"""

import argparse
import json
from pathlib import Path

from searec.files import write_text
from searec.reports.plots import Line, curves
from searec.training.training_log import FILE as LOG
from searec.training.training_log import read_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    parser.add_argument("--metric", default="full-ndcg@10.recommend", help="that validation measured")
    given = parser.parse_args()
    lines = []
    for number, folder in enumerate(given.runs):
        label = json.loads((folder / "config.json").read_text(encoding="utf-8"))["label"]
        rows = [row for row in read_rows(folder / LOG) if row["event"] == "validate" and given.metric in row]
        seconds, values = ([float(row[name]) for row in rows] for name in ("seconds", given.metric))
        lines.append(Line(label, number, seconds, values))
    write_text(given.out, curves(lines, title=f"{given.metric} by seconds of training", across="seconds", marked=True))


if __name__ == "__main__":
    main()
