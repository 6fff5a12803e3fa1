"""Plots of the report as inline SVG that take their colours and letters from the page.

Each plot is small (one panel), so that a page can lay panels side by side on a desk and below each other
on a phone. Colours are drawn as place holders and become CSS variables (--ink, --muted, --line, --s0..),
which is how one SVG serves light and dark pages.
"""

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from searec.metrics.base import Floats

COLOURS = 8
MARKERS = "osD^vPXp"
_INK, _MUTED, _LINE = "#010101", "#020202", "#030303"
_WIDTH, _WIDE = 4.1, 5.6  # inches; three or two panels in a row
_RC = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.parse_math": False,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.labelsize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": _LINE,
    "grid.linewidth": 0.7,
    "xtick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "xtick.labelsize": 8.5,
    "ytick.color": _LINE,
    "ytick.labelcolor": _INK,
    "ytick.left": False,
}
_MOST_POINTS = 300
_AWAY = (5.0, 14.0, 24.0, 34.0, 46.0, 60.0)
_WAYS = ((1.0, 0.8), (1.0, -0.8), (-1.0, 0.8), (-1.0, -0.8), (0.0, 1.2), (0.0, -1.2))
"""Where a name may be beside its mark: distance in points, and direction."""


@dataclass(frozen=True)
class Point:
    """A mean with its interval; NaN bounds are not drawn. `series` picks colour and marker."""

    label: str
    series: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """y over x, of equal length; gaps (None in the log) are left out before. `series` picks colour and dashes."""

    label: str
    series: int
    x: Sequence[float]
    y: Sequence[float]


def bars(points: Sequence[Point], *, title: str) -> str:
    """One metric: a bar from 0 for each run, its interval as a thin line, its value beside it.

    Args:
        points: one for each run.
        title: of the plot, for screen readers.
    """
    with rc_context(_RC):  # type: ignore[arg-type]
        figure, axes = _panel(0.55 + 0.29 * len(points), left=_room(point.label for point in points))
        place = np.arange(len(points))
        axes.barh(place, [p.mean for p in points], height=0.58, color=[_colour(p.series) for p in points], alpha=0.85)
        furthest = max((value for p in points for value in (p.mean, p.high) if np.isfinite(value)), default=1.0) or 1.0
        for y, point in enumerate(points):
            if np.isfinite(point.low):
                axes.plot([point.low, point.high], [y, y], color=_INK, linewidth=1.3, solid_capstyle="butt")
            end = point.high if np.isfinite(point.high) else point.mean
            axes.text(end + 0.025 * furthest, y, f"{point.mean:.4f}", va="center", fontsize=8.5)
        axes.set_xlim(0, furthest * 1.25)
        _names(axes, [point.label for point in points])
        return _svg(figure, title)


def dots(
    groups: Sequence[tuple[str, Sequence[Point]]],
    *,
    title: str,
    limits: tuple[float, float],
    widest: str,
    zero: bool = False,
) -> str:
    """One metric in a few slices: for each slice a group of dots, one for each run, with intervals.

    Args:
        groups: name of a slice, and a point for each run.
        title: of the plot, for screen readers.
        limits: of the horizontal axis.
        widest: the longest name that must fit beside the axis; panels that share it and the limits can be compared.
        zero: draw a line at 0, for differences.
    """
    with rc_context(_RC):  # type: ignore[arg-type]
        height = sum(0.2 * len(points) + 0.22 for _, points in groups)
        figure, axes = _panel(0.42 + height, left=_room([widest]), width=_WIDE)
        top, middles = 0.0, []
        for number, (_, points) in enumerate(groups):
            if number:
                axes.axhline(top - 0.55, color=_LINE, linewidth=0.9)
            for row, point in enumerate(points):
                y, colour = top + row, _colour(point.series)
                if np.isfinite(point.low):
                    axes.plot([point.low, point.high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
                axes.plot(
                    [point.mean], [y], marker=_marker(point.series), color=colour, markersize=5.2, linestyle="none"
                )
            middles.append(top + (len(points) - 1) / 2)
            top += len(points) + 1.1
        axes.set_yticks(middles, [name for name, _ in groups])
        axes.set_ylim(top - 1.1 - 0.3, -0.7)
        axes.set_xlim(*limits)
        axes.grid(visible=False, axis="y")
        if zero:
            axes.axvline(0.0, color=_MUTED, linewidth=1.1)
        return _svg(figure, title)


def curves(lines: Sequence[Line], *, title: str, across: str, marked: bool = False) -> str:
    """Lines over training; long ones are averaged down to 300 points.

    `marked` puts a dot on each point, a larger one on the best.

    The legend is the page's.

    Args:
        lines: of any lengths.
        title: of the plot, for screen readers.
        across: label of the horizontal axis.
        marked: whether points have dots.
    """
    with rc_context(_RC):  # type: ignore[arg-type]
        figure, axes = _panel(2.3, left=0.52)
        for line in lines:
            x, y = _thinned(np.asarray(line.x, dtype=float), np.asarray(line.y, dtype=float))
            dash = ("solid", "dashed", "dashdot", "dotted")[(line.series // COLOURS) % 4]
            axes.plot(x, y, color=_colour(line.series), linewidth=1.6, linestyle=dash)
            if marked:
                best = int(np.argmax(y))
                axes.plot(
                    x, y, color=_colour(line.series), marker=_marker(line.series), markersize=3.2, linestyle="none"
                )
                axes.plot(
                    x[best],
                    y[best],
                    color=_colour(line.series),
                    marker=_marker(line.series),
                    markersize=7,
                    linestyle="none",
                )
        axes.set_xlabel(across)
        axes.tick_params(axis="y", labelcolor=_MUTED, labelsize=8.5)
        axes.locator_params(axis="x", integer=True, nbins=6)
        axes.margins(x=0.02)
        return _svg(figure, title)


def histogram(groups: Sequence[tuple[int, Floats]], *, title: str, across: str, bins: int = 40) -> str:
    """Shares of one quantity's values in bins from 0, a stepped outline for each group (series, values).

    Args:
        groups: series and values.
        title: of the plot, for screen readers.
        across: label of the horizontal axis.
        bins: at most.
    """
    with rc_context(_RC):  # type: ignore[arg-type]
        figure, axes = _panel(2.3, left=0.52)
        top = max((float(values.max()) for _, values in groups if len(values)), default=1.0) or 1.0
        edges = np.linspace(0, top, min(bins, max(2, round(top) + 1)) + 1)
        for series, values in groups:
            share = np.histogram(values, edges)[0] / max(1, len(values))
            axes.stairs(share, edges, color=_colour(series), fill=True, alpha=0.25)
            axes.stairs(share, edges, color=_colour(series), linewidth=1.4)
        axes.set_xlabel(across)
        axes.tick_params(axis="y", labelcolor=_MUTED, labelsize=8.5)
        axes.margins(x=0.02)
        return _svg(figure, title)


def scatter(groups: Sequence[tuple[int, Floats]], *, title: str) -> str:
    """Points [n, 2] in the plane without axes, a colour and marker for each group (series, points).

    Args:
        groups: series and points.
        title: of the plot, for screen readers.
    """
    with rc_context(_RC):  # type: ignore[arg-type]
        figure, axes = _panel(3.6, left=0.12)
        for series, points in groups:
            axes.plot(
                points[:, 0],
                points[:, 1],
                marker=_marker(series),
                color=_colour(series),
                markersize=2.6,
                alpha=0.6,
                linestyle="none",
            )
        axes.set_axis_off()
        return _svg(figure, title)


def points(marks: Sequence[tuple[int, str, float | None, float | None]], *, title: str, across: str) -> str:
    """Plot labelled points (series, label, x, y) in the plane of two quantities.

    A point that has only x or only y is drawn as a dashed line.

    Args:
        marks: series, label, x and y.
        title: of the plot, for screen readers.
        across: label of the horizontal axis.
    """
    with rc_context(_RC):  # type: ignore[arg-type]
        figure, axes = _panel(3.2, left=0.52, width=_WIDE)
        for series, _, x, y in marks:
            if y is None and x is not None:
                axes.axvline(x, color=_colour(series), linewidth=1.2, linestyle="dashed")
            elif x is None and y is not None:
                axes.axhline(y, color=_colour(series), linewidth=1.2, linestyle="dashed")
            elif x is not None and y is not None:
                axes.plot([x], [y], marker=_marker(series), color=_colour(series), markersize=6, linestyle="none")
        axes.set_xlabel(across)
        axes.tick_params(axis="y", labelcolor=_MUTED, labelsize=8.5)
        axes.margins(x=0.12, y=0.12)
        _label(axes, [(label, x, y) for _, label, x, y in marks])
        return _svg(figure, title)


def _panel(height: float, *, left: float, width: float = _WIDTH) -> tuple[Figure, Axes]:
    """A figure `height` inches tall whose axes leave `left` inches for names."""
    figure = Figure(figsize=(width, height))
    below = 0.48 if height > 2.2 else 0.3
    axes = figure.add_axes((left / width, below / height, 1 - (left + 0.12) / width, 1 - (below + 0.1) / height))
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return figure, axes


def _names(axes: Axes, labels: list[str]) -> None:
    axes.set_yticks(np.arange(len(labels)), [_short(label) for label in labels])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=5)


def _label(axes: Axes, marks: Sequence[tuple[str, float | None, float | None]]) -> None:
    """Place names beside their marks, each in the first place where it covers no mark and no other name.

    A name far from its mark is joined to it by a line.

    Lengths are in points, of letters by a guess, as the page chooses the font.
    """
    left, top = axes.get_xlim()[0], axes.get_ylim()[1]
    scale = 72 / axes.figure.dpi
    frame = np.asarray(axes.get_window_extent().extents) * scale
    at = [(left if x is None else x, top if y is None else y) for _, x, y in marks]
    spots = axes.transData.transform(at) * scale if at else np.zeros((0, 2))
    taken = []
    for (_, x, y), (across, up) in zip(marks, spots, strict=True):
        box = [frame[0] if x is None else across - 4, frame[1] if y is None else up - 4]
        taken.append([*box, frame[2] if x is None else across + 4, frame[3] if y is None else up + 4])
    for (label, _, _), data, spot in zip(marks, at, spots, strict=True):
        size = np.array([4.7 * len(_short(label)), 9.0])
        places = [(away * np.array(way), way) for away in _AWAY for way in _WAYS]
        corners = [spot + shift - size * _before(way) for shift, way in places]
        costs = [_covered(np.concatenate((corner, corner + size)), frame, np.array(taken)) for corner in corners]
        best = int(np.argmin(costs))
        shift, way = places[best]
        taken.append([*corners[best], *(corners[best] + size)])
        axes.annotate(
            _short(label),
            data,
            xytext=tuple(shift),
            textcoords="offset points",
            fontsize=8,
            ha=("right", "center", "left")[int(np.sign(way[0])) + 1],
            va="bottom" if way[1] > 0 else "top",
            arrowprops={"arrowstyle": "-", "color": _MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
            if best >= len(_WAYS)
            else None,
        )


def _before(way: tuple[float, float]) -> Floats:
    """Share of a name's width and height that lies left of and below the point where it is hung."""
    return np.array([(1 - np.sign(way[0])) / 2, float(way[1] < 0)])


def _covered(box: Floats, frame: Floats, taken: Floats) -> float:
    """Return the area of a box [left, bottom, right, top] over the boxes in use [N, 4].

    Area outside the frame costs much more.
    """
    inside = np.clip(np.minimum(box[2:], frame[2:]) - np.maximum(box[:2], frame[:2]), 0, None).prod()
    shared = np.clip(np.minimum(box[2:], taken[:, 2:]) - np.maximum(box[:2], taken[:, :2]), 0, None).prod(axis=1)
    return float(shared.sum() + 100 * ((box[2:] - box[:2]).prod() - inside))


def _room(labels: Iterable[str]) -> float:
    """Inches for the longest name."""
    longest = max((len(_short(label)) for label in labels), default=4)
    return min(1.6, 0.22 + 0.082 * longest)


def _short(label: str, most: int = 18) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _colour(series: int) -> str:
    """A place holder that `_svg` turns into var(--s0) .. var(--s7)."""
    return f"#0a0b{series % COLOURS:02x}"


def _marker(series: int) -> str:
    return MARKERS[series % len(MARKERS)]


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Means of neighbouring points where there are more than 300."""
    if len(x) <= _MOST_POINTS:
        return x, y
    edges = np.linspace(0, len(x), _MOST_POINTS + 1).astype(int)[:-1]
    size = np.diff(np.append(edges, len(x)))
    return np.add.reduceat(x, edges) / size, np.add.reduceat(y, edges) / size


def _svg(figure: Figure, title: str) -> str:
    """The figure as an <svg> element: no size but its view box, no fonts, colours from the page's CSS."""
    # The salt names clip paths and markers; with the title in it they do not clash on one page.
    with rc_context({"svg.hashsalt": title}), io.StringIO() as buffer:
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
        text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None  # savefig always writes one
    name = escape(title, quote=True)
    text = (
        f'<svg {view[0]} xmlns:xlink="http://www.w3.org/1999/xlink" role="img" aria-label="{name}">'
        + text[text.index(">") + 1 :]
    )
    for colour, variable in (
        (_INK, "ink"),
        (_MUTED, "muted"),
        (_LINE, "line"),
        *((_colour(i), f"s{i}") for i in range(COLOURS)),
    ):
        text = text.replace(colour, f"var(--{variable})")
    return re.sub(r"\n\s*", "\n", text).strip()
