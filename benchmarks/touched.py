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


def touched(work: Callable[[], Any]) -> dict[str, Any]:
    """Return how many files, functions and calls of searec a piece of work touches, and the files.

    Args:
        work: called once; threads that it starts are counted too. What it imports must be imported before.
    """
    codes: dict[CodeType, int] = {}

    def record(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(HOME) and code.co_name != "<module>":
            codes[code] = codes.get(code, 0) + 1

    threading.setprofile(record)
    sys.setprofile(record)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    # Comprehensions, generator expressions and class bodies are parts of the functions around them.
    functions = {(code.co_filename, code.co_qualname.split(".<locals>.<")[0]) for code in codes}
    files = sorted({str(Path(file).relative_to(HOME)) for file, _ in functions})
    return {"files": len(files), "functions": len(functions), "calls": sum(codes.values()), "names": files}


def train(room: Path) -> dict[str, Any]:
    """Return what the training of a sasrec for one epoch touches; the data are encoded and the modules loaded before.

    Args:
        room: a folder for the runs.
    """
    data = searec.load(searec.sample_folder())
    small = {"width": 16, "inner": 16, "epochs": 1, "validation_requests": 100}
    searec.train("sasrec", data, room / "first", **small)
    return touched(lambda: searec.train("sasrec", searec.load(searec.sample_folder()), room / "second", **small))


def recommend(room: Path) -> dict[str, Any]:
    """Return what one recommendation over HTTP touches, after a first one.

    Args:
        room: a folder for the run and the event store.
    """
    from served import application
    from starlette.testclient import TestClient

    run = searec.train("itemknn", searec.load(searec.sample_folder()), room / "knn")
    found: dict[str, Any] = {}
    # Threads of the service are started under the profile, and count only while a request is measured.
    user = run.data.users.outside([1])[0]
    app = application(run, room)
    with TestClient(app) as client:
        client.get("/v1/recommend", params={"user_id": user, "k": 10}).raise_for_status()
        found = touched(lambda: client.get("/v1/recommend", params={"user_id": user, "k": 10}).raise_for_status())
    return found


def main() -> None:
    """Print the counts of one piece of work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("train", "recommend"))
    work = parser.parse_args().work
    with tempfile.TemporaryDirectory() as room:
        print(json.dumps({"work": work, **{"train": train, "recommend": recommend}[work](Path(room))}))


if __name__ == "__main__":
    main()
