"""The report: self-contained, well-formed, and showing what the comparison says."""

import math
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from searec.errors import StorageError
from searec.evaluation.compare import compare
from searec.evaluation.result import Evaluation
from searec.metrics import ACCURACY, parse_metrics
from searec.reports.comparison_page import RunPage, render, write_report
from searec.reports.plots import COLOURS, Line, Point, bars, curves, dots, points

MADE = datetime(2025, 1, 2, 3, 4, tzinfo=UTC)
USERS = 300
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that every element is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.outside, self.tags, self.links = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        if "id" in given:
            self.ids.append(given["id"])
        for name in ("src", "href", "xlink:href"):
            if name in given:
                (self.links if given[name].startswith("#") else self.outside).append(given[name])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def evaluation(label, shift, *, task="recommend", protocol="sampled", seed=0):
    generator = np.random.default_rng(7)
    rank = np.maximum(1.0, np.floor(generator.exponential(5.0, USERS)) + shift)
    sparse = np.arange(USERS) % 3 == 0
    scores = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(USERS)],
            "time": [1] * USERS,
            "target": pl.Series([1] * USERS, dtype=pl.Int32),
            "rank": rank,
            "slice:sparse": sparse,
            "slice:rich": ~sparse,
            "slice:cold-item": [False] * USERS,
        }
    )
    totals = {}
    if protocol == "full":
        scores = scores.with_columns(
            (pl.lit(9.0) + shift).alias("metric:novelty@10"), pl.lit(0.5).alias("metric:diversity@10")
        )
        totals = {"coverage@10": 0.25}
    metrics = parse_metrics(f"{ACCURACY},novelty@10,diversity@10,coverage@10" if totals else ACCURACY)
    return Evaluation(label, "m", task, protocol, "test", scores, totals, {"seed": seed}, {}, 1.0, metrics)


def pages():
    rows = [{"event": "start", "epoch": 0, "step": 0}]
    rows += [
        {"event": "step", "epoch": 1, "step": s, "seconds": s, "loss": 2.0 / s, "bce": 1.5 / s, "align": 0.5 / s}
        for s in range(1, 900)
    ]
    rows += [
        {"event": "validate", "epoch": e, "step": e, "ndcg@5": value} for e, value in ((1, 0.2), (2, None), (3, 0.3))
    ]
    return [
        RunPage("good", {"seed": 1, "model": {"width": 64}, "lr": 0.1}, {"python": "3.11"}, rows),
        RunPage("bad <b>&", {"seed": 1, "model": {"width": 128}, "lr": 0.1}, {"python": "3.11"}),
    ]


@pytest.fixture(scope="module")
def html():
    runs = [
        evaluation(label, shift, task=task, protocol=protocol)
        for task in ("recommend", "search")
        for protocol in ("sampled", "full")
        for label, shift in (("good", 0), ("bad <b>&", 3))
    ]
    return render(compare(runs, resamples=300), pages(), title="A < B", created=MADE)


def test_the_page_is_well_formed_and_asks_nothing_of_the_network(html):
    page = Page(html)
    assert page.outside == []
    assert not re.search(r"url\((?!#)|@import|<script", html)
    assert set(re.findall(r'https?://[^\s"<)]+', html)) <= {"http://www.w3.org/1999/xlink"}
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    for clip in re.findall(r"url\(#([^)]+)\)", html):
        assert clip in page.ids


def test_every_table_has_a_caption_and_every_plot_a_name(html):
    tags = Page(html).tags
    tables = sum(tag == "table" for tag, _ in tags)
    assert tables == sum(tag == "caption" for tag, _ in tags) > 8
    assert all(given.get("scope") for tag, given in tags if tag == "th")
    plots = [given for tag, given in tags if tag == "svg"]
    assert len(plots) == 4 * (6 + 1) + 2  # four sections of six bars and one pair of slices; validation and one loss
    assert all(given["role"] == "img" and given["aria-label"] for given in plots)
    assert len({given["aria-label"] for given in plots}) == len(plots)


def test_labels_and_titles_are_escaped(html):
    assert "bad <b>&" not in html
    assert "bad &lt;b&gt;&amp;" in html
    assert "<title>A &lt; B</title>" in html


def test_the_best_is_bold_and_the_worse_is_marked(html):
    section = html[html.index('id="recommend-sampled-test"') : html.index('id="recommend-full-test"')]
    table = section[section.index('<table class="cells">') : section.index("</table>")]
    bad, good = (row for row in table.split("<tr>")[2:][::-1])
    assert (good.count("<b>"), bad.count("<b>")) == (6, 0)
    assert (good.count("▼"), bad.count("▼")) == (0, 6)
    assert "▲" not in table


def test_figures_that_describe_lists_have_no_best(html):
    section = html[html.index('id="search-full-test"') :]
    table = section[section.index('<table class="cells">') : section.index("</table>")]
    assert table.count("<b>") == 6  # six accuracy metrics, not novelty, diversity or coverage
    assert "9.0000" in table
    assert "12.00" in table
    assert table.count("0.2500") == 2


def test_settings_that_differ_stand_apart_from_those_that_do_not(html):
    settings = html[html.index('id="settings"') : html.index('id="environment"')]
    table, shared = settings[: settings.index("</table>")], settings[settings.index("<details") :]
    assert "model.width" in table
    assert "<mark>128</mark>" in table
    assert "lr" not in re.findall(r"<code>(.*?)</code>", table)
    assert re.findall(r"<code>(.*?)</code>", shared) == ["seed", "lr"]


def test_an_empty_slice_is_a_dash_and_not_plotted(html):
    assert "nan" not in re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL).lower()
    assert "<td>\N{EN DASH}" in html
    assert 'cold-item"' not in html


def test_runs_without_a_log_are_named(html):
    assert "Without a training log (made in one pass): bad &lt;b&gt;&amp;." in html


def test_the_same_input_gives_the_same_page():
    comparison = compare([evaluation("a", 0), evaluation("b", 1)], resamples=50)
    first, again = (render(comparison, pages(), title="t", created=MADE) for _ in range(2))
    assert first == again


def test_one_run_alone_and_no_pages_make_a_page():
    text = render(compare([evaluation("a", 0)], resamples=20), [], title="t", created=MADE)
    page = Page(text)
    assert [given["id"] for tag, given in page.tags if tag == "section" and "id" in given] == []
    assert '<h2 id="recommend-sampled-test">' in text and "Against" not in text  # there is nothing to compare with
    assert text.count('class="number"') == 1


def test_seeds_show_their_spread():
    text = render(
        compare([evaluation("a", 0, seed=1), evaluation("a", 1, seed=2), evaluation("b", 0)], resamples=20),
        [],
        title="t",
        created=MADE,
    )
    assert text.count("<small>±") == 6 + 3  # six metrics, three slices
    assert "a is the mean of 2 runs" in text


def test_write_report_replaces_the_file_at_once(tmp_path):
    path = tmp_path / "deep" / "report.html"
    write_report(compare([evaluation("a", 0)], resamples=20), [], path)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_report(compare([evaluation("a", 0)], resamples=20), [], tmp_path / "file" / "report.html")


def test_plots_take_their_colours_from_the_page():
    points = [Point(f"run {n}", n, 0.1 * n, 0.1 * n - 0.02, 0.1 * n + 0.02) for n in range(1, COLOURS + 2)]
    svg = bars(points, title="bars")
    assert not re.search(r"#0[123]0[123]|#0a0b", svg)
    used = set(re.findall(r"var\(--(\w+)\)", svg))
    assert used == {"ink", "muted", "line", *(f"s{n}" for n in range(COLOURS))}
    for label in ("run 1", "0.3000"):
        assert label in svg


def test_plots_stand_values_that_are_missing_or_zero():
    lone = Point("$x_1$ & <y>", 0, 0.0, math.nan, math.nan)
    for svg in (
        bars([lone], title="one"),
        dots([("cold", [lone])], title="two", limits=(-0.1, 0.1), widest="cold"),
        curves([Line("flat", 0, [1.0], [0.5])], title="three", across="epoch", marked=True),
    ):
        assert svg.startswith("<svg viewBox=")
        assert "nan" not in svg.lower()
    assert "$x_1$ &amp; &lt;y&gt;" in bars([lone], title="one")  # a label is text, not mathematics


def test_long_curves_are_thinned():
    steps = [float(n) for n in range(50_000)]
    short = curves([Line("loss", 0, steps, steps)], title="loss", across="step")
    assert len(short) < 40_000


def test_a_mark_without_one_quantity_is_a_dashed_line():
    marks = [(0, "both", 0.2, 0.3), (1, "across", None, 0.4), (2, "up", 0.1, None)]
    for number, svg in enumerate(points(marks[:count], title="plane", across="x") for count in (1, 2, 3)):
        assert svg.count("stroke-dasharray") == number
        assert "nan" not in svg.lower()
    assert all(f">{label}</text>" in svg for _, label, _, _ in marks)


def test_names_beside_points_do_not_cover_each_other():
    marks = [(n, f"a run called {n}", 0.3 + 0.001 * n, 0.2) for n in range(8)]
    marks += [(8, "far away", 0.5, 0.9), (9, "alone", 0.305, None)]
    svg = points(marks, title="plane", across="x")
    left, bottom, wide, high = map(float, re.search(r'viewBox="(\S+) (\S+) (\S+) (\S+)"', svg).groups())
    boxes = []
    for _, label, _, _ in marks:
        style, x, y = re.search(rf'<text style="([^"]*)" x="([^"]*)" y="([^"]*)"[^>]*>{label}</text>', svg).groups()
        before = 0.5 if "middle" in style else 1 if "end" in style else 0
        width = 4.5 * len(label)
        boxes.append((float(x) - before * width, float(y) - 6, float(x) + (1 - before) * width, float(y) + 2))
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        assert left <= x0 and x1 <= left + wide and bottom <= y0 and y1 <= bottom + high
        assert not any(x0 < a1 and a0 < x1 and y0 < b1 and b0 < y1 for a0, b0, a1, b1 in boxes[:number])
