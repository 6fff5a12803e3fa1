"""The demo's service: it starts, answers every route, and stops when told."""

from pathlib import Path

import pytest
import small_shop

from searec.cli import demo


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of processes that are meant to outlive the command
def test_the_demo_ends_in_a_running_service_that_can_be_stopped(
    shop: small_shop.Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, folder in shop.runs.items():
        (tmp_path / name).symlink_to(folder)
    monkeypatch.setattr(demo, "RECOMMEND", ("sasrec", "serendipity"))
    monkeypatch.setattr(demo, "SEARCH", ("bm25", "dense", "unisar"))
    monkeypatch.setattr(demo, "_LOAD", 3)
    deployment = demo._deploy(shop.folder, tmp_path)
    address = demo._start(shop.folder, deployment, tmp_path, 0)
    try:
        demo._smoke(address, shop.folder)
        told = capsys.readouterr().out
        for route in (
            "GET /v1/recommend",
            "GET /v1/search",
            "POST /v1/events",
            "DELETE /v1/items",
            "GET /metrics",
            "PUT /v1/deployment",
        ):
            assert route in told
        assert "p99" in told
        assert (tmp_path / demo.STATE).is_file()
    finally:
        assert demo._stop(tmp_path)
    assert not demo._stop(tmp_path)
    assert not (tmp_path / demo.STATE).exists()
