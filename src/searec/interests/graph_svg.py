"""The drawing of an interest graph as SVG: signals, demands and interests in columns, and steps between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from searec.interests.interest_graph import Edge, InterestGraph
from searec.interests.novelty import stems

_COLUMNS = ("signal", "demand", "interest")
_HEADS = ("looked for or clicked", "demand", "interest")
_BOX, _GAP, _ROW, _HIGH, _TOP, _LETTERS = 200, 76, 36, 26, 30, 27
_STYLE = """
.graph{--ink:#1c1c1e;--muted:#6b6b70;--paper:#fff;--line:#c9c9ce;--signal:#eef2ff;--demand:#fff4e0;--interest:#e6f6ec;
--step:#5b6ee1}
@media (prefers-color-scheme:dark){.graph{--ink:#ececf0;--muted:#a0a0a8;--paper:#17171a;--line:#45454d;--signal:#232a45;
--demand:#41331a;--interest:#1d3828;--step:#93a1ff}}
.graph text{font:13px system-ui,sans-serif;fill:var(--ink)}
.graph .head{fill:var(--muted);font-size:12px}
.graph .paper{fill:var(--paper)}
.graph .node rect{stroke:var(--line)}
.graph .signal rect{fill:var(--signal)}
.graph .demand rect{fill:var(--demand)}
.graph .interest rect{fill:var(--interest)}
.graph .step{fill:none;stroke:var(--step);stroke-opacity:.55}
.graph .co-hyponym{stroke-dasharray:6 4}
"""


@dataclass
class _Node:
    """A box. row: from the top, in rows; a short column is centred."""

    column: int
    text: str
    words: str
    row: float = 0.0

    @property
    def key(self) -> tuple[int, str]:
        """Nodes of a column with the same key are one."""
        return _key(self.column, self.text)


def _key(column: int, text: str) -> tuple[int, str]:
    """A signal is its text; of demands and interests, word order and plural endings do not count."""
    return column, text if column == 0 else " ".join(sorted(stems(text))) or text


def draw_graph(graph: InterestGraph, *, most: int = 24) -> str:
    """Return a standalone SVG in light or dark colours as the reader prefers.

    A line is as wide as its step is confident, dashed for a co-hyponym. Every shape has a title. Nodes
    have `data-node` and `data-text`, steps `data-from` and `data-to`, for a page that makes the drawing interactive.

    Args:
        graph: of one user.
        most: interests drawn at most, by confidence.
    """
    graph = graph.top(most)
    leading = {stems(edge.source) for edge in graph.edges if edge.relation != "hypernym"}
    edges = [edge for edge in graph.edges if edge.relation != "hypernym" or stems(edge.target) in leading]
    edges = edges or list(graph.edges)
    columns = _place(graph, edges)
    nodes = {node.key: node for column in columns for node in column}
    ids = {key: f"{key[0]}-{index}" for index, key in enumerate(nodes)}
    width = 3 * _BOX + 2 * _GAP
    height = _TOP + _ROW * max([1, *map(len, columns)])
    parts = [
        f'<svg class="graph" xmlns="http://www.w3.org/2000/svg" viewBox="-3 0 {width + 6} {height}" role="img" '
        f'aria-label="interest graph of user {escape(graph.user, quote=True)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" x="-3" width="{width + 6}" height="{height}"/>',
        *(f'<text class="head" x="{_left(column)}" y="16">{head}</text>' for column, head in enumerate(_HEADS)),
    ]
    for edge in edges:
        start, end = _ends(edge)
        parts.append(_step(edge, nodes[start], nodes[end], f'data-from="{ids[start]}" data-to="{ids[end]}"'))
    parts += [_box(node, ids[key]) for key, node in nodes.items()]
    if not edges:
        parts.append(f'<text x="0" y="{_TOP + 18}">no interests can be inferred yet</text>')
    return "\n".join([*parts, "</svg>"])


def _ends(edge: Edge) -> tuple[tuple[int, str], tuple[int, str]]:
    first = 0 if edge.relation == "hypernym" else 1
    return _key(first, edge.source), _key(first + 1, edge.target)


def _place(graph: InterestGraph, edges: Sequence[Edge]) -> list[list[_Node]]:
    """Return the columns: interests by confidence, the others near the mean row of what they lead to."""
    texts: dict[tuple[int, str], str] = {}
    for edge in edges:
        for key, text in zip(_ends(edge), (edge.source, edge.target), strict=True):
            texts.setdefault(key, text)
    clicks = {edge.source for edge in edges if edge.signal == "click"}
    interests = [
        _Node(2, one.text, f"interest “{one.text}”, confidence {one.confidence:.2f}; {one.reason}")
        for one in graph.interests()
    ]
    columns = [interests]
    _number(interests)
    for column in (1, 0):
        onward = {node.key: node for node in columns[0]}
        nodes = []
        for key, text in texts.items():
            if key[0] != column:
                continue
            targets = [onward[end] for start, end in map(_ends, edges) if start == key]
            kind = "demand" if column else "clicked" if text in clicks else "looked for"
            leads = f", leads to {', '.join(target.text for target in targets)}" if targets else ""
            mean = sum(target.row for target in targets) / len(targets) if targets else float(len(onward))
            nodes.append(_Node(column, text, f"{kind} “{text}”{leads}", mean))
        columns.insert(0, sorted(nodes, key=lambda node: (node.row, node.text)))
        _number(columns[0])
    tallest = max(map(len, columns))
    for nodes in columns:
        _number(nodes, (tallest - len(nodes)) / 2)
    return columns


def _number(nodes: Sequence[_Node], first: float = 0.0) -> None:
    for row, node in enumerate(nodes):
        node.row = row + first


def _left(column: int) -> int:
    return column * (_BOX + _GAP)


def _step(edge: Edge, start: _Node, end: _Node, ends: str) -> str:
    x, y = _left(start.column) + _BOX, _TOP + start.row * _ROW + _HIGH / 2
    to, down = _left(end.column), _TOP + end.row * _ROW + _HIGH / 2
    bend = (x + to) / 2
    words = f"{edge.source} → {edge.target}: {edge.relation}, {edge.confidence:.2f}"
    words += f" ({edge.evidence})" if edge.evidence else ""
    return (
        f'<path class="step {edge.relation}" {ends} stroke-width="{1 + 5 * edge.confidence:.1f}" '
        f'd="M{x} {y:g}C{bend:g} {y:g} {bend:g} {down:g} {to} {down:g}"><title>{escape(words)}</title></path>'
    )


def _box(node: _Node, name: str) -> str:
    x, y = _left(node.column), _TOP + node.row * _ROW
    short = node.text if len(node.text) <= _LETTERS else node.text[: _LETTERS - 1].rstrip() + "…"
    return (
        f'<g class="node {_COLUMNS[node.column]}" data-node="{name}" data-text="{escape(node.text, quote=True)}">'
        f'<title>{escape(node.words)}</title><rect x="{x}" y="{y:g}" width="{_BOX}" height="{_HIGH}" rx="6"/>'
        f'<text x="{x + 9}" y="{y + 17.5:g}">{escape(short)}</text></g>'
    )
