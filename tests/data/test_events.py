"""Event weights: names are matched whatever their spelling, and a folder's file goes before the default table."""

import json
from pathlib import Path

import pytest

from searec.data.events import DEFAULT, FILE, EventWeights, match_key, parse_weights
from searec.errors import DataError, SettingsError


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("click", 1),
        ("Add-To-Cart", 1),
        ("addtocart", 1),
        ("add to cart", 1),
        ("PURCHASE", 1),
        ("impression", 0),
        ("product_hover", 0),
        ("Dislike", -1),
        ("not interested", -1),
        ("relevance no", -1),
        ("declined_product", -1),
        ("removeFromCart", -1),
        ("something_else", 1),
    ],
)
def test_signs_of_the_default_table(name: str, sign: int) -> None:
    assert EventWeights().sign(name) == sign


def test_default_names_are_distinct_and_graded() -> None:
    keys = [match_key(name) for name in DEFAULT]
    weights = EventWeights()
    assert len(keys) == len(DEFAULT)
    assert weights.weight("click") == 1 < weights.weight("add_to_cart") < weights.weight("purchase")
    assert all(weights.weight(name) == weight for name, weight in DEFAULT.items())


def test_changes_go_before_the_default_and_are_read_again(tmp_path: Path) -> None:
    weights = EventWeights({"Impression": 0.25, "zoom": -2})
    weights.write(tmp_path)
    again = EventWeights.read(tmp_path)
    assert again == weights
    assert json.loads((tmp_path / FILE).read_text()) == {"Impression": 0.25, "zoom": -2}
    assert (again.weight("impression"), again.sign("ZOOM"), again.weight("click")) == (0.25, -1, 1.0)
    assert again.unknown(["zoom", "click", "wave", "wave", "shake"]) == ["wave", "shake"]
    assert again.weight("wave") == 1.0


def test_without_changes_no_file_is_written(tmp_path: Path) -> None:
    EventWeights().write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert EventWeights.read(tmp_path) == EventWeights()


@pytest.mark.parametrize(
    "text", ["[1]", "{", '{"click": "much"}', '{"click": true}', '{"a b": 1, "a_b": 2}', '{" ": 1}']
)
def test_broken_files_are_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(DataError, match=FILE):
        EventWeights.read(tmp_path)


def test_entries_of_the_option() -> None:
    assert parse_weights(["like=2", "a=b=-1", "show=0"]) == {"like": 2.0, "a=b": -1.0, "show": 0.0}
    for bad in (["like"], ["like=much"], ["=1"], ["like=nan"], ["like=1", "like=2"], ["add cart=1", "add_cart=2"]):
        with pytest.raises(SettingsError):
            parse_weights(bad)
