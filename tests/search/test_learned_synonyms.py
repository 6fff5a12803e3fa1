"""Learned synonyms: a pair that the log was made with is proposed, and words that merely go together are not."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from searec.data.dataset import Dataset, load
from searec.search.learned_synonyms import proposals
from searec.search.lexical_index import LexicalIndex
from searec.search.rules import Proposal, SearchRules, read_rules
from searec.search.understanding import Understanding
from small_catalogue import catalogue

COLORS = ("red", "green", "blue", "black")
ITEMS = [
    f"{color} {thing} model {number}" for thing in ("sofa", "lamp", "desk") for color in COLORS for number in range(3)
]
OF = {
    thing: [place for place, title in enumerate(ITEMS, 1) if thing in title]
    for thing in ("sofa", "lamp", "desk", *COLORS)
}


def searches(words: dict[str, str]) -> list[tuple[str, str, list[int]]]:
    """Searches of 40 users for things, by other names in `words`, and for things of a color."""
    rng = random.Random(0)
    log = []
    for user in range(40):
        for _ in range(8):
            thing, color = rng.choice(("sofa", "lamp", "desk")), rng.choice(COLORS)
            name = words[thing] if thing in words and rng.random() < 0.5 else thing
            kind = rng.choice(("thing", "color", "both"))
            items = OF[thing] if kind == "thing" else sorted(set(OF[thing]) & set(OF[color]))
            query = {"thing": name, "color": color, "both": f"{color} {name}"}[kind]
            log.append((f"u{user}", query, [rng.choice(items)]))
    return log


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A shop whose users say "couch" for half of the sofas."""
    return catalogue(tmp_path_factory.mktemp("synonyms") / "shop", ITEMS, searches({"sofa": "couch"}))


def test_the_pair_that_the_log_was_made_with_is_proposed(data: Dataset) -> None:
    [pair] = proposals(data)
    assert set(pair.words) == {"sofa", "couch"}
    assert pair.confidence > 0.3
    assert min(pair.users) >= 10
    assert 3 <= pair.items <= len(OF["sofa"])


def test_nothing_is_proposed_where_nothing_has_two_names(tmp_path: Path) -> None:
    assert proposals(catalogue(tmp_path / "plain", ITEMS, searches({}))) == []
    assert proposals(catalogue(tmp_path / "silent", ITEMS)) == []


def test_items_that_have_both_words_are_described_by_them(tmp_path: Path) -> None:
    items = [title.replace("sofa", "sofa couch") for title in ITEMS]
    assert proposals(catalogue(tmp_path / "both", items, searches({"sofa": "couch"}))) == []


def test_known_rules_are_not_proposed_again(data: Dataset) -> None:
    assert proposals(data, SearchRules([["Couches", "sofas", "settee"]])) == []
    assert proposals(data, SearchRules(one_way={"couch": ["sofa"]})) == []


def test_proposals_take_effect_once_a_person_has_moved_them(
    tmp_path: Path, searec: Callable[..., tuple[int, str, str]]
) -> None:
    folder, path = tmp_path / "shop", tmp_path / "rules.json"
    catalogue(folder, ITEMS, searches({"sofa": "couch"}))
    path.write_text(json.dumps({"redirects": {"gift": "/gift"}}))
    code, output, error = searec("synonyms", folder, "--out", path)
    assert code == 0, error
    assert "couch = sofa" in output or "sofa = couch" in output
    rules = read_rules(path)
    assert rules.redirects == {"gift": "/gift"}
    [entry] = rules.proposed
    assert set(entry) == set(Proposal.__annotations__)

    data = load(folder)
    index = LexicalIndex.of(data)
    assert not len(index.best(Understanding(data, rules).parse(index, "couch"), 5)[0])
    path.write_text(json.dumps({"synonyms": [entry["words"]]}))
    found = index.best(Understanding(data, read_rules(path)).parse(index, "couch"), 50)[0]
    assert sorted(found.tolist()) == OF["sofa"]
    code, output, error = searec("synonyms", folder, "--out", path)
    assert (code, output.splitlines()[0]) == (0, "0 pairs that may be synonyms"), error
