"""lcr-ser: sessions and steps by their formulas, causality, closed scales at first, and what reasoning is worth."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from searec.data.batch import Batcher
from searec.data.dataset import load
from searec.data.split import Split
from searec.data.synthetic.simulate import simulate
from searec.data.synthetic.world import World
from searec.errors import SettingsError
from searec.experiments import run_training
from searec.models import lcr_ser
from searec.models.event_transformer import EventTransformer
from searec.models.lcr_ser import LCRSER
from searec.nn.event_trunk import FEED_CLICK, SEARCH, SEARCH_CLICK, EventTrunk, Timeline
from searec.nn.foreign_sessions import with_foreign_sessions
from searec.nn.session_reasoning import SessionReasoning, Step, belief_loss, target_contrast
from searec.nn.sessions import QueryMatches, Sessions, read_sessions
from searec.training.examples import TrainingExamples

WIDTH, ITEMS, TEXT = 8, 6, 5
KINDS = (FEED_CLICK, SEARCH, SEARCH_CLICK, FEED_CLICK, SEARCH, FEED_CLICK)
SESSIONS = (0, 1, 1, 0, 2, 0)


@pytest.fixture
def timeline() -> Timeline:
    """Two users with the same kinds of events; the second lacks the last two."""
    kind, session = torch.tensor([KINDS, KINDS]), torch.tensor([SESSIONS, SESSIONS])
    kind[1, 4:] = session[1, 4:] = 0
    time = torch.tensor([1, 2, 2, 3, 4, 5]).expand(2, -1) * 10_000_000
    item = torch.where((kind == FEED_CLICK) | (kind == SEARCH_CLICK), torch.tensor([3, 0, 2, 1, 0, 5]), 0)
    return Timeline(item, (kind == SEARCH).int() * session, kind, time * (kind > 0), torch.ones(2, 6), session)


@pytest.fixture
def matches() -> QueryMatches:
    generator = torch.Generator().manual_seed(1)
    words = torch.rand(3, ITEMS + 1, generator=generator)
    words[0] = 0  # row 0 pads
    texts = torch.randn(3, TEXT, generator=generator)
    item_texts = torch.randn(ITEMS + 1, TEXT, generator=generator)
    item_texts[0] = 0
    return QueryMatches(words, texts, item_texts, torch.randn(3, WIDTH, generator=generator))


def content_of(timeline: Timeline, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*timeline.kind.shape, WIDTH, generator=generator)


def test_sessions_are_those_before_each_place(timeline: Timeline, matches: QueryMatches) -> None:
    """Against one place, one session and one event at a time."""
    content = content_of(timeline)
    places = [(0, end) for end in range(7)] + [(1, end) for end in range(5)]
    row, place = torch.tensor(places).T
    read = read_sessions(timeline, content, row, place, 2, matches)
    assert matches.texts is not None and matches.item_texts is not None
    for number, (user, end) in enumerate(zip(row.tolist(), place.tolist(), strict=True)):
        kinds = timeline.kind[user].tolist()
        searches = [event for event in range(end) if kinds[event] == SEARCH][::-1]
        assert read.present[number].tolist() == [True] * len(searches) + [False] * (2 - len(searches))
        assert not read.features[number][~read.present[number]].any()
        for place_of, search in enumerate(searches):
            query = int(timeline.query[user, search])
            feed = [event for event in range(end) if kinds[event] == FEED_CLICK]
            item = {event: int(timeline.item[user, event]) for event in range(6)}
            share = {event: float(matches.words[query, item[event]] / matches.words[query].max()) for event in feed}
            alike = {event: max(0.0, float(matches.texts[query] @ matches.item_texts[item[event]])) for event in feed}
            older, newer = [e for e in feed if e < search], [e for e in feed if e > search]
            seconds = (timeline.time[user, end - 1] - timeline.time[user, search]).item() / 1e6
            expected = [
                max((share[e] for e in older), default=0.0),
                max((share[e] for e in newer), default=0.0),
                max((alike[e] for e in older), default=0.0),
                max((alike[e] for e in newer), default=0.0),
                float(search == 1),
                math.log1p(len(newer)),
                math.log1p(seconds) / 10,
                1.0,
            ]
            assert read.features[number, place_of].tolist() == pytest.approx(expected, abs=1e-5)
            vector = matches.as_items[query] + (content[user, 2] if search == 1 else 0)
            torch.testing.assert_close(read.content[number, place_of], vector)
            assert read.query[number, place_of] == query and read.number[number, place_of] == SESSIONS[search]


def test_later_events_change_nothing_before_them(timeline: Timeline, matches: QueryMatches) -> None:
    row, place = torch.zeros(4, dtype=torch.long), torch.tensor([1, 3, 4, 6])
    before = read_sessions(timeline, content_of(timeline), row, place, 2, matches)
    kind, item = timeline.kind.clone(), timeline.item.clone()
    kind[0, 4], item[0, 4], item[0, 5] = FEED_CLICK, 4, 6
    after = read_sessions(replace(timeline, kind=kind, item=item), content_of(timeline), row, place, 2, matches)
    for name, part in vars(before).items():
        width = getattr(after, name).shape[1]  # the changed user has one session less
        assert torch.equal(part[:3, :width], getattr(after, name)[:3]), name
    assert not torch.equal(before.features[3, :1], after.features[3, :1])


@torch.no_grad()
def test_a_step_is_its_formula(timeline: Timeline, matches: QueryMatches) -> None:
    """Against one place and one session at a time, in NumPy."""
    torch.manual_seed(0)
    reasoning = SessionReasoning(WIDTH, 16, 0.1, steps=2, count=3).eval()
    for weight in reasoning.parameters():
        weight.normal_(std=0.5)
    weights = {name: weight.double().numpy() for name, weight in reasoning.named_parameters()}
    row, place = torch.tensor([0, 0, 1, 1]), torch.tensor([6, 3, 4, 1])
    sessions = read_sessions(timeline, content_of(timeline), row, place, 3, matches)
    state = torch.randn(4, WIDTH)
    step = reasoning(state, sessions, reasoning.keys(sessions), 1)

    def norm(x: Any, name: str) -> Any:
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: Any, name: str) -> Any:
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    def of_features(x: Any, name: str) -> float:
        hidden = torch.nn.functional.gelu(torch.from_numpy(linear(x, f"{name}.0"))).numpy()
        return float(linear(hidden, f"{name}.2").item())

    for one in range(4):
        x = state[one].double().numpy()
        asked = linear(norm(x, "norm") + weights["step.weight"][1], "query")
        read = np.zeros(WIDTH)
        for session in range(sessions.present.shape[1]):
            features = sessions.features[one, session].double().numpy()
            vector = sessions.content[one, session].double().numpy() * WIDTH**0.5 + linear(features, "features")
            vector = norm(vector, "norm_session")
            belief = asked[WIDTH:] @ vector / WIDTH**0.5 + of_features(features, "belief")
            logit = asked[:WIDTH] @ vector / WIDTH**0.5 + of_features(features, "relevance")
            logit += weights["age"][session] - math.log1p(math.exp(-belief))
            is_there = bool(sessions.present[one, session])
            assert step.belief[one, session].item() == pytest.approx(belief, abs=1e-4)
            assert step.weights[one, session].item() == pytest.approx(is_there * math.log1p(math.exp(logit)), abs=1e-4)
            read = read + is_there / (1 + math.exp(-logit)) * vector
        x = x + linear(read, "out")
        x = x + linear(linear(norm(x, "norm_feed_forward"), "feed_forward.0").clip(0), "feed_forward.3")
        np.testing.assert_allclose(step.state[one].numpy(), x, atol=1e-4)


@torch.no_grad()
def test_a_session_that_is_not_believed_adds_nothing(timeline: Timeline, matches: QueryMatches) -> None:
    reasoning = SessionReasoning(WIDTH, 16, 0.1, steps=1, count=3).eval()
    reasoning.belief[2].bias.fill_(-60.0)  # type: ignore[operator, union-attr]
    sessions = read_sessions(timeline, content_of(timeline), torch.tensor([0]), torch.tensor([6]), 3, matches)
    step = reasoning(torch.randn(1, WIDTH), sessions, reasoning.keys(sessions), 0)
    assert float(step.weights.max()) < 1e-6 < float(reasoning.by_age(sessions).max())


def model_split(checkerboard: Any) -> Split:
    return Split(checkerboard.data)


def new(checkerboard: Any, name: str, **settings: Any) -> Any:
    """An untrained model."""
    small = {"width": 16, "inner": 16, "layers": 1, "text": False, **settings}
    config, _ = run_training.settings_for(name, "default", small)
    return run_training.new_model(name, config, model_split(checkerboard), 0)


@torch.no_grad()
def test_the_trunk_may_read_the_feed_alone(timeline: Timeline, checkerboard: Any) -> None:
    model = new(checkerboard, "lcr-ser", trunk="feed").eval()
    content = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
    states = model.trunk_states(content, timeline)
    for user, events in ((0, [0, 3, 5]), (1, [0, 3])):
        alone = Timeline(**{name: part[user : user + 1, events] for name, part in vars(timeline).items()})
        expected = EventTrunk.forward(model.trunk, content[user : user + 1, events], alone)[0]
        for place in range(7):
            count = sum(event < place for event in events)
            torch.testing.assert_close(states[user, place], expected[count], rtol=0, atol=1e-5)


def test_scales_are_closed_at_first(checkerboard: Any) -> None:
    """Before it learns, lcr-ser is event-transformer bit for bit; once a scale is open it is not."""
    base, model = (new(checkerboard, name, text=True, tasks=["recommend"]) for name in ("event-transformer", "lcr-ser"))
    assert isinstance(base, EventTransformer) and isinstance(model, LCRSER)
    batch = Batcher(checkerboard.data, model.needs).batch(model_split(checkerboard).held_out("recommend", "test"))
    losses = []
    for one in (base, model):  # and so is what it learns from
        torch.manual_seed(0)
        losses.append(one.train().loss(TrainingExamples(model_split(checkerboard), one, batch=32, seed=0).batch(0, 0)))
    assert torch.equal(losses[0].total, losses[1].total)
    with torch.no_grad():
        assert torch.equal(base.eval().score(batch), model.eval().score(batch))
        model.is_open.fill_(True)
        for signal in range(3):  # words, texts, vectors
            model.scale.zero_()
            model.scale[0, signal] = 0.5
            assert not torch.equal(base.score(batch), model.score(batch)), signal


@torch.no_grad()
def test_scores_do_not_depend_on_the_batch(checkerboard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new(checkerboard, "lcr-ser", text=True).eval()
    model.is_open.fill_(True)
    model.scale.fill_(0.5)
    requests = model_split(checkerboard).held_out("recommend", "test")[np.arange(12)]
    batcher = Batcher(checkerboard.data, model.needs)
    whole = model.score(batcher.batch(requests))
    monkeypatch.setattr(lcr_ser, "_MATCHES", 1)  # one request at a time
    torch.testing.assert_close(model.score(batcher.batch(requests)), whole)
    listed = torch.tensor([[3, 1, 7, 0]]).expand(len(requests), -1)
    torch.testing.assert_close(
        model.score(batcher.batch(requests).with_candidates(listed)), whole.gather(1, listed), rtol=1e-4, atol=1e-5
    )
    one = model.score(batcher.batch(requests[np.array([5])]))
    torch.testing.assert_close(one[0], whole[5], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_query_is_no_session_of_its_own_request(checkerboard: Any) -> None:
    model = new(checkerboard, "lcr-ser", tasks=["recommend", "search"], text=True).eval()
    model.is_open.fill_(True)
    batch = Batcher(checkerboard.data, model.needs).batch(model_split(checkerboard).held_out("search", "test"))
    state, read = model._request_states(batch)
    ((_, start),) = model.request_starts(batch, read, state)
    before = ((read.timeline.kind == SEARCH).sum(1) - 1).clamp(max=model.config.sessions)
    assert torch.equal(start.sessions.present.sum(1), before) and int(before.max()) > 1
    scores = model.score(batch)
    model.scale[1] += 1.0
    assert not torch.allclose(scores, model.score(batch))


def test_without_searches_nothing_of_them_is_read(checkerboard: Any) -> None:
    model = new(checkerboard, "lcr-ser", searches=False)
    assert model.reasoning is None and model.needs.searches == 0 and not model.may_read_feed_alone


def test_foreign_sessions_are_of_others_and_are_never_targets(checkerboard: Any) -> None:
    model = new(checkerboard, "lcr-ser", trunk="feed")
    model.is_open.fill_(True)
    batch = TrainingExamples(model_split(checkerboard), model, batch=32, seed=0).batch(0, 0)
    torch.manual_seed(0)
    more = with_foreign_sessions(batch, 2.0)
    count = batch.search_query.shape[1]
    assert torch.equal(more.search_query[:, :count], batch.search_query)
    row, column = (more.search_query[:, count:] > 0).nonzero(as_tuple=True)
    assert len(row) > 10
    sessions = torch.cat((batch.search_query[..., None], batch.search_click), dim=2)
    foreign = torch.cat((more.search_query[..., None], more.search_click), dim=2)[:, count:]
    for at, place in zip(row.tolist(), column.tolist(), strict=True):
        others = sessions[torch.arange(len(batch)) != at].flatten(0, 1)
        assert bool((others == foreign[at, place]).all(1).any())


def test_settings_that_contradict_each_other_are_refused(checkerboard: Any) -> None:
    for given in ({"trunk": "feed"}, {"searches": False}):
        with pytest.raises(SettingsError, match="search cannot be learned"):
            new(checkerboard, "lcr-ser", tasks=["recommend", "search"], **given)
    merged, feed = (new(checkerboard, "lcr-ser", trunk=trunk) for trunk in ("merged", "feed"))
    with pytest.raises(SettingsError, match="weights are of another trunk"):
        feed.load_state(merged.state())
    anything = new(checkerboard, "lcr-ser")
    anything.load_state(feed.state())
    assert anything.reads_feed_alone


def test_what_reasoning_learns_is_compared_with_all_of_its_targets(checkerboard: Any) -> None:
    """Above `full_softmax` items, each feed click that is learned is among the items compared, with a real logQ."""
    model = new(checkerboard, "lcr-ser", full_softmax=1, sampled=4)
    model.is_open.fill_(True)
    batch = TrainingExamples(model_split(checkerboard), model, batch=32, seed=0).batch(0, 0)
    same = batch.feed_time.clone()  # a search at the time of a feed click: the next click of any kind is another one
    rows = (batch.search_query[:, 0] > 0) & (batch.feed_item[:, 1] > 0)
    times = batch.search_time.clone()
    times[rows, 0] = same[rows, 1]
    read = model.train().read_stretches(replace(batch, search_time=times))
    assert rows.any() and read.known is not None and read.log_q is not None
    feed = {(row, item) for row, line in enumerate(batch.feed_item.tolist()) for item in line}
    learned = read.targets["recommend"]
    assert set(zip(learned.row.tolist(), learned.item.tolist(), strict=True)) <= feed, (
        "clicks of searches are no targets"
    )
    places = torch.searchsorted(read.known, read.targets["recommend"].item)
    assert torch.equal(read.known[places], read.targets["recommend"].item)
    assert float(read.log_q[places].max()) < 100


def test_losses_have_their_known_answers() -> None:
    none = torch.zeros(1, 3)
    number = torch.tensor([[1, 2, 3]])
    sessions = Sessions(torch.ones(1, 3, dtype=torch.bool), none, number, none, none)
    step = Step(none, none, torch.tensor([[2.0, -1.0, 0.0]]))
    expected = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-1.0)) + math.log(2)) / 3
    assert belief_loss([step], sessions, 1).item() == pytest.approx(expected)
    assert belief_loss([step], sessions, 3).item() == 0  # no foreign session, nothing to tell apart

    base, crossed = torch.tensor([[9.0, 0.0, 3.0, 1.0]]), torch.tensor([[0.0, 2.0, 5.0, 7.0]])
    loss = target_contrast(base, crossed, torch.tensor([1]), hard=2)  # items 0 and 2 are hard
    assert loss.item() == pytest.approx(math.log(math.exp(-2.0) + 1 + math.exp(3.0)), rel=1e-5)


def test_reasoning_reads_searches_that_announce_clicks(tmp_path: Path) -> None:
    """Worlds with the same feed: with `reveal` searches announce clicks, without it they say nothing of the feed."""
    gains = {}
    settings: dict[str, Any] = {"width": 16, "inner": 16, "layers": 1, "text": False, "neighbours": False}
    settings |= {"epochs": 3, "min_steps": 0, "batch": 16, "reasoning_steps": 100}
    for reveal in (0.4, 0.0):
        folder = tmp_path / f"world{reveal}"
        simulate(folder, World(users=200, items=150, families=2, types=3, reveal=reveal, overlap=0.0, seed=1))
        run = run_training.train("lcr-ser", load(folder), tmp_path / f"run{reveal}", **settings)
        choice = run.config["phases"][-1]
        assert choice["phase"] == "trunk_choice"
        is_feed = choice["kept"]
        without = choice["full-ndcg@10.no_search"] if is_feed else run.config["phases"][0]["full-ndcg@10"]
        gains[reveal] = choice["full-ndcg@10"] / without - 1
        if reveal:
            assert is_feed and choice["reasoning_epochs"] > 0
            twin = tmp_path / "run0.4"
            final = run_training.train("lcr-ser", load(folder), tmp_path / "final", final=True, twin=twin, **settings)
            assert bool(final.model.reads_feed_alone) and bool(final.model.is_open)
            assert not torch.equal(final.model.scale, run.model.scale)  # it has learned from what was held out
    assert gains[0.4] > 0.3 and gains[0.0] < 0.15, gains
