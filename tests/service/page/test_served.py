"""The files of the page as they go over the wire, and what lies in them."""

import re
from pathlib import Path

import pytest
from stand_in import Made

from searec.service.http.app import PAGE

ASSETS = sorted((PAGE / "assets").iterdir())
MEDIA = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


@pytest.mark.parametrize("path", ["/", *(f"/assets/{one.name}" for one in ASSETS)])
def test_a_file_has_its_type_and_a_browser_asks_whether_its_copy_is_still_good(path: str) -> None:
    made = Made(page=PAGE, keys=True)
    got = made.ask("GET", path)
    assert got.status_code == 200 and got.content == (PAGE / (path[1:] or "index.html")).read_bytes()
    assert got.headers["content-type"] == MEDIA.get(Path(path).suffix, "text/html; charset=utf-8")
    assert got.headers["cache-control"] == "no-cache"
    again = made.ask("GET", path, headers={"If-None-Match": got.headers["etag"]})
    assert again.status_code == 304 and not again.content
    assert again.headers["cache-control"] == "no-cache" and "content-security-policy" in again.headers
    head = made.ask("HEAD", path)
    assert (
        head.status_code == 200 and not head.content and head.headers["content-length"] == got.headers["content-length"]
    )
    assert made.ask("POST", path).status_code == 405
    assert [line["route"] for line in made.log()[:3]] == ["/" if path == "/" else "/assets"] * 3


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", text)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', text)) <= {
        "#main",
        "/openapi.json",
        *(f"/assets/{one.name}" for one in ASSETS),
    }
    namespace = "http://www.w3.org/2000/svg"
    for file in ASSETS:
        own = file.read_text(encoding="utf-8").replace(namespace, "")
        assert not re.search(r"https?:|//cdn|@import|\burl\(", own), file.name


@pytest.mark.parametrize("file", [one for one in ASSETS if one.suffix == ".js"], ids=lambda one: str(one.name))
def test_text_of_the_service_never_becomes_markup(file: Path) -> None:
    source = file.read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", source)
    parses = "DOMParser" in source  # into an inert document, of which known shapes are copied: see test_page.py
    assert parses == (file.name == "graph.js")


def test_every_file_goes_into_the_wheel() -> None:
    hatchling = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    root = PAGE.parents[3]
    if not (root / "pyproject.toml").is_file():
        pytest.skip("searec is not run from its repository")
    packed = {file.distribution_path for file in hatchling.WheelBuilder(str(root)).recurse_included_files()}
    assert {
        f"searec/service/page/{one.relative_to(PAGE).as_posix()}" for one in [PAGE / "index.html", *ASSETS]
    } <= packed
