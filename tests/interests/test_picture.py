"""The picture holds every node and step, well-formed, and words as words."""

from xml.etree import ElementTree

from searec.interests.graph_svg import draw_graph
from searec.interests.interest_graph import Edge, InterestGraph

SVG = "{http://www.w3.org/2000/svg}"
GRAPH = InterestGraph(
    "u<1>",
    0,
    (
        Edge(
            source="a <b> & c",
            target="Demand one",
            relation="hypernym",
            signal="query",
            confidence=0.9,
            evidence="said & done",
        ),
        Edge(source="clicked thing", target="Demand two", relation="hypernym", signal="click", confidence=0.4),
        Edge(source="nowhere", target="Idle", relation="hypernym", signal="query", confidence=0.4),
        Edge(source="demand ones", target="Interest x", relation="hyponym", confidence=0.5),
        Edge(source="Demand two", target="Interest y", relation="co-hyponym", confidence=0.9),
        Edge(source="Demand two", target="Interest x", relation="co-hyponym", confidence=0.1),
    ),
)


def test_nodes_and_steps_are_all_there() -> None:
    root = ElementTree.fromstring(draw_graph(GRAPH))
    titles = {title.text for title in root.iter(f"{SVG}title")}
    assert {
        "a <b> & c → Demand one: hypernym, 0.90 (said & done)",
        "Demand two → Interest y: co-hyponym, 0.90",
    } <= titles
    assert {
        "clicked “clicked thing”, leads to Demand two",
        "looked for “a <b> & c”, leads to Demand one",
        "demand “Demand two”, leads to Interest y, Interest x",
    } <= titles
    nodes = list(root.iter(f"{SVG}g"))
    texts = ["a <b> & c", "clicked thing", "Demand one", "Demand two", "Interest x", "Interest y"]
    assert sorted(str(node.get("data-text")) for node in nodes) == sorted(texts)
    assert not any("Idle" in str(title) for title in titles)  # leads to no interest
    paths = list(root.iter(f"{SVG}path"))
    relations = ["hypernym", "hypernym", "hyponym", "co-hyponym", "co-hyponym"]
    assert [path.get("class") for path in paths] == [f"step {relation}" for relation in relations]
    assert {path.get(end) for path in paths for end in ("data-from", "data-to")} == {
        one.get("data-node") for one in nodes
    }
    widths = [float(path.get("stroke-width") or 0) for path in paths]
    assert widths == [5.5, 3.0, 3.5, 5.5, 1.5]


def test_a_step_joins_the_boxes_of_its_ends() -> None:
    root = ElementTree.fromstring(draw_graph(GRAPH))
    boxes = {}
    for group in root.iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        boxes[group.get("data-text")] = (
            float(rect.get("x", 0)),
            float(rect.get("y", 0)) + float(rect.get("height", 0)) / 2,
            float(rect.get("width", 0)),
        )
    path = next(one for one in root.iter(f"{SVG}path") if one.get("class") == "step hyponym")
    x, y, wide = boxes["Demand one"]
    to, down, _ = boxes["Interest x"]
    assert (path.get("d") or "").startswith(f"M{x + wide:g} {y:g}C")
    assert (path.get("d") or "").endswith(f" {to:g} {down:g}")


def test_an_empty_graph_says_so() -> None:
    assert "no interests can be inferred yet" in draw_graph(InterestGraph("u", 0))
    assert draw_graph(GRAPH, most=1).count("Interest") < draw_graph(GRAPH).count("Interest")
