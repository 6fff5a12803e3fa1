"""lcr-ser: feed and searches question each other in a few latent steps on the event trunk (arXiv 2508.04152)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, Natural, NonNegative, Positive, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset, Sizes
from searec.data.schema import TASKS, Task
from searec.models.event_transformer import EventTransformer
from searec.models.search_space import Choice, Range
from searec.models.timeline_read import ClickTargets, TimelineRead, click_targets
from searec.nn.event_trunk import FEED_CLICK, Timeline
from searec.nn.foreign_sessions import with_foreign_sessions
from searec.nn.losses import Losses
from searec.nn.timeline_reasoning import Memory, Step, TimelineReasoning, belief_loss, target_contrast

_SIDES: Mapping[Task, int] = {"recommend": 0, "search": 1}
"""Whose state each task begins with."""


@dataclass(frozen=True)
class Start:
    """What reasoning starts from, at Q places of each timeline.

    Attributes:
        base: [B, Q, D] the states that scores are made of without reasoning.
        states: [B, Q, 2, D] the first state of each side.
        memory: the events that are read; None where there is no reasoning.
    """

    base: Tensor
    states: Tensor
    memory: Memory | None


class LCRSER(EventTransformer):
    """event-transformer with K steps of cross reasoning, and with feed and searches encoded apart where that is better.

    Apart, the state after a feed click is as if there were no searches, and reasoning is the one way to them.
    """

    is_apart: Tensor  # [] whether feed and searches are encoded apart
    reads_searches: Tensor  # []
    is_open: Tensor  # [] whether reasoning adds to the scores

    name = "lcr-ser"
    paper_form = "lcr-ser-paper"
    phases: ClassVar[tuple[str, ...]] = (
        "side_choice",
        "search_choice",
        "text_choice",
        "reasoning",
        "second_phase",
        "neighbours",
    )
    search_space: ClassVar = {
        **EventTransformer.search_space,
        "steps": Choice((0, 1, 2, 3, 4)),
        "tcl_weight": Range(0.01, 1.0, log=True),
    }
    single_task: ClassVar = {
        "recommend": {"tasks": ["recommend"], "searches": False},
        "search": {"tasks": ["search"]},
    }
    single_task_note = "no search is read for the feed; search is learned alone, feed clicks are read all the same"

    @settings
    class Config(EventTransformer.Config):
        """As event-transformer, and how it reasons.

        Attributes:
            steps: K; 0 is the model without reasoning.
            apart: encode feed and searches apart; "auto" if that is better on validation.
            searches: read searches, without which nothing is reasoned; "auto" if that is better on validation.
            places: of a stretch that reasoning is learned at.
            foreign: sessions of other users put into half of the training stretches, for each own session.
            belief_weight: of the loss that tells them from own ones; 0 puts none in.
            step_weight: of the cross-entropy after each step but the last.
            tcl_weight: of the contrast of what reasoning adds, between the target and hard items.
            temperature, hard: of the contrast; hard items of each target.
            tasks: those that it learns; the feed alone by default.
        """

        steps: Natural = 3
        apart: bool | Literal["auto"] = "auto"
        searches: bool | Literal["auto"] = "auto"
        places: Count = 16
        foreign: NonNegative = 0.5
        belief_weight: NonNegative = 0.1
        step_weight: NonNegative = 0.1
        tcl_weight: NonNegative = 0.1
        temperature: Positive = 0.1
        hard: Count = 31
        tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = ("recommend",)

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.reasoning: TimelineReasoning | None = None
        self.register_buffer("is_apart", torch.tensor(bool(config.searches) and config.apart is True))
        self.register_buffer("reads_searches", torch.tensor(bool(config.searches)))
        self.register_buffer("is_open", self.is_apart.clone())
        if config.steps and config.searches:
            with torch.random.fork_rng():  # the trunk's weights are those of event-transformer with this seed
                self.reasoning = TimelineReasoning(
                    config.width, config.heads, config.inner, config.dropout, config.steps
                )
                self.opened = nn.ModuleDict({task: _closed(2 * config.width, config.width) for task in TASKS})
            self.scale = nn.Parameter(torch.zeros(len(TASKS), 2))

    @property
    @override
    def needs(self) -> Needs:
        needs = super().needs
        return needs if self.reads_searches else replace(needs, searches=0)

    @property
    def reasons(self) -> bool:
        """Whether steps are taken: where feed and searches are merged, once the base has been learned."""
        return self.reasoning is not None and bool(self.reads_searches) and bool(self.is_open)

    @property
    def may_encode_apart(self) -> bool:
        """Whether it reads searches, and its settings leave it to validation how."""
        return bool(self.reads_searches) and self.config.apart == "auto" and not self.is_apart

    def reasoning_weights(self) -> list[nn.Parameter]:
        """Return the weights that reasoning adds to the base."""
        if self.reasoning is None:
            return []
        return [*self.reasoning.parameters(), *self.opened.parameters(), self.scale]

    def encoded_apart(self, data: Dataset, seed: int) -> "LCRSER":
        """Return a model of the same settings that encodes feed and searches apart, with weights of its own.

        Args:
            data: the dataset.
            seed: of the weights.
        """
        return self._other(self.config, data, seed, apart=True, searches=True)

    @property
    def may_drop_searches(self) -> bool:
        """Whether it reads searches, and its settings leave it to validation."""
        return self.config.searches == "auto" and bool(self.reads_searches) and "search" not in self.train_tasks

    def without_searches(self, data: Dataset, seed: int) -> "LCRSER":
        """Return a model of the same settings that reads no searches, with weights of its own.

        Args:
            data: the dataset.
            seed: of the weights.
        """
        return self._other(self.config, data, seed, apart=False, searches=False)

    @override
    def without_text(self, data: Dataset, seed: int) -> "LCRSER":
        config = replace(self.config, text=False)
        return self._other(config, data, seed, apart=bool(self.is_apart), searches=bool(self.reads_searches))

    def _other(self, config: Config, data: Dataset, seed: int, *, apart: bool, searches: bool) -> "LCRSER":
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            other = type(self)(config, self.sizes)
            other.read_items(data)
        other.is_apart.fill_(apart)
        other.is_open.fill_(apart)
        other.reads_searches.fill_(searches)
        return other

    # --- reading ---

    @override
    def timeline_of(self, batch: Batch) -> Timeline:
        length = self.config.length
        return Timeline.of(batch, length, each=length // 2 if self.is_apart else 0)

    @override
    def targets_of(self, timeline: Timeline, own_sessions: int | None = None) -> dict[Task, ClickTargets]:
        item, kind = timeline.item, timeline.kind
        if own_sessions is not None:
            item = item * (timeline.session <= own_sessions)
            kind = kind * ((item > 0) | (timeline.item == 0))
        if not self.is_apart:
            return click_targets(replace(timeline, item=item, kind=kind), self.train_tasks)
        feed = click_targets(replace(timeline, item=item * (kind == FEED_CLICK)), ("recommend",))
        return feed | click_targets(replace(timeline, item=item, kind=kind), ("search",))

    @override
    def trunk_states(self, content: Tensor, timeline: Timeline) -> Tensor:
        states: Tensor = self.trunk(content, timeline, apart=bool(self.is_apart))
        return states

    # --- reasoning ---

    def sides(self, read: TimelineRead, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return the trunk's states [B, Q, D] after the newest feed event, and after the newest one of a search.

        Args:
            read: the timelines.
            places: [B, Q]; place e is after e events.
        """
        after = torch.arange(1, read.states.shape[1], device=places.device)
        feed, searches = (
            _gather(read.states, F.pad((after * is_there).cummax(1).values, (1, 0)).gather(1, places))
            for is_there in (read.timeline.kind == FEED_CLICK, read.timeline.session > 0)
        )
        return feed, searches

    def start(self, read: TimelineRead, places: Tensor, task: Task) -> Start:
        """Return what reasoning starts from.

        Args:
            read: the timelines.
            places: [B, Q]; place e is after e events.
            task: whose scores are made of it.
        """
        sides = self.sides(read, places)
        base = sides[_SIDES[task]] if self.is_apart else _gather(read.states, places)
        memory = None
        if self.reasoning is not None and self.reasons:
            memory = self.reasoning.remember(read.content, read.states, read.timeline, places)
        return Start(base, torch.stack(sides, dim=2), memory)

    def reasoned(self, start: Start) -> list[Step]:
        """Return the K steps taken from a start; none without reasoning.

        Args:
            start: what `start` returned; other first states may be put in its place.
        """
        steps: list[Step] = []
        if self.reasoning is not None and start.memory is not None:
            for number in range(self.config.steps):
                states = steps[-1].states if steps else start.states
                steps.append(self.reasoning(states, start.memory, number))
        return steps

    def state_after(self, start: Start, step: Step | None, task: Task) -> Tensor:
        """Return the states [B, Q, D] that scores are made of after a step; after none, the base.

        Args:
            start: what the steps started from.
            step: the last one taken.
            task: whose scores are made of it.
        """
        return start.base if step is None else start.base + self.added(step, task)

    def added(self, step: Step, task: Task) -> Tensor:
        """Return what a step adds to the states [B, Q, D]: a map of both sides' states, and what they have read.

        Args:
            step: taken.
            task: whose scores are made of it.
        """
        scale = self.scale[TASKS.index(task)] * step.read.shape[-1] ** 0.5
        added: Tensor = self.opened[task](step.states.flatten(-2)) + (scale[:, None] * step.read).sum(2)
        return added

    def request_start(self, batch: Batch) -> tuple[Start, TimelineRead]:
        """Return what reasoning starts from at each request, Q = 1, and the timelines.

        Args:
            batch: B requests.
        """
        read = self.read_requests(batch)
        return self.start(read, read.timeline.present.sum(1, keepdim=True), batch.task), read

    @override
    def _request_states(self, batch: Batch) -> tuple[Tensor, Tensor | None, Timeline]:
        start, read = self.request_start(batch)
        steps = self.reasoned(start)
        state = self.state_after(start, steps[-1] if steps else None, batch.task)
        return state[:, 0], read.texts, read.timeline

    # --- learning ---

    @override
    def loss(self, batch: Batch) -> Losses:
        """Return the losses without reasoning at all places, and those of reasoning at some of them.

        Merged, there is one or the other: reasoning is learned on the base as it is.
        """
        config, own_sessions = self.config, batch.search_query.shape[1]
        if self.reasons and config.foreign and config.belief_weight:
            batch = with_foreign_sessions(batch, config.foreign)
        read = self.read_stretches(batch)
        if own_sessions < batch.search_query.shape[1]:
            read = replace(read, targets=self.targets_of(read.timeline, own_sessions))
        parts: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        losses = [] if self.reasons and not self.is_apart else self._base_losses(batch, read)
        for one in losses:
            parts |= one.parts
            weights |= one.weights
        for task, only in _by_task(read) if self.reasons else ():
            if task in self.train_tasks:
                for name, (part, weight) in self._reasoning_losses(task, batch, only, own_sessions).items():
                    parts[name], weights[name] = part, weight
        if not parts:
            nothing = read.states.sum() + (self.scale.sum() if self.reasons else 0.0)
            parts, weights = {"recommend": 0.0 * nothing}, {"recommend": 1.0}
        return Losses(parts, weights)

    def _base_losses(self, batch: Batch, read: TimelineRead) -> list[Losses]:
        """The losses without reasoning; apart, the feed alone predicts the feed's clicks."""
        if not self.is_apart:
            return [self.target_losses(batch, read, read.states)]
        losses = []
        for task, one in _by_task(read):
            if task == "recommend":
                losses.append(self.target_losses(batch, one, self.sides(read, _all_places(read.states))[0]))
            elif task in self.train_tasks:
                losses.append(self.target_losses(batch, one, read.states))
            else:  # search clicks still say which items are alike
                targets = one.targets["search"]
                state, bias = read.states[targets.row, targets.place], self.bias[TASKS.index("search")]
                clicks = self.cross_entropy(state, targets.item, one, bias)
                losses.append(Losses({"search_clicks": clicks}, {"search_clicks": self.config.search_weight}))
        return losses

    def _reasoning_losses(
        self, task: Task, batch: Batch, read: TimelineRead, own_sessions: int
    ) -> dict[str, tuple[Tensor, float]]:
        """The losses of a task after each step at some of its targets, and their weights."""
        config = self.config
        places, row, column, item = _some_places(read.targets[task], read.states, config.places)
        start = self.start(read, places, task)
        steps = self.reasoned(start)
        place = places[row, column]
        only = replace(read, targets={task: ClickTargets(row, place, item)})
        losses: dict[str, tuple[Tensor, float]] = {}
        for number, step in enumerate(steps, start=1):
            is_last = number == len(steps)
            weight = (1.0 if is_last else config.step_weight) * (config.search_weight if task == "search" else 1.0)
            if weight:
                states = read.states.index_put((row, place), self.state_after(start, step, task)[row, column])
                losses[f"{task}.after_{number}"] = (self.target_losses(batch, only, states).parts[task], weight)
        if task == "recommend" and config.tcl_weight:
            base = start.base[row, column].detach()
            crossed = [
                self.state_after(start, step, task)[row, column] - start.base[row, column] + base for step in steps
            ]
            target = item if read.known is None else torch.searchsorted(read.known, item)
            contrast = target_contrast(crossed, base, read.table, target, config.hard, config.temperature)
            losses["tcl"] = (contrast, config.tcl_weight)
        if own_sessions < batch.search_query.shape[1] and start.memory is not None:
            is_learned = torch.zeros_like(places, dtype=torch.bool).index_put((row, column), torch.tensor(True))
            belief = belief_loss(steps, start.memory, read.timeline.session, own_sessions, is_learned)
            losses[f"belief.{task}"] = (belief, config.belief_weight)
        return losses


def _closed(inputs: int, outputs: int) -> nn.Linear:
    """A map that gives zeros until it has learned."""
    closed = nn.Linear(inputs, outputs, bias=False)
    nn.init.zeros_(closed.weight)
    return closed


def _gather(states: Tensor, places: Tensor) -> Tensor:
    """[B, Q, D] of states [B, E + 1, D] at places [B, Q]."""
    return states.gather(1, places[..., None].expand(-1, -1, states.shape[-1]))


def _all_places(states: Tensor) -> Tensor:
    """[B, E + 1] the places of all states."""
    return torch.arange(states.shape[1], device=states.device).expand(len(states), -1)


def _by_task(read: TimelineRead) -> list[tuple[Task, TimelineRead]]:
    """What was read, once for each task, with the targets of that task alone."""
    return [(task, replace(read, targets={task: targets})) for task, targets in read.targets.items()]


def _some_places(targets: ClickTargets, states: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Places [B, Q] drawn of the targets of each row, `count` at most; and row, column and item of those drawn."""
    item = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
    item[targets.row, targets.place] = targets.item
    chance = torch.rand(item.shape, device=item.device) * (item > 0)
    places = chance.topk(min(count, item.shape[1]), dim=1).indices
    item = item.gather(1, places)
    row, column = torch.nonzero(item > 0, as_tuple=True)
    return places, row, column, item[row, column]
