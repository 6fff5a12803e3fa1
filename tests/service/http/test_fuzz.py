"""Requests made from our own OpenAPI document: none breaks the service, and every answer is as the document says."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

FUZZ = Path(__file__).parents[3] / "benchmarks" / "fuzz_http.py"


def fuzz() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz_http", FUZZ)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("examples", [10])
def test_requests_from_the_document(examples: int) -> None:
    from stand_in import Made

    report = fuzz().run(Made().app, per_operation=examples, seed=0)
    assert report["requests"] >= 15 * examples
    assert report["failures"] == [], report["failures"][:3]


def test_a_service_that_breaks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from stand_in import Made

    made = Made()
    monkeypatch.setattr(made.front.pipeline.views, "values", lambda: 1 / 0)
    monkeypatch.setattr(made.front, "deployed", lambda: [])
    failures = fuzz().run(made.app, per_operation=1, seed=0, only=("/v1/filters", "/v1/deployment"))["failures"]
    assert any("500" in one for one in failures) and any("GET /v1/deployment" in one for one in failures)
