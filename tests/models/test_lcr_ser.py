"""lcr-ser: a step by its formula, causality, the null event, and closed scales at first."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from searec.data.batch import Batcher
from searec.data.split import Split
from searec.experiments import run_training
from searec.models.event_transformer import EventTransformer
from searec.models.lcr_ser import LCRSER
from searec.nn.event_trunk import FEED_CLICK, SEARCH, SEARCH_CLICK, EventTrunk, Timeline
from searec.nn.foreign_sessions import with_foreign_sessions
from searec.nn.timeline_reasoning import Memory, Step, TimelineReasoning, belief_loss, target_contrast
from searec.training.examples import TrainingExamples

WIDTH = 8
KINDS = (FEED_CLICK, SEARCH, SEARCH_CLICK, FEED_CLICK, SEARCH, FEED_CLICK)
SESSIONS = (0, 1, 1, 0, 2, 0)


@pytest.fixture
def timeline() -> Timeline:
    """Two users with the same kinds of events; the second lacks the last two."""
    kind, session = torch.tensor([KINDS, KINDS]), torch.tensor([SESSIONS, SESSIONS])
    kind[1, 4:] = session[1, 4:] = 0
    time = torch.arange(1, 7).expand(2, -1) * 10_000_000
    item = torch.where((kind == FEED_CLICK) | (kind == SEARCH_CLICK), torch.arange(1, 7), 0)
    return Timeline(item, (kind == SEARCH).int(), kind, time * (kind > 0), torch.ones(2, 6), session)


@pytest.fixture
def reasoning() -> TimelineReasoning:
    torch.manual_seed(0)
    return TimelineReasoning(WIDTH, 2, 16, 0.1, steps=3).eval()


def drawn(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Content and trunk states of two users."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 6, WIDTH, generator=generator), torch.randn(2, 7, WIDTH, generator=generator)


def two_steps(
    reasoning: TimelineReasoning, content: Tensor, states: Tensor, timeline: Timeline
) -> tuple[Memory, list[Step]]:
    places = torch.arange(7).expand(2, -1)
    memory = reasoning.remember(content, states, timeline, places)
    first = torch.stack((states, states.flip(2)), dim=2)
    one = reasoning(first, memory, 0)
    return memory, [one, reasoning(one.states, memory, 1)]


@torch.no_grad()
def test_a_step_is_its_formula_at_each_place(reasoning: TimelineReasoning, timeline: Timeline) -> None:
    """Against one place, one side, one head and one event at a time, in NumPy."""
    content, states = drawn()
    _, (step, _) = two_steps(reasoning, content, states, timeline)
    weights = {name: weight.double().numpy() for name, weight in reasoning.named_parameters()}

    def norm(x: Any, name: str) -> Any:
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: Any, name: str) -> Any:
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    for row in range(2):
        for place in range(7):
            x = {
                side: norm(
                    (states if side == 0 else states.flip(2))[row, place].double().numpy()
                    + weights["side.weight"][side]
                    + weights["step.weight"][0],
                    "norm",
                )
                for side in (0, 1)
            }
            for side in (0, 1):
                query = linear(np.concatenate((x[side], x[1 - side])), "query")
                gate = query[2 * WIDTH :]
                heads, copied = [np.zeros(WIDTH), np.zeros(WIDTH)], np.zeros(WIDTH)
                shares: list[list[tuple[int, float]]] = [[], []]
                events = {}
                for event in range(place):
                    in_search = SESSIONS[event] > 0
                    if int(timeline.kind[row, event]) == 0 or in_search != (side == 0):
                        continue
                    memory = (content[row, event] * WIDTH**0.5 + states[row, event + 1]).double().numpy()
                    events[event] = norm(memory, "norm_memory")
                    logit = gate @ events[event] / math.sqrt(WIDTH) + weights["first_belief"]
                    if side == 0:
                        assert step.belief[row, place, event].item() == pytest.approx(float(logit), abs=1e-4)
                    bias = -math.log1p(math.exp(-logit)) if side == 0 else 0.0
                    for head in (0, 1):
                        part = query[WIDTH * head : WIDTH * (head + 1)]
                        shares[head].append((event, math.exp(part @ events[event] / math.sqrt(WIDTH) + bias)))
                for head in (0, 1):
                    total = 1 + sum(share for _, share in shares[head])  # the null event has logit 0
                    for event, share in shares[head]:
                        heads[head] = heads[head] + share / total * events[event]
                        copied = copied + share / total / 2 * content[row, event].double().numpy()
                np.testing.assert_allclose(step.read[row, place, side].numpy(), copied, atol=1e-4)
                state = (states if side == 0 else states.flip(2))[row, place].double().numpy()
                state = state + linear(np.concatenate(heads), "out")
                hidden = linear(norm(state, "norm_feed_forward"), "feed_forward.0").clip(0)
                state = state + linear(hidden, "feed_forward.3")
                np.testing.assert_allclose(step.states[row, place, side].numpy(), state, atol=1e-4)


@torch.no_grad()
def test_later_events_change_nothing_before_them(reasoning: TimelineReasoning, timeline: Timeline) -> None:
    content, states = drawn()
    _, before = two_steps(reasoning, content, states, timeline)
    content[:, 4], states[:, 5:] = 9.0, 9.0
    _, after = two_steps(reasoning, content, states, timeline)
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old.states[:, :5], new.states[:, :5])
        assert not torch.allclose(old.states[0, 5], new.states[0, 5])


@torch.no_grad()
def test_a_search_that_is_not_believed_is_not_read(reasoning: TimelineReasoning, timeline: Timeline) -> None:
    content, states = drawn()
    reasoning.query.weight[2 * WIDTH :] = 0
    reasoning.query.bias[2 * WIDTH :] = 0
    reasoning.first_belief.fill_(-60.0)
    _, steps = two_steps(reasoning, content, states, timeline)
    assert float(steps[-1].read[:, :, 0].abs().max()) < 1e-6
    session, kind = timeline.session.clone(), timeline.kind.clone()
    kind[session == 2], session[session == 2] = 0, 0
    _, without = two_steps(reasoning, content, states, replace(timeline, kind=kind, session=session))
    torch.testing.assert_close(steps[-1].states[:, :, 0], without[-1].states[:, :, 0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_apart_the_state_after_a_feed_click_is_that_without_searches(timeline: Timeline) -> None:
    torch.manual_seed(0)
    trunk = EventTrunk(WIDTH, 2, 2, 16, 0.1, length=10).eval()
    content, _ = drawn()
    is_feed = timeline.kind[0] == FEED_CLICK
    kept = {name: part[:1, is_feed] for name, part in vars(timeline).items()}
    alone = trunk(content[:1, is_feed], Timeline(**kept))
    apart = trunk(content[:1], first_user(timeline), apart=True)
    torch.testing.assert_close(apart[:, 1:][:, is_feed], alone[:, 1:], rtol=0, atol=1e-5)
    changed = content[:1].clone()
    changed[:, 0] = changed[:, 0].flip(-1)
    assert not torch.allclose(trunk(changed, first_user(timeline), apart=True)[:, 2], apart[:, 2])  # searches read it


def first_user(timeline: Timeline) -> Timeline:
    """The first user alone."""
    return Timeline(**{name: part[:1] for name, part in vars(timeline).items()})


def test_each_side_keeps_its_newest_events(checkerboard: Any) -> None:
    data = checkerboard.data
    model = new(checkerboard, "lcr-ser", apart=True)
    requests = model_split(checkerboard).held_out("recommend", "test")
    batch = Batcher(data, model.needs).batch(requests)
    whole = Timeline.of(batch, 1000)
    short = Timeline.of(batch, 8, each=4)
    for row in range(len(requests)):
        for is_search in (False, True):
            mine = (whole.session[row] > 0) == is_search
            mine &= whole.kind[row] > 0
            left = ((short.session[row] > 0) == is_search) & (short.kind[row] > 0)
            events = torch.stack((whole.kind, whole.item, whole.time))[:, row, mine]
            assert int(left.sum()) >= min(4, int(mine.sum()))
            assert torch.equal(
                torch.stack((short.kind, short.item, short.time))[:, row, left], events[:, -int(left.sum()) or 10**6 :]
            )
        assert int((short.kind[row] > 0).sum()) == min(8, int((whole.kind[row] > 0).sum()))


def model_split(checkerboard: Any) -> Split:
    return Split(checkerboard.data)


def new(checkerboard: Any, name: str, **settings: Any) -> Any:
    """An untrained model."""
    small = {"width": 16, "inner": 16, "layers": 1, "text": False, **settings}
    config, _ = run_training.settings_for(name, "default", small)
    return run_training.new_model(name, config, model_split(checkerboard), 0)


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
    model.is_open.fill_(True)
    with torch.no_grad():
        assert torch.equal(base.eval().score(batch), model.eval().score(batch))
        model.scale.fill_(0.5)
        assert not torch.equal(base.score(batch), model.score(batch))


def test_without_searches_nothing_of_them_is_read(checkerboard: Any) -> None:
    model = new(checkerboard, "lcr-ser", searches=False)
    assert model.reasoning is None and model.needs.searches == 0 and not model.may_encode_apart


def test_foreign_sessions_are_of_others_and_are_never_targets(checkerboard: Any) -> None:
    model = new(checkerboard, "lcr-ser", apart=True)
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
    timeline = model.timeline_of(more)
    items = set()
    for targets in model.targets_of(timeline, count).values():
        items |= set(zip(targets.row.tolist(), targets.item.tolist(), strict=True))
    clicked = {
        (at, item)
        for at in range(len(batch))
        for item in [*batch.feed_item[at].tolist(), *batch.search_click[at].flatten().tolist()]
    }
    assert items <= clicked


def test_losses_have_their_known_answers() -> None:
    allowed = torch.ones(1, 1, 2, 3, dtype=torch.bool)
    none = torch.zeros(1)
    memory = Memory(none, none, allowed)
    step = Step(none, none, none, torch.tensor([[[2.0, -1.0, 0.0]]]))
    session, learned = torch.tensor([[1, 2, 3]]), torch.tensor([[True]])
    expected = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-1.0)) + math.log(2)) / 3
    assert belief_loss([step], memory, session, 1, learned).item() == pytest.approx(expected)
    step = Step(none, none, none, torch.zeros(1, 1, 3, requires_grad=True))
    assert belief_loss([step], memory, session, 3, learned).item() == 0  # no foreign session, nothing to tell apart

    table = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    base, crossed = torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 0.0]])
    loss = target_contrast([crossed], base, table, torch.tensor([1]), hard=1, temperature=0.5)  # item 2 is hard
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2.0)), rel=1e-5)
    assert F.cosine_similarity(crossed, table[1:2]).item() == 1
