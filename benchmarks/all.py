"""Every benchmark, one JSON line each.

python benchmarks/all.py [--data DATASET] [--only NAME], where NAME is one of the choices below.
"""

import argparse
import os
import tempfile
from pathlib import Path

import bench_batch
import bench_dense
import bench_encode
import bench_encoder
import bench_evaluate
import bench_events
import bench_facets
import bench_first_step
import bench_fusion
import bench_gensar
import bench_gserec
import bench_http
import bench_ids
import bench_import
import bench_lcr_ser
import bench_published
import bench_recbole
import bench_search
import bench_serendipity
import bench_serve
import bench_store
import bench_suggest
import bench_text
import bench_understanding
import soak
from searec.data.synthetic.simulate import World, simulate


def main() -> None:
    """Run them in turn, on the given dataset or on a simulated one of 20,000 users."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="dataset folder")
    parser.add_argument(
        "--only",
        choices=(
            "first-step",
            "encode",
            "encoder",
            "large",
            "text",
            "understanding",
            "ids",
            "fusion",
            "dense",
            "suggest",
            "facets",
            "import",
            "batch",
            "evaluate",
            "recbole",
            "recbole-quality",
            "gserec",
            "gserec-scale",
            "gserec-quality",
            "lcr-ser",
            "gensar",
            "gensar-decoding",
            "search",
            "serendipity",
            "store",
            "http",
            "events",
            "serve",
            "soak",
        ),
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        os.environ.setdefault("SEAREC_CACHE", str(Path(room) / "cache"))
        data = options.data or simulate(Path(room) / "world", World(users=20_000, items=10_000))
        on_data = {
            "encode": bench_encode.run,
            "text": bench_text.run,
            "understanding": bench_understanding.run,
            "batch": bench_batch.run,
            "evaluate": bench_evaluate.run,
            "recbole": bench_recbole.run,
            "recbole-quality": bench_recbole.to_quality,
            "gserec": bench_gserec.run,
            "gserec-quality": bench_published.run,
            "lcr-ser": bench_lcr_ser.run,
            "gensar": bench_gensar.run,
        }
        for name, measure in on_data.items():
            if options.only in (None, name):
                measure(data)
        in_room = {
            "large": bench_encode.large,
            "import": bench_import.run,
            "store": bench_store.run,
            "events": bench_events.run,
        }
        for name, measure_in in in_room.items():
            if options.only in (None, name):
                measure_in(Path(room))
        if options.only == "import":  # for minutes, so not with the others
            bench_import.large(Path(room))
        alone = {
            "ids": bench_ids.run,
            "fusion": bench_fusion.run,
            "dense": bench_dense.run,
            "suggest": bench_suggest.run,
            "facets": bench_facets.run,
            "encoder": bench_encoder.run,
            "first-step": bench_first_step.run,
            "gserec-scale": bench_gserec.scale,
            "gensar-decoding": bench_gensar.decoding,
            "http": bench_http.run,
        }
        for name, measure_alone in alone.items():
            if options.only in (None, name):
                measure_alone()
        if options.only in (None, "serendipity"):
            bench_serendipity.retrieval(data, Path(room))
        if options.only in (None, "serve"):
            bench_serve.run(Path(room) / "serve")
        if options.only == "search":  # for minutes, so not with the others
            bench_search.run(data)
            bench_search.served(Path(room) / "served")
        if options.only == "soak":  # for minutes, so not with the others
            soak.trained(data, Path(room))


if __name__ == "__main__":
    main()
