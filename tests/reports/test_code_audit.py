"""The audit against plain loops and hand-made codes, and its page from a tiny run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from searec.data.dataset import Dataset
from searec.errors import SettingsError
from searec.experiments import run_comparison, run_training
from searec.pipeline.run import Run
from searec.reports.code_audit import audit
from searec.reports.code_audit_page import render, write_audit
from searec.reports.connectivity import EITHER, connectivity, likeness, shuffled
from searec.reports.user_embeddings import user_embeddings
from searec.semantic_ids.user_code_table import UserCodes

NO = [-1, -1]


def hand_made() -> UserCodes:
    """Users 1-4 are sparse, 5-6 rich."""
    recommend = [NO, [0, 1], [2, 2], [0, 2], NO, [0, 3], [3, 1]]
    search = [NO, NO, [1, 1], NO, NO, [1, 0], [1, 2]]
    return UserCodes(np.stack([recommend, search], axis=1).astype(np.int16), 4)


SPARSE, RICH = np.arange(1, 5), np.array([5, 6])


def test_connectivity_by_hand() -> None:
    recommend, search, either = connectivity(hand_made(), SPARSE, RICH)
    # User 1 shares 0 at the first level with 5 and 1 at the second with 6; user 3 the first with 5. A 2 at another
    # level is another code.
    assert recommend.counts.tolist() == [2, 0, 1, 0]
    assert search.counts.tolist() == [0, 2, 0, 0]
    assert either.side == EITHER and either.counts.tolist() == [2, 2, 1, 0]
    assert (recommend.alone, either.alone) == (0.5, 0.25)
    assert (recommend.uncoded, search.uncoded, either.uncoded) == (0.25, 0.75, 0.25), "user 4 has none, 1 and 3 a side"
    assert "; 75% have no code." in search.reference
    assert recommend.closest == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert "over 30%, so the mechanism cannot work here" in recommend.verdict
    assert "share one with 2 or more" in either.verdict and "cannot" not in either.verdict
    assert "nobody" in connectivity(hand_made(), SPARSE, RICH[:0])[0].verdict


def test_connectivity_equals_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("searec.reports.connectivity._ROWS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 6, (61, 2, 3)).astype(np.int16)
    codes[rng.random((61, 2)) < 0.3] = -1
    codes[0] = -1
    sparse, rich = np.arange(1, 41), np.arange(41, 61)
    for place, reach in enumerate(connectivity(UserCodes(codes, 6), sparse, rich)):
        sides = [place] if place < 2 else [0, 1]
        common = [
            [sum(codes[u, s, level] == codes[v, s, level] != -1 for s in sides for level in range(3)) for v in rich]
            for u in sparse
        ]
        assert reach.counts.tolist() == [sum(n > 0 for n in line) for line in common]
        assert reach.closest == pytest.approx(np.mean([max(line) for line in common]))


def test_codes_dealt_by_chance_keep_their_numbers() -> None:
    codes = hand_made().codes
    dealt = shuffled(codes, np.random.default_rng(3))
    assert ((dealt == -1) == (codes == -1)).all()
    for side in range(2):
        for level in range(2):
            assert sorted(dealt[:, side, level]) == sorted(codes[:, side, level])


def test_likeness_of_users_with_one_code() -> None:
    codes = np.full((9, 2, 1), -1, dtype=np.int16)
    codes[1:, 0, 0] = [0, 0, 0, 0, 1, 1, 1, 1]
    tastes = scipy.sparse.csr_matrix(np.array([[0, 0]] + [[1, 0]] * 4 + [[0, 1]] * 4))
    found = likeness(UserCodes(codes, 2), tastes)
    assert found["recommend"]["same first code"] == pytest.approx(1.0)
    assert found["recommend"]["any two"] == pytest.approx(3 / 7, abs=0.02)  # 3 of the 7 others have the same taste
    assert "search" not in found


@pytest.fixture(scope="module")
def runs(small_world: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two tiny gserec runs of one seed that differ in K, and one of another model."""
    home = tmp_path_factory.mktemp("audit")
    tiny = {"levels": 2, "codes": 8, "code_epochs": 2, "epochs": 1, "width": 8}
    made = [
        run_training.train("gserec-paper", small_world, home / f"K{k}", label=f"K={k}", layers=k, **tiny)
        for k in (2, 1)
    ]
    return [*made, run_training.train("popular", small_world, home / "popular")]


def test_the_page(runs: list[Run], tmp_path: Path) -> None:
    comparison = run_comparison.compare(runs, protocols=("sampled",), baseline="K=2")
    found = audit(runs, comparison, users=5, points=30)
    assert len(found.runs) == 1, "runs that share their codes are looked into once"
    assert found.depths == {"K=2": 2, "K=1": 1}
    write_audit(found, tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "offline summariser (no language model)" in page
    assert "NDCG@5 by K" in page and page.count("<svg") == 6
    assert not re.search(r'(?:src|href)="(?!#)|@import|url\((?!#)', page), "no outside request"
    figures = json.loads(json.dumps(found.as_json()))["runs"][0]
    assert len(figures["users"]) == 5 and figures["texts_by"].startswith("the offline")
    told = figures["users"][0]
    assert told["summary"]["recommend"] and told["history"]["recommend"] and len(told["codes"]["recommend"]) == 2
    made = found.runs[0]
    again = audit(runs[:1], users=5, points=30)
    assert np.array_equal(again.runs[0].places, made.places), "drawn and placed by seed"
    assert render(again, title="t", created=runs_at()) == render(
        audit(runs[:1], users=5, points=30), title="t", created=runs_at()
    )


def runs_at():  # type: ignore[no-untyped-def]
    """A fixed time."""
    from datetime import UTC, datetime

    return datetime(2026, 1, 1, tzinfo=UTC)


def test_embeddings_are_those_the_model_scores_with(runs: list[Run]) -> None:
    from searec.data.batch import Batcher

    model = runs[0].model
    requests = runs[0].split.held_out("recommend", "test")[:7]
    batch = Batcher(runs[0].data, model.needs).batch(requests)
    read, _ = model.propagated()  # type: ignore[operator]
    expected = model.user_sides(batch, model.graphs.nodes[batch.user.long()], read)  # type: ignore[operator, union-attr, index]
    np.testing.assert_allclose(user_embeddings(model, requests.user), expected.detach().numpy(), atol=1e-6)  # type: ignore[arg-type]


def test_other_models_alone_are_refused(runs: list[Run]) -> None:
    with pytest.raises(SettingsError, match="a gserec run"):
        audit(runs[2:])
