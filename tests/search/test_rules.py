"""Rules of search: what a file may hold, and the errors of what it may not."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from searec.errors import SettingsError
from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import read_deployment
from searec.pipeline.executors import Inline
from searec.pipeline.types import Request, Response
from searec.search.rules import CompiledRules, SearchRules, read_rules, write_rules
from searec.text.analyser import analyser
from small_catalogue import catalogue


def test_rules_are_read_as_they_were_written(tmp_path: Path) -> None:
    rules = SearchRules([["sofa", "couch"]], {"trainers": ["running shoes"]}, {"gift card": "/gift-cards"}, [{"a": 1}])
    digest = write_rules(rules, tmp_path / "rules.json")
    assert read_rules(tmp_path / "rules.json", digest) == rules
    (tmp_path / "rules.json").write_text(json.dumps({"synonyms": []}))
    assert read_rules(tmp_path / "rules.json") == SearchRules([], proposed=[])
    with pytest.raises(SettingsError, match=f"not those that were deployed.*{digest}"):
        read_rules(tmp_path / "rules.json", digest)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ({"synonym": []}, "unknown key 'synonym'.*synonyms"),
        ({"synonyms": [["sofa"]]}, r"group of synonyms is wrong.*\['sofa'\]"),
        ({"synonyms": {"a": "b"}}, "'synonyms' is no list"),
        ({"synonyms": [["sofa", 3]]}, "group of synonyms is wrong"),
        ({"one_way": {"a": "b"}}, "one-way synonyms of 'a' are wrong"),
        ({"one_way": []}, "'one_way' is no object"),
        ({"redirects": {"a": "javascript:alert(1)"}}, "redirect of 'a' is wrong.*javascript.*a path"),
        ({"redirects": {"a": "//evil.example"}}, "redirect of 'a' is wrong"),
        ({"redirects": {"a": "/a b"}}, "redirect of 'a' is wrong"),
        ({"redirects": {"a": "/\\evil.example"}}, "redirect of 'a' is wrong"),
        ({"redirects": {"a": "http://"}}, "redirect of 'a' is wrong"),
        ({"redirects": {"a": None}}, "redirect of 'a' is wrong"),
        ({"proposed": {}}, "'proposed' is no list"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "rules.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SettingsError, match=f"(?s){message}") as error:
        read_rules(path)
    assert str(path) in str(error.value)
    with pytest.raises(SettingsError, match=r"cannot be read.*No such file"):
        read_rules(tmp_path / "missing.json")


def test_a_phrase_without_words_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"phrase without words.*'!!!'"):
        CompiledRules(SearchRules([["sofa", "!!!"]]), analyser("en"))


def test_a_deployment_serves_its_rules(tmp_path: Path, searec: Callable[..., tuple[int, str, str]]) -> None:
    data = tmp_path / "shop"
    titles = ["Sofa Milano", "Couch Roma", "Lamp"]
    catalogue(data, titles, [("u1", "sofa", [1]), ("u1", "lamp", [3]), ("u2", "lamp", [3])])
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"synonyms": [["sofa", "couch"]], "redirects": {"gift card": "/gift"}}))
    assert searec("train", "bm25", data, "--out", tmp_path / "bm25")[0] == 0
    out = tmp_path / "shop.json"
    code, _, error = searec("deploy", data, tmp_path / "bm25", "--rules", rules, "--fusion", "rank", "--out", out)
    assert code == 0, error
    rules.unlink()  # it was copied
    deployment = read_deployment(out)
    assert deployment.search_rules == str(tmp_path / "shop.rules.json")

    pipeline = open_pipeline(deployment, executor=Inline)
    sofa, gift = pipeline.search([Request(query="sofas"), Request(query="Gift cards")])
    assert isinstance(sofa, Response)
    assert isinstance(gift, Response)
    assert [item.title for item in sofa.items] == ["Sofa Milano", "Couch Roma"]
    assert sofa.items[1].reason == "holds “couch”"
    assert gift.query is not None
    assert gift.query.redirect == "/gift"
    pipeline.close()

    (tmp_path / "shop.rules.json").write_text("{}")
    with pytest.raises(SettingsError, match="not those that were deployed"):
        open_pipeline(deployment, executor=Inline)
    with pytest.raises(SettingsError, match="cannot be read"):
        open_pipeline(dataclasses.replace(deployment, search_rules="elsewhere.json"), executor=Inline)
    code, _, error = searec("deploy", data, tmp_path / "bm25", "--rules", tmp_path / "none.json", "--out", out)
    assert code != 0
    assert "none.json" in error
