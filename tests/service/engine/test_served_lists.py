"""What is evaluated is what is served: the same lists from HTTP batching, the offline pipeline and the run itself."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from small_shop import Shop

from searec.data.batch import Batcher
from searec.data.split import NEVER, requests_at
from searec.data.user_history import padded
from searec.errors import SettingsError
from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import read_deployment, write_deployment
from searec.pipeline.executors import Inline
from searec.pipeline.run import read_run
from searec.pipeline.served_lists import ServedLists, evaluate_deployment
from searec.pipeline.types import Request, Response
from searec.service.lifecycle import open_service

FEED = ("serendipity", "sasrec", "itemknn", "unisar")
SEARCH = ("bm25", "dense", "unisar")


def test_service_and_offline_lists_are_the_same(shop: Shop, tmp_path: Path) -> None:
    deployment = shop.deployment(FEED, SEARCH, seconds=60.0, weights={"itemknn": 2.0})
    write_deployment(deployment, tmp_path / "deployment.json")
    config = {"deployment": str(tmp_path / "deployment.json"), "store": f"sqlite:///{tmp_path / 'store.db'}"}
    service, writer, events, _ = open_service(config)
    offline = open_pipeline(read_deployment(tmp_path / "deployment.json"), executor=Inline)
    users = shop.data.users.texts.to_list()[:15]
    query = str(shop.data.queries.texts[0])
    requests = [Request(user=user, k=30) for user in (*users, "unknown")]
    searches = [Request(user=user, query=query, k=30) for user in users]
    try:
        online = [service.recommend(request) for request in requests], [service.search(one) for one in searches]
        for futures, responses in zip(online, (offline.recommend(requests), offline.search(searches)), strict=True):
            for future, expected in zip(futures, responses, strict=True):
                assert isinstance(expected, Response)
                response = future.result(60)
                assert not response.left_out
                assert [(one.item, one.channel, one.reason) for one in response.items] == [
                    (one.item, one.channel, one.reason) for one in expected.items
                ]
        channels = {one.channel for future in online[0] for one in future.result().items}
        assert {"behaviour", "interest", "popular"} <= channels
    finally:
        service.close()
        writer.close()
        events.close()
        offline.close()


def test_a_request_sees_only_what_is_strictly_older(shop: Shop) -> None:
    data = shop.data
    user = int(np.argmax(np.diff(data.click_history.offsets)))
    name = data.users.to_external(np.array([user]))[0]
    first, end = (int(data.click_history.offsets[user + n]) for n in (0, 1))
    time = int(data.click_history.time[(first + end) // 2])
    pipeline = open_pipeline(shop.deployment(("itemknn",), diversity=0.0), executor=Inline)
    (response,) = pipeline.recommend([Request(user=name, k=30, time=time)])
    pipeline.close()
    assert isinstance(response, Response)
    run = read_run(shop.runs["itemknn"], data)
    requests = requests_at(data, "recommend", np.array([user]), np.array([time]))
    older = data.click_history.item[first : int(requests.click_end[0])]
    items = data.items.to_internal([one.item for one in response.items if one.channel == "itemknn"])
    assert not set(items.tolist()) & set(older.tolist())
    batch = Batcher(data, run.model.needs).batch(requests)
    expected, _ = run.model.retrieve(batch, data.sizes.items, torch.from_numpy(older[None].astype(np.int64)))
    assert items.tolist() == [item for item in expected[0].tolist() if item][: len(items)]


@pytest.mark.parametrize("name", ["serendipity", "itemknn", "unisar", "bm25"])
def test_a_run_by_itself_gives_its_models_own_list(shop: Shop, name: str) -> None:
    run, data = read_run(shop.runs[name], shop.data), shop.data
    users = data.users.texts.to_list()[:40]
    inside = data.users.to_internal(users)
    removed = data.items.to_external(np.array([3, 7]))
    run.remove_items(removed)
    for task in run.model.train_tasks:
        queries = (data.queries.texts.to_list() * 40)[:40] if task == "search" else None
        lists = run.recommend(users, k=15) if queries is None else run.search(users, queries, k=15)
        requests = requests_at(data, task, inside, np.full(len(inside), NEVER), new_texts=queries)
        clicks = [data.click_history.item[slice(*data.click_history.offsets[user : user + 2])] for user in inside]
        exclude = padded([np.array([3, 7, *(row if queries is None else ())]) for row in clicks])
        batch = Batcher(data, run.model.needs).batch(requests).to(run.model.device)
        ids, scores = run.model.retrieve(batch, 15, torch.from_numpy(exclude).to(run.model.device))
        at = ((ids > 0) & ((scores > 0) | (name != "bm25"))).nonzero(as_tuple=True)  # bm25: items that hold a word
        assert lists["item_id"].to_list() == data.items.to_external(ids[at].cpu().numpy())
        assert lists["score"].to_list() == scores[at].double().tolist()
        assert lists["user_id"].to_list() == [users[row] for row in at[0].tolist()]
        assert lists["rank"].to_list() == (at[1] + 1).tolist()


def test_the_served_list_is_measured(shop: Shop, tmp_path: Path) -> None:
    deployment = shop.deployment(("itemknn",), ("bm25",), diversity=0.0, search_diversity=0.0)
    results = evaluate_deployment(deployment, max_requests=25, reasons=tmp_path / "lists.parquet")
    assert set(results) == {"recommend", "search"}
    for result in results.values():
        assert result.protocol == "full" and result.scores.height == 25
        assert 0 <= result.summary()["metrics"]["ndcg@10"] <= 1
    lists = pl.read_parquet(tmp_path / "lists.parquet")
    assert set(lists["task"]) == {"recommend", "search"}
    assert lists["reason"].str.len_chars().min() > 0
    assert set(lists.filter(pl.col("task") == "search")["channel"]) == {"bm25"}


def test_a_deployment_file_is_read_as_it_was_written(shop: Shop, tmp_path: Path) -> None:
    deployment = shop.deployment(FEED, SEARCH, quota=0.25, labels={shop.runs["sasrec"]: "next"})
    path = tmp_path / "deployment.json"
    write_deployment(deployment, path)
    assert read_deployment(path) == deployment
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "qouta": 0.5}))
    with pytest.raises(SettingsError, match="'quota'"):
        read_deployment(path)
    path.write_text(json.dumps({**values, "weights": {"no such channel": 1.0}}))
    with pytest.raises(SettingsError, match="no such channel"):
        open_pipeline(read_deployment(path), executor=Inline)


def test_lists_that_are_served_are_a_model_to_the_evaluation(shop: Shop) -> None:
    pipeline = open_pipeline(shop.deployment(("itemknn",)), executor=Inline)
    served = ServedLists(pipeline, "d")
    assert served.table().is_empty() and served.train_tasks == ("recommend", "search")
    pipeline.close()
