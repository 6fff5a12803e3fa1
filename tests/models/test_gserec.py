"""What gserec adds to the event-transformer: codes from what lies before a request, and messages by shared codes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from searec.data.batch import Batcher
from searec.data.dataset import FEED, Dataset
from searec.data.split import NEVER, Split, requests_at
from searec.experiments import run_training
from searec.experiments.run_update import update
from searec.models.code_messages import CodeMessages, code_count, residual_codebooks, text_vectors, vectors_of_clicks
from searec.pipeline.run import Run, read_run
from searec.training.user_codes import LEAST_GAIN

SMALL: dict[str, Any] = {
    "width": 16,
    "inner": 16,
    "layers": 1,
    "epochs": 2,
    "batch": 16,
    "lr": 5e-3,
    "text": False,
    "neighbours": False,
}
GROUPS, RICH, SPARSE = 4, 16, 12
"""Groups of users, and the rich and the sparse searchers of each."""
FIT: dict[str, Any] = {"rich_from": 10, "levels": 2, "codes": 4, "assignment": "own", "seed": 0, "source": "clicks"}
Shop = Callable[..., Dataset]


@pytest.fixture(scope="module")
def shop(make_data: Shop) -> Dataset:
    return make_data(**events())


@pytest.fixture(scope="module")
def run(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_training.train("gserec", shop, tmp_path_factory.mktemp("run") / "run", **SMALL)


def events(last: str | None = None) -> dict[str, Any]:
    """A shop of four groups: rich users search for items s* of their group and click b* in the feed.

    Sparse users click three of s*, then one of b*; so only rich users of the group tell what they click last.

    Args:
        last: the item of the last click of the first sparse user, in place of the usual one.
    """
    rng = np.random.default_rng(0)
    feed, searches = [], []
    items = {f"{kind}{group}-{n}": f"{kind} {group}" for kind in "sb" for group in range(GROUPS) for n in range(6)}
    for group in range(GROUPS):
        for number in range(RICH):
            user, order = f"rich{group}-{number}", rng.permutation(6)
            searches += [(user, f"query {group}", 60.0 * n, [f"s{group}-{rng.integers(6)}"]) for n in range(12)]
            feed += [(user, f"b{group}-{order[n]}", 1000.0 + 60 * n) for n in range(6)]
        for number in range(SPARSE):
            user, order = f"sparse{group}-{number}", rng.permutation(6)
            feed += [(user, f"s{group}-{order[n]}", 60.0 * n) for n in range(3)]
            feed += [(user, f"b{group}-{order[n]}", 1000.0 + 60 * n) for n in range(2)]
    if last is not None:
        at = next(row for row in reversed(range(len(feed))) if feed[row][0] == "sparse0-0")
        feed[at] = ("sparse0-0", last, feed[at][2])
    users = [
        f"{kind}{group}-{n}"
        for group in range(GROUPS)
        for kind, count in (("rich", RICH), ("sparse", SPARSE))
        for n in range(count)
    ]
    return {"items": items, "users": users, "feed": feed, "searches": searches}


def fitted(data: Dataset, **changes: Any) -> CodeMessages:
    messages = CodeMessages(data.sizes.users, data.sizes.items, length=50, search_clicks=5)
    tasks = ("recommend",)
    assert messages.fit(Split(data), tasks, vectors_of_clicks(Split(data), tasks), **{**FIT, **changes})
    return messages


def asked(data: Dataset, messages: CodeMessages) -> tuple[Any, Any]:
    requests = Split(data).held_out("recommend", "test")
    return requests, Batcher(data, messages.needs).batch(requests)


def test_messages_equal_a_plain_rendering(shop: Dataset) -> None:
    """For sparse users, and for rich ones, whose own clicks are in no message that they read."""
    messages = fitted(shop)
    requests, batch = asked(shop, messages)
    with torch.no_grad():
        messages_of = messages(batch).numpy()
    books, vectors = messages.codebooks.numpy(), messages.vectors.numpy()
    cutoff, history = Split(shop).cutoff(("recommend",)), shop.click_history

    def codes(user: int, before: int) -> tuple[int, ...]:
        own = slice(history.offsets[user], history.offsets[user + 1])
        old = history.time[own] < before
        item, source = history.item[own][old], history.source[own][old]
        found = item[source != FEED] if (source != FEED).any() else item
        rest, chosen = vectors[found].mean(0), []
        rest = rest / np.linalg.norm(rest)
        for book in books:
            chosen.append(int(((rest - book) ** 2).sum(1).argmin()))
            rest = rest - book[chosen[-1]]
        return tuple(chosen)

    def clicks(user: int) -> np.ndarray:
        own = slice(shop.interactions.offsets[user], shop.interactions.offsets[user + 1])
        counted = np.zeros(shop.sizes.items + 1)
        counted[shop.interactions.item[own][shop.interactions.time[own] < cutoff[user]]] = 1
        return counted

    searches = np.diff(shop.searches.offsets)
    senders = [user for user in range(1, shop.sizes.users + 1) if searches[user] >= 10]
    sent = {user: (codes(user, cutoff[user]), np.log1p(searches[user]) * clicks(user)) for user in senders}
    for row in range(0, len(requests), 5):
        user, share = int(requests.user[row]), np.zeros(shop.sizes.items + 1)
        own = codes(user, requests.time[row])
        for level in (1, 2):
            read = [what for other, (code, what) in sent.items() if code[:level] == own[:level] and other != user]
            total = np.sum([*read, np.zeros_like(share)], axis=0)
            share = (total + 200 * share) / (total.sum() + 200)
        np.testing.assert_allclose(messages_of[row], np.log1p(50 * share), rtol=1e-4, atol=1e-5)


def test_a_user_without_searches_shares_codes_with_those_who_searched_for_the_same(shop: Dataset) -> None:
    """Half of what rich users of the group click is the most of any message; shuffled, it is a quarter of a message."""

    def share_of_group(messages: CodeMessages) -> float:
        requests, batch = asked(shop, messages)
        with torch.no_grad():
            sent = messages(batch).expm1().numpy()
        names = np.array(["", *shop.items.to_external(np.arange(1, shop.sizes.items + 1))])
        users = shop.users.to_external(requests.user)
        rows = [row for row, user in enumerate(users) if user.startswith("sparse")]
        own = [sent[row, [name.startswith(f"b{users[row][6]}") for name in names]].sum() for row in rows]
        return float(np.mean(np.array(own) / sent[rows].sum(1)))

    assert share_of_group(fitted(shop)) > 0.9
    assert share_of_group(fitted(shop, assignment="shuffled")) < 0.5
    assert share_of_group(fitted(shop, assignment="one")) == pytest.approx(1 / GROUPS, abs=0.05)


def test_codes_know_nothing_of_what_follows(make_data: Shop, shop: Dataset) -> None:
    """Another last event of a user changes neither codes nor messages of requests before it."""
    other = make_data(**events(last="s3-5"))
    before, after = fitted(shop), fitted(other)
    assert all(torch.equal(part, after.state_dict()[name]) for name, part in before.state_dict().items())
    both = []
    for data, messages in ((shop, before), (other, after)):
        user = data.users.to_internal(["sparse0-0"]).astype(np.int32)
        last = data.interactions.time[data.interactions.offsets[user + 1] - 1]
        requests = requests_at(data, "recommend", np.repeat(user, 2), np.array([last[0], NEVER]))
        with torch.no_grad():
            both.append(messages.latents(Batcher(data, messages.needs).batch(requests))[0])
    torch.testing.assert_close(both[0][0], both[1][0])
    assert not torch.allclose(both[0][1], both[1][1]), "the changed event is read after it"


def test_validation_keeps_messages_that_help_and_a_run_repeats_them(run: Run, shop: Dataset, tmp_path: Path) -> None:
    phase = run.config["phases"][-1]
    assert phase["phase"] == "user_codes" and phase["kept"] and run.model.message_weight > 0
    requests = run.split.held_out("recommend", "test")
    batch = Batcher(shop, run.model.needs).batch(requests)
    alone = run_training.train("event-transformer", shop, tmp_path / "et", **SMALL, tasks=["recommend"])
    with torch.no_grad():
        scores = run.model.score(batch)
        assert torch.equal(scores, read_run(run.folder, shop, device="cpu").model.score(batch))
        run.model.weigh_messages(0.0, alone.model.near_weight[1])
        torch.testing.assert_close(run.model.score(batch), alone.model.score(batch))
    run.model.weigh_messages(phase["weight.messages"], phase["weight.neighbours"])


def test_a_gain_that_may_be_chance_leaves_an_event_transformer(
    run: Run, shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = (phase["full-ndcg@10"] for phase in (run.config["phases"][0], run.config["phases"][-1]))
    assert after > LEAST_GAIN * before > 0
    monkeypatch.setattr("searec.training.user_codes.LEAST_GAIN", 1.001 * after / before)
    again = run_training.train("gserec", shop, tmp_path / "run", **SMALL)
    assert not again.config["phases"][-1]["kept"] and not again.model.has_messages


def test_messages_are_added_to_an_event_transformer_that_is_trained(run: Run, shop: Dataset, tmp_path: Path) -> None:
    trunk = run_training.train("event-transformer", shop, tmp_path / "et", **SMALL, tasks=["recommend"])
    started = run_training.train("gserec", shop, tmp_path / "run", **SMALL, start=trunk.folder)
    state = run.model.state()
    assert all(torch.equal(part, state[name]) for name, part in started.model.state().items())


def test_a_final_run_repeats_what_its_twin_chose_and_an_update_sends_what_is_new(
    run: Run, make_data: Shop, shop: Dataset, tmp_path: Path
) -> None:
    final = run_training.train("gserec", shop, tmp_path / "final", **SMALL, final=True, twin=run.folder)
    chosen, messages = run.config["phases"][-1], final.model.messages
    assert final.model.message_weight.item() == chosen["weight.messages"]
    assert len(messages.values) > len(run.model.messages.values), "the clicks that were held out are sent too"
    tables = events()
    tables["feed"] += [("rich0-0", "s3-0", 90_000.0), ("sparse0-0", "s3-0", 90_000.0)]
    updated = update(final.folder, make_data(**tables), tmp_path / "updated")
    assert updated.model.message_weight.item() == chosen["weight.messages"]
    assert len(updated.model.messages.values) == len(messages.values) + 1, "rich users send, sparse ones do not"


def test_messages_follow_data_that_has_grown(run: Run, make_data: Shop, shop: Dataset) -> None:
    tables = events()
    tables["items"] = {"0 first": "new", **tables["items"]}
    tables["users"] = ["0 first", *tables["users"]]
    tables["feed"] += [("0 first", f"s2-{n}", 60.0 * n) for n in range(3)]
    grown = read_run(run.folder, make_data(**tables), device="cpu")
    scores = []
    for one in (run, grown):
        users = one.data.users.to_internal(["rich1-2", "sparse2-3"]).astype(np.int32)
        requests = requests_at(one.data, "recommend", users, np.full(2, 1_682_900_000_000_000 + 900_000_000))
        with torch.no_grad():
            messages = one.model.messages(Batcher(one.data, one.model.needs).batch(requests))
        scores.append(messages[:, one.data.items.to_internal(list(events()["items"]))])
    torch.testing.assert_close(*scores)
    newcomer = requests_at(grown.data, "recommend", grown.data.users.to_internal(["0 first"]), np.array([NEVER]))
    with torch.no_grad():
        message = grown.model.messages(Batcher(grown.data, grown.model.needs).batch(newcomer))[0]
    best = grown.data.items.to_external(message.topk(3).indices.numpy())
    assert {item[:2] for item in best} == {"b2"}, "codes of a user who came later, from the clicks alone"


def test_too_few_searchers_leave_an_event_transformer(checkerboard: Any, tmp_path: Path) -> None:
    run = run_training.train("gserec", checkerboard.data, tmp_path / "run", **SMALL)
    phases = {phase["phase"]: phase["kept"] for phase in run.config["phases"]}
    assert phases["user_codes"] is False and not run.model.has_messages


def test_a_click_that_came_later_is_found_in_messages(run: Run) -> None:
    assert not run.model.leaks(run.split).errors
    run.model.messages.values[0] += 1
    found = run.model.leaks(run.split).errors
    run.model.messages.values[0] -= 1
    assert [one.what.split(" ", 1)[1][:20] for one in found] == [
        f"of {len(run.model.messages.values)} clicks in messages"[:20]
    ]


def test_codebooks_find_the_groups_of_rows() -> None:
    torch.manual_seed(0)
    centres = 10 * torch.eye(4)
    rows = torch.cat([centre + 0.1 * torch.randn(20, 4) for centre in centres])
    first, second = residual_codebooks(rows, 2, 4)
    assert torch.cdist(centres, first).min(1).values.max() < 0.1
    assert second.abs().max() < 0.5, "what the first level leaves"


def test_vectors_of_texts_are_unit_vectors_of_their_largest_components() -> None:
    text = torch.zeros(5, 100)
    text[1:, 0] = torch.tensor([5.0, -5.0, 5.0, -5.0])
    text[1:, 1] = torch.tensor([1.0, 1.0, -1.0, -1.0])
    vectors = text_vectors(text)
    assert vectors[0].abs().max() == 0
    torch.testing.assert_close(vectors[1:].norm(dim=1), torch.ones(4))
    torch.testing.assert_close(vectors[1] @ vectors[3], torch.tensor(24 / 26))


def test_the_number_of_codes_follows_from_the_senders() -> None:
    assert [code_count(senders) for senders in (32, 1_200, 1_000_000)] == [16, 64, 256]
