"""How much of searec a piece of work touches: its files and functions, as one JSON line.

python benchmarks/touched.py train|recommend

`train` is `searec.train("sasrec")` on the packaged sample, `recommend` is one GET /v1/recommend of a service with one
itemknn run. A function is counted once, however often it is called; `import` statements are not counted.
"""

import argparse
import json
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import searec

HOME = str(Path(searec.__file__).parent)


class Profile:
    """Records what is called in this thread and in those started later, while it is switched on."""

    def __init__(self) -> None:
        self.codes: dict[CodeType, int] | None = None
        threading.setprofile(self.record)
        sys.setprofile(self.record)

    def record(self, frame: FrameType, event: str, _: Any) -> None:
        """Count a call of a function of searec."""
        code = frame.f_code
        if self.codes is not None and event == "call" and code.co_filename.startswith(HOME):
            self.codes[code] = self.codes.get(code, 0) + 1

    def touched(self, work: Callable[[], Any]) -> dict[str, Any]:
        """Return how many files, functions and calls of searec a piece of work touches, and the files.

        Args:
            work: called once. What it imports should be imported before.
        """
        self.codes = {}
        work()
        codes, self.codes = self.codes, None
        # Comprehensions and generator expressions are parts of the functions around them.
        functions = {
            (code.co_filename, code.co_qualname.split(".<locals>.<")[0]) for code in codes if code.co_name != "<module>"
        }
        files = sorted({str(Path(file).relative_to(HOME)) for file, _ in functions})
        return {"files": len(files), "functions": len(functions), "calls": sum(codes.values()), "names": files}


def train(room: Path) -> dict[str, Any]:
    """Return what the training of a sasrec for one epoch touches; the data are encoded and the modules loaded before.

    Args:
        room: a folder for the runs.
    """
    data = searec.load(searec.sample_folder())
    small: dict[str, Any] = {"width": 16, "inner": 16, "epochs": 1, "validation_requests": 100}
    searec.train("sasrec", data, room / "first", **small)
    return Profile().touched(
        lambda: searec.train("sasrec", searec.load(searec.sample_folder()), room / "second", **small)
    )


def recommend(room: Path) -> dict[str, Any]:
    """Return what one recommendation over HTTP touches, after a first one.

    Args:
        room: a folder for the run, the deployment and the event store.
    """
    from starlette.testclient import TestClient

    from searec.pipeline.deployment import Deployment, write_deployment
    from searec.service.http.app import create_app
    from searec.service.lifecycle import open_service

    profile = Profile()  # before the service starts its threads
    run = searec.train("itemknn", searec.load(searec.sample_folder()), room / "knn")
    file = room / "deployment.json"
    write_deployment(Deployment(data=str(searec.sample_folder()), recommend=(str(run.folder),)), file)
    query = {"user_id": run.data.user_table["user_id"][0], "k": 10}
    app = create_app(*open_service({"deployment": str(file), "store": f"sqlite:///{room / 'store.db'}"}))

    with TestClient(app) as client:

        def request() -> None:
            client.get("/v1/recommend", params=query).raise_for_status()

        request()
        return profile.touched(request)


def main() -> None:
    """Print the counts of one piece of work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("train", "recommend"))
    work = parser.parse_args().work
    with tempfile.TemporaryDirectory() as room:
        print(json.dumps({"work": work, **{"train": train, "recommend": recommend}[work](Path(room))}))


if __name__ == "__main__":
    main()
