"""An interest graph as a picture: signals, demands and interests in three columns, and the steps between them."""

from dataclasses import dataclass, replace
from html import escape

from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.novelty import stems

_COLUMN, _BOX, _ROW, _HIGH, _TOP = 300, 220, 40, 28, 48
_HEADS = ("looked for", "demand", "interest")
_LETTERS = 30
_STYLE = """
.graph{--ink:#1c1c1e;--muted:#6b6b70;--paper:#fff;--line:#c9c9ce;--signal:#eef2ff;--demand:#fff4e0;--interest:#e6f6ec;--step:#5b6ee1}
@media (prefers-color-scheme:dark){
.graph{--ink:#ececf0;--muted:#a0a0a8;--paper:#17171a;--line:#45454d;--signal:#232a45;--demand:#41331a;--interest:#1d3828;--step:#93a1ff}}
.graph text{font:13px system-ui,sans-serif;fill:var(--ink)}
.graph .head{fill:var(--muted);font-size:12px}
.graph rect{stroke:var(--line)}
.graph path{fill:none;stroke:var(--step);stroke-opacity:.55}
.graph .co-hyponym{stroke-dasharray:6 4}
"""


@dataclass(frozen=True)
class _Node:
    column: int
    text: str
    kind: str
    row: float

    @property
    def key(self) -> str:
        """Same words, same node; a signal stands as it was said."""
        return self.text if self.column == 0 else " ".join(sorted(stems(self.text)))


def draw_graph(graph: InterestGraph, *, most: int = 12) -> str:
    """A standalone SVG, light or dark as the page is; a line is as wide as its step is sure, dashed for a co-hyponym.

    Each shape has its words, evidence and confidence as a tooltip.

    Args:
        most: interests at most, the surest.
    """
    graph = graph.top(most)
    leading = {stems(edge.source) for edge in graph.edges if edge.relation != "hypernym"}
    edges = [edge for edge in graph.edges if edge.relation != "hypernym" or stems(edge.target) in leading] or list(
        graph.edges
    )
    columns = _columns(graph, edges)
    height = _TOP + _ROW * max([1, *map(len, columns)])
    place = {(node.column, node.key): node for column in columns for node in column}
    width = 2 * _COLUMN + _BOX
    parts = [
        f'<svg class="graph" xmlns="http://www.w3.org/2000/svg" viewBox="-2 0 {width + 4} {height}" role="img" '
        f'aria-label="interest graph of user {escape(graph.user, quote=True)}">',
        f"<style>{_STYLE}</style>",
        f'<rect x="-2" width="{width + 4}" height="{height}" style="fill:var(--paper);stroke:none"/>',
    ]
    parts += [f'<text class="head" x="{column * _COLUMN}" y="20">{head}</text>' for column, head in enumerate(_HEADS)]
    parts += [_step(edge, place) for edge in edges]
    parts += [_box(node) for column in columns for node in column]
    if not edges:
        parts.append(f'<text x="0" y="{_TOP + 18}">nothing to infer from yet</text>')
    return "\n".join([*parts, "</svg>"])


def _columns(graph: InterestGraph, edges: list[Edge]) -> list[list[_Node]]:
    """Nodes from top to bottom: interests by confidence, demands and signals near the middle of what they lead to."""
    ups = [edge for edge in edges if edge.relation == "hypernym"]
    downs = [edge for edge in edges if edge.relation != "hypernym"]
    interests = [_Node(2, one.text, "interest", float(row)) for row, one in enumerate(graph.interests())]
    demands = _line(
        1, [(edge.target, "demand") for edge in ups], [(edge.source, edge.target) for edge in downs], interests
    )
    signals = _line(
        0,
        [(edge.source, edge.signal or "query") for edge in ups],
        [(edge.source, edge.target) for edge in ups],
        demands,
    )
    return [signals, demands, interests]


def _line(column: int, texts: list[tuple[str, str]], steps: list[tuple[str, str]], onward: list[_Node]) -> list[_Node]:
    """The nodes of a column, each near the middle of the nodes that steps from it lead to."""
    rows = {node.key: node.row for node in onward}
    found = {node.key: node for node in (_Node(column, text, kind, 0.0) for text, kind in reversed(texts))}
    leads: dict[str, list[float]] = {}
    for source, target in steps:
        leads.setdefault(_Node(column, source, "", 0.0).key, []).append(rows[_Node(column + 1, target, "", 0.0).key])

    def middle(node: _Node) -> tuple[float, str]:
        own = leads.get(node.key, [float(len(onward))])
        return sum(own) / len(own), node.text

    return [replace(node, row=float(row)) for row, node in enumerate(sorted(found.values(), key=middle))]


def _step(edge: Edge, place: dict[tuple[int, str], _Node]) -> str:
    first = 0 if edge.relation == "hypernym" else 1
    start = place[first, _Node(first, edge.source, "", 0.0).key]
    end = place[first + 1, _Node(first + 1, edge.target, "", 0.0).key]
    x, y = start.column * _COLUMN + _BOX, _TOP + start.row * _ROW + _HIGH / 2
    to, down = end.column * _COLUMN, _TOP + end.row * _ROW + _HIGH / 2
    bend = (x + to) / 2
    told = escape(
        f"{edge.source} → {edge.target}: {edge.relation}, {edge.confidence:.2f}"
        + (f" ({edge.evidence})" if edge.evidence else "")
    )
    thick = 1 + 5 * edge.confidence
    path = f"M{x} {y:g}C{bend:g} {y:g} {bend:g} {down:g} {to} {down:g}"
    return f'<path class="{edge.relation}" d="{path}" style="stroke-width:{thick:.1f}"><title>{told}</title></path>'


def _box(node: _Node) -> str:
    x, y = node.column * _COLUMN, _TOP + node.row * _ROW
    short = node.text if len(node.text) <= _LETTERS else node.text[: _LETTERS - 1].rstrip() + "…"
    colour = {"demand": "--demand", "interest": "--interest"}.get(node.kind, "--signal")
    mark = "clicked: " if node.kind == "click" else ""
    return (
        f'<g><rect x="{x}" y="{y:g}" width="{_BOX}" height="{_HIGH}" rx="6" style="fill:var({colour})"/>'
        f'<text x="{x + 10}" y="{y + 19:g}">{escape(short)}</text><title>{escape(mark + node.text)}</title></g>'
    )
