"""Inputs that once lost rows, stopped everything or gave a traceback: each folder beside this file is one of them."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import Deployment
from searec.pipeline.types import Request
from searec.store.store import Store

HERE = Path(__file__).parent
SMALL_GENSAR = ["width=16", "layers=1", "heads=2", "inner=16", "codes=128", "length=16"]
SMALL_GENSAR += ["epochs=1", "epoch_steps=0"]


@dataclass(frozen=True)
class Case:
    """A copy of a folder of inputs, and the command line."""

    home: Path
    call: Callable[..., tuple[int, str, str]]

    def __truediv__(self, name: str) -> Path:
        return self.home / name

    def run(self, *arguments: str | Path) -> str:
        """Run a command that must work; its whole output."""
        code, out, error = self.call(*arguments)
        assert code == 0, error
        return out + error

    def refused(self, *arguments: str | Path) -> str:
        """Run a command that must end with one clear line; the line."""
        code, _, error = self.call(*arguments)
        lines = [line for line in error.splitlines() if line.startswith("searec: ")]
        assert code == 1, error
        assert len(lines) == 1, error
        assert "Traceback" not in error
        return lines[0]

    def dataset(self, source: str = "src", format: str = "csv", *options: str) -> Path:
        """Import a folder of the case; the dataset folder."""
        out = self.home / f"{source}.dataset"
        self.run("import", format, self.home / source, out, *options)
        return out

    def train(self, model: str, data: Path, *settings: str) -> Path:
        """Train a model; the run folder."""
        out = self.home / f"run-{model}"
        self.run("train", model, data, "--out", out, *(part for one in settings for part in ("--set", one)))
        return out

    def found(self, run: Path, data: Path, query: str, *options: str | Path) -> list[str]:
        """The item ids that a search prints, best first."""
        lines = self.run("search", run, data, query, *options).splitlines()
        return [line.split()[2] for line in lines if line.startswith("  ") and line.split()[0].isdigit()]


def rows(data: Path, table: str) -> list[dict[str, Any]]:
    return pl.read_parquet(data / f"{table}.parquet").to_dicts()


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def add_csv(case: Case) -> None:
    data = case.dataset()
    run = case.train("gensar", data, *SMALL_GENSAR)
    for file, items in (("zeros.csv", {"007"}), ("categories.csv", {"n1"}), ("late.csv", {"x1"})):
        answers = case.found(run, data, "zebra", "--user", "u0", "-k", "100", "--add", case / file)
        assert items <= set(answers), file


def bm25_no_match(case: Case) -> None:
    data = case.dataset()
    run, itemknn = case.train("bm25", data), case.train("itemknn", data)
    assert case.found(run, data, "zzzz", "--user", "u0") == []
    assert "no results" in case.run("search", run, data, "zzzz", "--user", "u0")
    assert case.found(run, data, "mug", "--user", "u0") == ["i2"]
    assert case.found(run, data, "mug") == ["i2"]
    assert "no results" in case.run("search", run, data, "zzzz")
    assert "--user" in case.refused("recommend", itemknn, data)


def clicked_repeats(case: Case) -> None:
    data = case.dataset()
    assert sorted(len(row["clicked"]) for row in rows(data, "searches")) == [1, 1]
    lines = case.run("check", data).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("  clicks in searches")] == ["2"]


def csv_inch_marks_swallow_rows(case: Case) -> None:
    for source, queries in (("src", ['tv 32"', 'monitor 27"', "mug"]), ("one", None)):
        searches = rows(case.dataset(source), "searches")
        lines = (case / source / "searches.csv").read_text(encoding="utf-8").splitlines()
        assert len(searches) == len(lines) - 1
        assert queries is None or [row["query"] for row in searches] == queries


def ids_split_silently(case: Case) -> None:
    for source, count in (("float", "2"), ("blank", "4")):
        text = case.run("import", "csv", case / source, case / "out")
        assert "differ only" in text and "user" in text, text
        assert "differ only" in case.run("check", case / "out")
        shutil.rmtree(case / "out")
        case.run("import", "csv", case / source, case / "out", "--fold-ids", "blanks,invisible,decimal")
        assert len(rows(case / "out", "users")) == {"2": 2, "4": 1}[count]
        shutil.rmtree(case / "out")


def import_amz_array(case: Case) -> None:
    data = case.dataset(".", "amazon")
    assert [(row["user_id"], row["item_id"]) for row in rows(data, "interactions")] == [("U", "A"), ("V", "A")]
    [item] = rows(data, "items")
    assert item["title"] == "t"
    assert not item.get("brand") and not item.get("price")


def import_csv_noid(case: Case) -> None:
    [search] = rows(case.dataset("."), "searches")
    assert (search["user_id"], search["query"], search["clicked"]) == ("7", "tv", ["1"])
    assert search["search_id"]


def import_csv_searchonly(case: Case) -> None:
    data = case.dataset(".")
    assert rows(data, "interactions") == []
    assert [row["search_id"] for row in rows(data, "searches")] == ["s1"]
    case.run("check", data)


def import_csv_slash(case: Case) -> None:
    assert "--time-format" in case.refused("import", "csv", case.home, case / "out")
    [click] = rows(case.dataset(".", "csv", "--time-format", "%Y/%m/%d"), "interactions")
    assert click["timestamp"] == at(2018, 11, 25)


def import_ml_empty(case: Case) -> None:
    case.refused("import", "movielens", case.home, case / "out")
    assert not (case / "out").exists()


def import_ml_halfempty(case: Case) -> None:
    case.refused("import", "movielens", case.home, case / "out")
    assert not (case / "out").exists()


def import_qilin_late_click(case: Case) -> None:
    searches = rows(case.dataset(".", "qilin"), "searches")
    clicked = {(item, row["timestamp"]) for row in searches for item in row["clicked"]}
    assert clicked == {("5", datetime.fromtimestamp(1_732_749_914, UTC))}, "the click is at its own time"


def import_recbole_extra(case: Case) -> None:
    line = case.refused("import", "recbole", case.home, case / "out")
    assert "recbole-extra.inter" in line and "--drop-bad" in line
    data = case.dataset(".", "recbole", "--drop-bad")
    assert [(row["user_id"], row["item_id"]) for row in rows(data, "interactions")] == [("6", "86")]
    assert pl.read_parquet(data / "rejects.parquet").height == 1


def import_ubi_old_hits(case: Case) -> None:
    data = case.dataset(".", "ubi")
    [search] = rows(data, "searches")
    assert search["shown"] == ["8710103291398", "0750845811377"]
    assert search["clicked"] == ["0750845811377"]


def jsonl_bom(case: Case) -> None:
    data = case.dataset("src", "jsonl")
    assert len(rows(data, "interactions")) == 1


def jsonl_lone_surrogate(case: Case) -> None:
    code, _, _ = case.call("import", "jsonl", case / "src", case / "out", "--drop-bad")
    if code == 0:
        assert [row["title"] for row in rows(case / "out", "items")] == ["bad \ufffd end"]
    assert not (case / "out" / "items.parquet").exists() or "\x00" not in str(rows(case / "out", "items"))


def lcr_ser_short_logs(case: Case) -> None:
    data = case.dataset()
    settings = ["--set", "width=8", "--set", "epochs=1"]
    for model, more in (("sasrec", []), ("lcr-ser-paper", ["--set", "rl_steps=1", "--set", "exit_steps=1"])):
        text = case.run("train", model, data, "--out", case / model, *settings, *more)
        assert "trained without validation" in text
        assert "0.0000" not in text
        assert "enough events" in case.refused("evaluate", case / model, data)


def messages_with_wrong_facts(case: Case) -> None:
    line = case.refused("import", "csv", case / "src", case / "out")
    assert "5 rows" not in line
    shutil.copytree(case / "src", case / "src2")
    file = case / "src2" / "interactions.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(line for line in lines if line.strip()) + "\n", encoding="utf-8")
    line = case.refused("import", "csv", case / "src2", case / "out")
    assert "1 row breaks" in line
    assert "unknown clicked item (i1)" not in line
    case.run("import", "csv", case / "stray", case / "out", "--drop-bad")
    rejects = pl.read_parquet(case / "out" / "rejects.parquet")
    assert rejects.height == 1
    lines = [line for line in (case / "stray" / "interactions.csv").read_text(encoding="utf-8").splitlines() if line]
    assert len(rows(case / "out", "interactions")) == len(lines) - 2


def one_item_gensar(case: Case) -> None:
    data = case.dataset()
    line = case.refused("train", "gensar", data, "--out", case / "g", "--set", "epochs=1")
    assert "a catalogue of one item cannot be learned from" in line


def one_user_clicked_all(case: Case) -> None:
    data = case.dataset()
    left_out = "1 user has clicked nearly every item"
    text = case.run("check", data)
    assert left_out in text and "'crawler'" in text
    for loss in ("bce", "softmax"):
        out = case / f"sasrec-{loss}"
        settings = ["--set", "width=8", "--set", "epochs=1", "--set", f"loss={loss}"]
        text = case.run("train", "sasrec", data, "--out", out, *settings)
        assert left_out in text and "'crawler'" in text
    popular = case.train("popular", data)
    text = case.run("evaluate", popular, data)
    assert "10 requests" in text and left_out in text and "'crawler'" in text
    assert "11 requests" in case.run("evaluate", popular, data, "--protocol", "full")
    pytest.importorskip("optuna")
    text = case.run("study", data, "--out", case / "study", "--model", "popular", "--trials", "0", "--seeds", "1")
    assert "'crawler'" in text and "recommend, sampled, test: 10 requests" in text


def retitled_item(case: Case) -> None:
    data = case.dataset()
    run = case.train("bm25", data)
    deployment = Deployment(data=str(data), search=(str(run),))
    for change in (True, False):  # the second time after a restart
        with Store(f"sqlite:///{case / 'store.db'}") as store:
            if change:
                store.events.put_items([{"item_id": "i1", "title": "zebra poster", "categories": ["art"]}])
            pipeline = open_pipeline(deployment, store.events)
            try:
                answers = pipeline.search([Request(query="zebra"), Request(query="rain coat"), Request(query="art")])
                assert [[item.item for item in answer.items] for answer in answers] == [["i1"], ["i2"], ["i1"]]  # type: ignore[union-attr]
            finally:
                pipeline.close()


def semicolon_csv(case: Case) -> None:
    code, _, error = case.call("import", "csv", case / "src", case / "guessed")
    assert code == 0 or "--separator" in error
    data = case.dataset("src", "csv", "--separator", ";")
    assert len(rows(data, "items")) == 4
    assert len(rows(data, "interactions")) == 9


def tracebacks_of_options(case: Case) -> None:
    data = case.dataset()
    line = case.refused("train", "sasrec", data, "--out", case / "a", "--seed", "99999999999999999999")
    assert "bad seed" in line
    (case / "file").touch()
    assert "file" in case.refused("train", "popular", data, "--out", case / "file" / "run")


def words_of_other_scripts(case: Case) -> None:
    data = case.dataset()
    run = case.train("bm25", data)
    for query in ("café", "cafe\u0301"):
        assert set(case.found(run, data, query, "--user", "u0")) == {"nfc", "nfd"}
    [bicycle] = case.found(run, data, "自行车")
    assert "电动自行车" in next(row["title"] for row in rows(data, "items") if row["item_id"] == bicycle)
    assert case.found(run, data, "किताब") == ["hi1"]
    assert case.found(run, data, "कि") == []
    assert case.found(run, data, "led lamp")[0] == "full"
    assert case.found(run, data, "wf1000xm5")[0] == "hyph"
    assert case.found(run, data, "12 v")[0] == "unit"


CASES: dict[str, Callable[[Case], None]] = {
    check.__name__.replace("_", "-"): check
    for check in (
        add_csv,
        bm25_no_match,
        clicked_repeats,
        csv_inch_marks_swallow_rows,
        ids_split_silently,
        import_amz_array,
        import_csv_noid,
        import_csv_searchonly,
        import_csv_slash,
        import_ml_empty,
        import_ml_halfempty,
        import_qilin_late_click,
        import_recbole_extra,
        import_ubi_old_hits,
        jsonl_bom,
        jsonl_lone_surrogate,
        lcr_ser_short_logs,
        messages_with_wrong_facts,
        one_item_gensar,
        one_user_clicked_all,
        retitled_item,
        semicolon_csv,
        tracebacks_of_options,
        words_of_other_scripts,
    )
}


def test_every_folder_is_a_case() -> None:
    folders = {path.name for path in HERE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == CASES.keys()


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, searec: Callable[..., Any]) -> Iterator[Case]:
    shutil.copytree(HERE / request.param, tmp_path / "case")
    yield Case(tmp_path / "case", searec)


@pytest.mark.parametrize(("case", "name"), [(name, name) for name in CASES], indirect=["case"], ids=list(CASES))
def test_case(case: Case, name: str) -> None:
    CASES[name](case)
