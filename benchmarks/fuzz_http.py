"""Requests made at random from the service's own OpenAPI document.

No 5xx (but 501 and 503), and every answer is as the document says.

python benchmarks/fuzz_http.py [--requests 10000] [--url http://127.0.0.1:8000]

Without a URL the application is asked in this process, on the stand-ins of its tests.
"""

import argparse
import collections
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STAND_INS = Path(__file__).parents[1] / "tests" / "service" / "http"
BY_DESIGN = (501, 503)


def run(app: Any, *, per_operation: int, seed: int, only: Sequence[str] = (), url: str | None = None) -> dict[str, Any]:
    """Ask `app`, or the service at `url`.

    "requests", "operations", "statuses" and "failures" (texts, at most 20 of them).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis
        from hypothesis import HealthCheck, Phase, given, settings
        from hypothesis import seed as seeded
        from schemathesis import checks

        checks.load_all_checks()
        chosen = [
            checks.not_a_server_error,
            checks.CHECKS.get_one("status_code_conformance"),
            checks.CHECKS.get_one("content_type_conformance"),
            checks.CHECKS.get_one("response_schema_conformance"),
        ]
        of_bodies = [
            *chosen,
            checks.CHECKS.get_one("negative_data_rejection"),
        ]  # in a query all is text: a "null" there is a fine id
        schema = (
            schemathesis.openapi.from_url(f"{url}/openapi.json")
            if url
            else schemathesis.openapi.from_asgi("/openapi.json", app)
        )
        statuses: collections.Counter[int] = collections.Counter()
        failures: list[str] = []
        operations = 0
        for result in schema.get_all_operations():
            operation: Any = result.ok()  # type: ignore[union-attr]
            if only and operation.path not in only:
                continue
            operations += 1
            wrong = bool(operation.query or operation.body)  # any text is an id, so a path alone cannot be wrong
            for mode in list(schemathesis.GenerationMode)[: 1 + wrong]:
                strategy = operation.as_strategy(generation_mode=mode)

                @seeded(seed)
                @settings(
                    max_examples=max(1, per_operation // (1 + wrong)),
                    database=None,
                    deadline=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(strategy)
                def ask(case: Any) -> None:
                    response = case.call()
                    statuses[response.status_code] += 1
                    if response.status_code in BY_DESIGN:
                        return
                    try:
                        case.validate_response(response, checks=of_bodies if case.operation.body else chosen)
                    except BaseExceptionGroup as problems:  # all that is wrong with one answer
                        if len(failures) < 20:
                            failures.append(
                                f"{case.operation.label}: status {response.status_code}: "
                                f"{[str(one)[:600] for one in problems.exceptions]}"
                            )
                    except AssertionError as problem:
                        if len(failures) < 20:
                            failures.append(
                                f"{case.operation.label}: status {response.status_code}: {str(problem)[:600]}"
                            )

                try:
                    ask()
                except Exception as error:  # hypothesis finds nothing to generate for an operation that cannot be wrong
                    if type(error).__name__ not in ("Unsatisfiable", "InvalidSchema", "SkipTest", "Skipped"):
                        raise
    return {
        "requests": statuses.total(),
        "operations": operations,
        "statuses": dict(sorted(statuses.items())),
        "failures": failures,
    }


def main() -> None:
    """One JSON line; exit code 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", help="a service that listens")
    options = parser.parse_args()
    sys.path.insert(0, str(STAND_INS))
    app = None
    if options.url is None:
        from stand_in import Made  # type: ignore[import-not-found]

        app = Made().app
    started = time.perf_counter()
    report = run(app, per_operation=-(-options.requests // 14), seed=options.seed, url=options.url)
    print(json.dumps({"benchmark": "fuzz of the HTTP", **report, "seconds": round(time.perf_counter() - started, 1)}))
    sys.exit(bool(report["failures"]))


if __name__ == "__main__":
    main()
