"""A service with stand-ins as a process: service_process.py JSON, with the arguments of `serve` and `application`."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from stand_in import Front, Made

from searec.errors import RunError, SearecError
from searec.service.http.http_config import HttpSettings
from searec.service.http.server import serve


class Closing(list):  # type: ignore[type-arg]
    """Says what is closed."""

    def append(self, what: object) -> None:
        print("closed", what, file=sys.stderr, flush=True)


def application(
    *, keys: bool = False, slow: float = 0.0, fails_first: int = 0, broken: bool = False, settings: dict[str, Any]
) -> Any:
    if broken:
        raise RunError("the run is damaged", where="runs/a")
    front = Front(slow)
    front.fails_first, front.closed = fails_first, Closing()
    return Made(keys=keys, front=front, stream=sys.stderr.buffer, **settings).app


def main() -> None:
    options = json.loads(sys.argv[1])
    server = options.pop("server", {})
    settings = {"rate": 0, **options.pop("settings", {})}
    try:
        serve(
            partial(application, settings=settings, **options),
            **server,
            settings=HttpSettings(**settings),
            announce=partial(print, flush=True),
        )
    except SearecError as error:
        print(f"searec: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
