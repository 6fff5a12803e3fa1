"""Learned fusion: cross-fitting, noise is dropped and named, what is served is what was learned, and its file."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from searec.cli.clicks import clicks
from searec.cli.serve import print_fusion
from searec.data.dataset import Dataset, load
from searec.data.split import Split
from searec.data.synthetic.simulate import World, simulate
from searec.errors import DataError, SettingsError
from searec.evaluation.click_models import Examination
from searec.evaluation.result import Evaluation
from searec.experiments import run_comparison, run_training
from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import Deployment, read_deployment, write_deployment
from searec.pipeline.executors import Inline
from searec.pipeline.fusion_examples import FOLDS, Examples, LinearFolds, cross_fitted
from searec.pipeline.fusion_features import Features, ItemStatistics, Matrix
from searec.pipeline.fusion_fitting import FEWEST, best_sharpness, eliminate, fit_fusion
from searec.pipeline.fusion_learners import Bools, fit_linear, learn_linear, learn_trees
from searec.pipeline.learned_fusion import LearnedFusion, read_fusion, write_fusion
from searec.pipeline.run import read_run
from searec.pipeline.run_splits import has_read_held_out
from searec.pipeline.served_lists import evaluate_deployment
from searec.pipeline.types import Request, Response
from searec.service.lifecycle import open_service

REQUESTS, POOL = 240, 20


def examples(seed: int = 0, signal: float = 2.0) -> Examples:
    """Pools with a run that finds the target, a run of noise, and a leak: a number that is the request's own."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(REQUESTS), POOL)
    is_target = np.zeros(REQUESTS * POOL, dtype=bool)
    is_target[np.arange(REQUESTS) * POOL + rng.integers(POOL, size=REQUESTS)] = True
    statistics = ItemStatistics(*[np.zeros(1)] * 4, 1, 1, np.zeros(1))
    features = Features(statistics, ["good", "noise"], [], [])
    good = signal * is_target + rng.normal(size=len(owner))
    noise = rng.normal(size=len(owner))
    matrix = np.stack([good, good, good, noise, noise, noise], axis=1).astype(np.float32)
    return Examples(
        features=features,
        matrix=matrix,
        owner=owner,
        is_target=is_target,
        place=np.tile(np.arange(POOL), REQUESTS),
        novel=np.zeros(len(owner), dtype=bool),
        retrieved_by={"good": np.ones(len(owner), dtype=bool), "noise": np.ones(len(owner), dtype=bool)},
        user=np.repeat(np.arange(REQUESTS // 2), 2),
        is_named=np.ones(REQUESTS, dtype=bool),
    )


def test_the_conditional_logit_finds_the_weights_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(4000 * 10, 3)).astype(np.float32)
    owner = np.repeat(np.arange(4000), 10)
    chosen = (matrix @ np.array([1.5, -0.5, 0.0]) + rng.gumbel(size=len(owner))).reshape(-1, 10).argmax(axis=1)
    is_target = np.zeros(len(owner), dtype=bool)
    is_target[np.arange(4000) * 10 + chosen] = True
    linear = fit_linear(matrix, is_target, owner)
    assert linear.weights / linear.scale == pytest.approx([1.5, -0.5, 0.0], abs=0.06)


def test_no_request_is_scored_by_a_model_that_has_seen_its_user() -> None:
    given = examples()
    seen: list[set[int]] = []
    scored: list[set[int]] = []
    number = {row.tobytes(): place for place, row in enumerate(given.matrix)}

    class Spy:
        def scores(self, matrix: Matrix) -> np.ndarray:
            scored.append({int(given.user[given.owner[number[row.tobytes()]]]) for row in matrix})
            return matrix[:, 0].astype(np.float64)

    def learner(matrix: Matrix, is_target: Bools, owner: np.ndarray, weight: np.ndarray | None) -> Spy:
        seen.append({int(given.user[given.owner[number[row.tobytes()]]]) for row in matrix})
        assert is_target.sum() == len(np.unique(owner))
        return Spy()

    cross_fitted(given, ["good", "noise"], learner)  # type: ignore[arg-type]
    assert len(seen) == len(scored) == FOLDS and set().union(*scored) == set(given.user.tolist())
    for learned_from, asked in zip(seen, scored, strict=True):
        assert not learned_from & asked and learned_from | asked == set(given.user.tolist())


@pytest.mark.parametrize("learner", [learn_linear, learn_trees])
def test_a_fusion_of_noise_is_no_better_than_chance(learner: object) -> None:
    given = examples(signal=0.0)
    chance = sum(1 / np.log2(1 + rank) for rank in range(1, 11)) / POOL
    assert given.ndcg(cross_fitted(given, ["good", "noise"], learner)).mean() < chance + 0.06  # type: ignore[arg-type]


def test_a_part_of_noise_is_dropped_and_named() -> None:
    kept, gains, dropped = eliminate(examples())
    assert kept == ["good"] and set(dropped) == {"noise"}
    assert gains["good"] > 0.2 and gains["noise"] < 0.01


def test_parts_are_dropped_by_the_figures_of_fusions_that_are_fitted_anew() -> None:
    given = examples(signal=1.0)
    given = dataclasses.replace(given, retrieved_by={**given.retrieved_by, "good": given.is_target | (given.place > 2)})
    folds = LinearFolds(given)
    for parts in (["good", "noise"], ["good"], ["noise"], ["good", "noise"]):  # each starts from the one before
        anew = given.ndcg(cross_fitted(given, parts, learn_linear), given.in_pool(parts))
        assert folds.ndcg(parts).mean() == pytest.approx(anew.mean(), abs=0.01)
        assert np.mean(np.abs(folds.ndcg(parts) - anew)) < 0.02


def test_ndcg_counts_ties_as_halves_and_missing_targets_as_nothing() -> None:
    given = examples()
    scores = np.zeros(REQUESTS * POOL)
    assert given.ndcg(scores) == pytest.approx(np.zeros(REQUESTS))  # rank 10.5
    scores[given.is_target] = 1
    rows = given.owner > 0
    assert given.ndcg(scores, rows).tolist() == [0.0, *[1.0] * (REQUESTS - 1)]


def test_a_premium_lifts_novel_candidates_and_is_measured() -> None:
    given = dataclasses.replace(examples(), novel=np.tile(np.arange(POOL) % 2 == 0, REQUESTS))
    scores = np.where(given.is_target, 2.0, -given.place / POOL)
    plain, lifted = given.with_premium(scores, 1.0, 0.0), given.with_premium(scores, 1.0, 1.0)
    assert plain[:, 0] == pytest.approx(given.ndcg(scores)) and plain[:, 0].tolist() == [1.0] * REQUESTS
    assert lifted[:, 1].tolist() == [1.0] * REQUESTS and plain[:, 1].mean() < 0.6
    target_novel = given.novel[given.is_target]
    assert lifted[:, 0].tolist() == target_novel.astype(float).tolist()


def test_the_sharpness_is_that_of_the_scores_that_made_the_data() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=REQUESTS * POOL) * 2
    drawn = (truth + rng.gumbel(size=len(truth))).reshape(REQUESTS, POOL).argmax(axis=1)
    is_target = np.zeros(len(truth), dtype=bool)
    is_target[np.arange(REQUESTS) * POOL + drawn] = True
    given = dataclasses.replace(examples(), is_target=is_target)
    for factor in (0.1, 1.0, 20.0):
        assert best_sharpness(given, truth / factor) == pytest.approx(factor, rel=0.2)


def test_weights_of_requests_count_as_repetitions_in_both_learners_and_in_the_figures() -> None:
    """A half of the requests is there three times, or once with three times the weight."""
    given = examples(signal=1.0)
    times = np.where(np.arange(REQUESTS) < REQUESTS // 2, 3, 1)
    weighted = dataclasses.replace(given, weight=times / times.mean())
    rows = np.concatenate([np.flatnonzero(given.owner == request) for request in np.repeat(np.arange(REQUESTS), times)])
    matrix, is_target, owner = given.matrix[rows], given.is_target[rows], np.repeat(np.arange(times.sum()), POOL)
    everything = np.ones(len(given.owner), dtype=bool)
    weight = weighted.row_weight(everything)
    linear = fit_linear(given.matrix, given.is_target, given.owner, weight * times.mean())
    repeated = fit_linear(matrix, is_target, owner)
    assert linear.weights / linear.scale == pytest.approx(repeated.weights / repeated.scale, abs=0.02)
    plain = fit_linear(given.matrix, given.is_target, given.owner)
    assert np.abs(plain.weights - linear.weights).max() > 0.03
    scores = linear.scores(given.matrix)
    expected = np.average(given.ndcg(scores), weights=times)
    assert weighted.ndcg(scores).mean() == pytest.approx(expected)
    trees = [
        learn_trees(given.matrix, given.is_target, given.owner, one).scores(given.matrix) for one in (weight, None)
    ]
    assert np.abs(trees[0] - trees[1]).max() > 0.01


# --- deployments ---


@dataclasses.dataclass(frozen=True)
class Shop:
    data: Dataset
    deployment: Deployment
    fusion: dict[str, LearnedFusion]
    path: Path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A world with enough users, and a deployment that is learned on it."""
    home = tmp_path_factory.mktemp("learned")
    world = World(users=200, items=250, clicks=14.0, searches=14.0, families=2, types=3, seed=4)
    data = load(simulate(home / "shop", world))
    runs = {name: str(home / name) for name in ("itemknn", "ease", "bm25")}
    for name, folder in runs.items():
        run_training.train(name, data, folder, joint=name != "ease")
    deployment = Deployment(
        data=str(home / "shop"), recommend=(runs["itemknn"], runs["ease"]), search=(runs["bm25"],), diversity=0.0
    )
    fusion = fit_fusion(deployment)
    path = home / "deployment.json"
    digest = write_fusion(path.with_suffix(".fusion.json"), fusion)
    deployment = dataclasses.replace(
        deployment, fusion=str(path.with_suffix(".fusion.json")), fusion_digest=digest, seconds=60.0
    )
    write_deployment(deployment, path)
    return Shop(data, read_deployment(path), dict(fusion), path)


def test_it_is_no_worse_on_validation_than_its_best_part(shop: Shop) -> None:
    for task, learned in shop.fusion.items():
        figures = learned.report["ndcg@10"]
        name = learned.parts[0] if learned.kind == "single" else learned.kind
        assert figures[name if name != "rank" else "rank fusion"] == max(figures.values()), task
        assert set(learned.report["gain"]) >= set(learned.parts)
    search = shop.fusion["search"]
    if search.kind in ("linear", "lambdamart"):
        without = search.report["ndcg@10 without user"][search.kind]
        assert search.report["ndcg@10"][search.kind] >= without, "a user must not get worse results than nobody"


def test_a_run_that_has_read_what_is_held_out_of_search_does_not_score_it(shop: Shop) -> None:
    pipeline = open_pipeline(shop.deployment, executor=Inline)
    names = [scorer.name for scorer in pipeline.parts.scorers["search"]]
    pipeline.close()
    assert names == ["bm25", "itemknn"]
    runs = {run.label: run for run in pipeline.views.runs}
    assert has_read_held_out(runs["ease"], "search") and not has_read_held_out(runs["itemknn"], "search")


def test_a_run_of_the_feed_serves_search_alone_if_it_was_trained_for_that(shop: Shop) -> None:
    itemknn, ease = shop.deployment.recommend
    for_search = dataclasses.replace(
        shop.deployment, recommend=(ease,), search=(*shop.deployment.search, itemknn), fusion="", fusion_digest=""
    )
    pipeline = open_pipeline(for_search, executor=Inline)
    assert [scorer.name for scorer in pipeline.parts.scorers["search"]] == ["bm25", "itemknn"]
    assert [scorer.name for scorer in pipeline.parts.scorers["recommend"]] == ["ease"]
    assert list(pipeline.parts.channels["search"]) == ["bm25"]
    pipeline.close()
    with pytest.raises(SettingsError, match="--joint"):
        open_pipeline(dataclasses.replace(for_search, search=(ease,)), executor=Inline)


def test_a_joint_split_ends_before_what_either_task_holds_out(shop: Shop) -> None:
    joint, both = Split(shop.data, joint=True), Split(shop.data).cutoff(("recommend", "search"))
    assert joint.cutoff(("recommend",)).tolist() == joint.cutoff(("search",)).tolist() == both.tolist()
    assert Split(shop.data).cutoff(("recommend",)).tolist() != both.tolist()


def test_service_and_evaluation_give_the_lists_of_the_learned_fusion(shop: Shop, tmp_path: Path) -> None:
    config = {"deployment": str(shop.path), "store": f"sqlite:///{tmp_path / 'store.db'}"}
    service, writer, events, _ = open_service(config)
    offline = open_pipeline(shop.deployment, executor=Inline)
    by_rank = open_pipeline(dataclasses.replace(shop.deployment, fusion="", fusion_digest=""), executor=Inline)
    users, query = shop.data.users.texts.to_list()[:12], str(shop.data.queries.texts[0])
    requests = [Request(user=user, query=query, k=20) for user in (*users, None)]
    try:
        expected, plain = offline.search(requests), by_rank.search(requests)
        for request, one in zip(requests, expected, strict=True):
            answer = service.search(request).result(60)
            assert isinstance(one, Response) and not answer.left_out
            assert [item.item for item in answer.items] == [item.item for item in one.items]
        assert [one.items for one in expected] != [one.items for one in plain]  # type: ignore[union-attr]
    finally:
        service.close()
        writer.close()
        events.close()
        offline.close()
        by_rank.close()


def test_scores_are_those_of_the_model_on_the_features(shop: Shop) -> None:
    pipeline = open_pipeline(shop.deployment, executor=Inline)
    learned = pipeline.parts.learned["search"]
    request = Request(user=str(shop.data.users.texts[3]), query=str(shop.data.queries.texts[1]), k=30)
    (response,) = pipeline.search([request])
    pooled = pipeline.candidates([request], "search", learned.scorers)
    pools = [pool.items for pool in pooled.pools]
    scores = learned.model.scores(learned.features.matrix(pooled.batch, pools, pooled.scores, pooled.lists))
    order = np.argsort(-scores, kind="stable")[:30]
    pipeline.close()
    assert isinstance(response, Response)
    assert [one.item for one in response.items] == pooled.batch.catalog.items(pools[0][order])
    assert [one.score for one in response.items] == pytest.approx(scores[order].tolist())


def test_a_premium_on_novelty_is_fitted_within_its_cost_and_served(shop: Shop) -> None:
    plain = dataclasses.replace(shop.deployment, fusion="", fusion_digest="")
    fusion = fit_fusion(plain, trees=False, novelty_cost=0.05, tasks=("recommend",))["recommend"]
    report = fusion.report["novelty"]
    assert fusion.novelty == report["premiums"][-1]["premium"] > 0
    assert all(row["ndcg@10"] >= 0.95 * report["base"]["ndcg@10"] for row in report["premiums"])
    assert report["premiums"][-1]["enr"] > report["base"]["enr"]
    assert shop.fusion["recommend"].novelty == 0.0, "without an interest channel nothing is to be lost"
    users = [Request(user=user) for user in shop.data.users.texts.to_list()[:40]]
    enr = []
    for novelty in (0.0, None, 1.0):
        deployment = dataclasses.replace(plain, novelty=novelty)
        pipeline = open_pipeline(deployment, executor=Inline, fusion={"recommend": fusion})
        pages = pipeline.recommend(users)
        pipeline.close()
        enr.append(np.mean([page.enr for page in pages if isinstance(page, Response)]))
    assert enr[0] < enr[1] < enr[2] == 1.0


def test_the_deployment_is_measured_with_its_fusion(shop: Shop) -> None:
    learned = evaluate_deployment(shop.deployment)
    plain = evaluate_deployment(dataclasses.replace(shop.deployment, fusion="", fusion_digest=""))
    means = {task: (learned[task].means()["ndcg@10"], plain[task].means()["ndcg@10"]) for task in learned}
    assert means["search"][0] > means["search"][1] - 0.02, means


def test_a_file_that_was_changed_is_refused(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "one.fusion.json"
    digest = write_fusion(path, shop.fusion)  # type: ignore[arg-type]
    assert read_fusion(path, digest) == shop.fusion
    changed = dataclasses.replace(shop.deployment, fusion=str(path), fusion_digest=digest)
    open_pipeline(changed, executor=Inline).close()
    path.write_text(path.read_text().replace("0.", "1.", 1))
    with pytest.raises(SettingsError, match="not the one that was deployed"):
        open_pipeline(changed, executor=Inline)
    path.unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        open_pipeline(changed, executor=Inline)


def test_damaged_contents_and_other_runs_are_refused(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "one.fusion.json"
    learned = LearnedFusion(kind="linear", parts=("x",), features=("x score",), mean=(0.0,), scale=(1.0,), weights=())
    with pytest.raises(SettingsError, match="damaged"):
        learned.model()
    with pytest.raises(SettingsError, match="trees of the learned fusion are damaged"):
        dataclasses.replace(learned, kind="lambdamart", weights=(1.0,), trees="no model").model()
    other = dataclasses.replace(learned, weights=(1.0,))
    digest = write_fusion(path, {"search": other})
    with pytest.raises(SettingsError, match="is of other runs"):
        open_pipeline(dataclasses.replace(shop.deployment, fusion=str(path), fusion_digest=digest), executor=Inline)
    path.write_text(json.dumps({"version": 9}))
    from searec.files import fingerprint

    with pytest.raises(SettingsError, match="another version"):
        read_fusion(path, fingerprint(path))


def test_too_few_requests_leave_rank_fusion(shop: Shop) -> None:
    fusion = fit_fusion(dataclasses.replace(shop.deployment, fusion="", fusion_digest=""), most=FEWEST - 1)
    assert {one.kind for one in fusion.values()} == {"rank"}
    assert all(str(FEWEST) in one.report["reason"] for one in fusion.values())


def test_clicks_on_result_pages_are_weighed_unless_that_is_off_or_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dials = {"departments": 3, "families": 1, "types": 2, "reveal": 0.0, "sparse_share": 0.2, "shown": 6}
    world = World(users=250, items=80, clicks=4.0, searches=14.0, seed=4, **dials)  # type: ignore[arg-type]
    data = load(simulate(tmp_path / "shop", world))
    run_training.train("bm25", data, tmp_path / "bm25")
    deployment = Deployment(data=str(tmp_path / "shop"), search=(str(tmp_path / "bm25"),))
    reports = {
        debias: fit_fusion(dataclasses.replace(deployment, debias=debias), trees=False)["search"].report
        for debias in ("auto", "off")
    }
    auto, off = reports["auto"]["position bias"], reports["off"]["position bias"]
    examined = [row["examination"] for row in auto["groups"]]
    assert examined[0] == 1 and examined[1] == pytest.approx(0.5, abs=0.15) and examined[-1] < 0.4
    assert auto["clicks"] == reports["auto"]["requests"] > reports["off"]["requests"]
    assert auto["without a position"] == 0 and off == {"reason": "switched off (--debias off)"}
    assert "examination of their position (1: 1.00" in printed(capsys, "search", reports["auto"])
    assert "not weighed against position bias: switched off" in printed(capsys, "search", reports["off"])
    clicks(str(tmp_path / "shop"), Path("-"))
    assert [row["examination"] for row in json.loads(capsys.readouterr().out)["groups"]][1] == pytest.approx(
        0.5, abs=0.15
    )
    alike = Examination(np.array([1]), np.ones(1), np.zeros(1), np.zeros(1, dtype=np.int64), 1)
    monkeypatch.setattr("searec.pipeline.fusion_fitting.position_bias", lambda split: alike)
    unweighted = fit_fusion(deployment, trees=False)["search"].report
    assert unweighted["requests"] == auto["clicks"]
    assert unweighted["ndcg@10"]["bm25"] != pytest.approx(reports["auto"]["ndcg@10"]["bm25"], abs=1e-3)
    monkeypatch.setattr("searec.pipeline.fusion_fitting.position_bias", refused)
    report = fit_fusion(deployment, trees=False)["search"].report
    assert "cannot be separated" in report["position bias"]["reason"]
    assert report["ndcg@10"] == reports["off"]["ndcg@10"]

    run = read_run(tmp_path / "bm25", data)
    result = run_comparison.evaluate(run, None, "search", "full")
    weights, rank = result.scores["weight"].to_numpy(), result.scores["rank"].to_numpy()
    assert result.means()["snips-mrr"] == pytest.approx((weights / rank).sum() / weights.sum())
    assert result.means()["snips-mrr"] != pytest.approx(result.means()["mrr"], abs=1e-4)
    stored = Evaluation.load(run.figures, "search", "full", "test", "ips-mrr")
    assert stored.means()["ips-mrr"] == pytest.approx((weights / rank).mean())
    assert stored.position_bias["groups"][0]["examination"] == 1


def printed(capsys: pytest.CaptureFixture[str], task: str, report: dict[str, object]) -> str:
    print_fusion(task, LearnedFusion(kind="rank", report=report))
    return capsys.readouterr().out


def refused(split: Split) -> None:
    raise DataError("the position bias cannot be separated from relevance")
