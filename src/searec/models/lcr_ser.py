"""lcr-ser: the feed's state weighs the search sessions in a few latent steps (arXiv 2508.04152)."""

import math
from collections.abc import Iterator, Mapping
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
from searec.errors import SettingsError
from searec.models.event_transformer import EventTransformer
from searec.models.search_space import Choice, Range
from searec.models.timeline_read import ClickTargets, TimelineRead, click_targets, cross_entropy
from searec.nn.event_trunk import FEED_CLICK, SEARCH, Timeline
from searec.nn.foreign_sessions import with_foreign_sessions
from searec.nn.item_vectors import NewItems
from searec.nn.losses import Losses
from searec.nn.session_reasoning import SessionReasoning, Step, belief_loss, target_contrast
from searec.nn.sessions import QueryMatches, Sessions, read_sessions

_MATCHES = 1 << 24
"""Matches of queries with items held at once, where requests are scored."""
_FIRST_SCALE = (0.3, 0.5, 0.0)
"""Of what a session adds to the scores of items before it learns: match of words, of texts, of learned vectors."""


@dataclass(frozen=True)
class Start:
    """What reasoning starts from, at P places.

    Attributes:
        state: [P, D] of the trunk.
        sessions: before each place.
        matches: of their queries.
    """

    state: Tensor
    sessions: Sessions
    matches: QueryMatches

    def at(self, rows: Tensor) -> "Start":
        """Return some places.

        Args:
            rows: [n] of them.
        """
        return replace(self, state=self.state[rows], sessions=self.sessions.at(rows))


class LCRSER(EventTransformer):
    """event-transformer whose scores add what the user's search sessions say, each by a weight that reasoning sets.

    The trunk reads the merged timeline, or the feed alone; then reasoning is the one way from searches to the feed.
    """

    reads_feed_alone: Tensor  # [] whether the trunk reads the feed alone
    is_open: Tensor  # [] whether sessions add to the scores

    name = "lcr-ser"
    paper_form = "lcr-ser-paper"
    phases: ClassVar[tuple[str, ...]] = ("text_choice", "reasoning", "trunk_choice", "second_phase", "neighbours")
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
            steps: K; with 0, sessions weigh by how many are newer.
            trunk: what the trunk reads: "merged", "feed", or with "auto" what is better on validation.
            searches: read searches; False is the control without, whose trunk reads the feed alone.
            sessions: newest ones read, R.
            places: targets of a stretch at which reasoning is learned, on average.
            reasoning_steps, reasoning_lr: batches that reasoning is learned in (0: it is not), and their learning rate.
            foreign: sessions of other users put into half of the training stretches, for each own session.
            belief_weight: of the loss that tells them from own ones; 0 puts none in.
            step_weight: of the cross-entropy after each step but the last.
            tcl_weight: of the contrast of the target with hard items.
            hard: items of that contrast.
            tasks: those that it learns; the feed alone by default.
        """

        steps: Natural = 3
        trunk: Literal["auto", "merged", "feed"] = "auto"
        searches: bool = True
        sessions: Count = 10
        places: Count = 8
        reasoning_steps: Natural = 600
        reasoning_lr: Positive = 3e-3
        foreign: NonNegative = 0.0
        belief_weight: NonNegative = 0.1
        step_weight: NonNegative = 0.1
        tcl_weight: NonNegative = 1.0
        hard: Count = 31
        tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = ("recommend",)

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        alone = config.trunk == "feed" or not config.searches
        if alone and "search" in config.tasks:
            raise SettingsError(
                "search cannot be learned without reading searches in the trunk",
                got=f"tasks {', '.join(config.tasks)}, trunk {config.trunk}, searches {config.searches}",
                expected="tasks recommend alone, or trunk merged",
            )
        self.register_buffer("reads_feed_alone", torch.tensor(alone))
        self.register_buffer("is_open", torch.tensor(False))
        self.reasoning: SessionReasoning | None = None
        if config.searches:
            with torch.random.fork_rng():  # the trunk's weights are those of event-transformer with this seed
                self.reasoning = SessionReasoning(
                    config.width, config.inner, config.dropout, config.steps, config.sessions
                )
        self.scale = nn.Parameter(torch.tensor(_FIRST_SCALE).repeat(len(TASKS), 1), requires_grad=config.searches)

    @property
    @override
    def needs(self) -> Needs:
        needs = super().needs
        return replace(needs, searches=0) if self.reads_feed_alone and not self.reasons else needs

    @override
    def read_items(self, data: Dataset) -> None:
        super().read_items(data)
        if self.reasoning is not None and self.match.offsets is None:
            self.match.index_words(data)

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        given = "feed" if not self.config.searches else self.config.trunk
        loaded = "feed" if state.get("reads_feed_alone") else "merged"
        if given not in ("auto", loaded):
            raise SettingsError(
                "the weights are of another trunk", got=f"trunk={given}", expected=f"trunk={loaded} or auto"
            )
        super().load_state(state)

    # --- forms ---

    @property
    def reasons(self) -> bool:
        """Whether sessions add to the scores: once the base has been learned."""
        return self.reasoning is not None and bool(self.is_open)

    @property
    def part_training(self) -> tuple[int, float]:
        """Batches in which reasoning is learned, and the learning rate."""
        return self.config.reasoning_steps, self.config.reasoning_lr

    def part_weights(self) -> list[nn.Parameter]:
        """Return the weights that reasoning adds to the base."""
        return [] if self.reasoning is None else [*self.reasoning.parameters(), self.scale]

    @property
    def may_read_feed_alone(self) -> bool:
        """Whether the settings leave it to validation what the trunk reads."""
        config = self.config
        learns = config.searches and config.reasoning_steps > 0
        can: bool = config.trunk == "auto" and learns and config.tasks == ("recommend",)
        return can

    def reading_feed_alone(self, data: Dataset, seed: int) -> "LCRSER":
        """Return a model of the same settings whose trunk reads the feed alone, with weights of its own.

        Args:
            data: the dataset.
            seed: of the weights.
        """
        config = replace(self.config, text=self.config.text if self.query is not None else False)
        other = self._other(config, data, seed)
        other.reads_feed_alone.fill_(True)
        return other

    @override
    def without_text(self, data: Dataset, seed: int) -> "LCRSER":
        return self._other(replace(self.config, text=False), data, seed)

    def _other(self, config: Config, data: Dataset, seed: int) -> "LCRSER":
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            other = type(self)(config, self.sizes)
            other.read_items(data)
        return other

    # --- reading ---

    @override
    def timeline_of(self, batch: Batch) -> Timeline:
        if not self.reads_feed_alone:
            return super().timeline_of(batch)
        sessions, clicks = batch.search_click.shape[1:]
        return Timeline.of(batch, batch.feed_item.shape[1] + sessions * (1 + clicks))

    @override
    def targets_of(self, timeline: Timeline) -> dict[Task, ClickTargets]:
        if not self.reads_feed_alone and not self.reasons:
            return super().targets_of(timeline)
        clicks = click_targets(replace(timeline, item=timeline.item * (timeline.kind == FEED_CLICK)), ("recommend",))
        clicks |= click_targets(timeline, ("search",))
        return {task: one for task, one in clicks.items() if task in self.train_tasks}

    @override
    def trunk_states(self, content: Tensor, timeline: Timeline) -> Tensor:
        if not self.reads_feed_alone:
            return super().trunk_states(content, timeline)
        is_feed = timeline.kind == FEED_CLICK
        length = max(1, int(is_feed.sum(1).max()))
        order = is_feed.int().argsort(dim=1, descending=True, stable=True)[:, :length]
        there = is_feed.gather(1, order)
        feed = Timeline(**{name: part.gather(1, order) * there for name, part in vars(timeline).items()})
        states = super().trunk_states(_gather(content, order) * there[..., None], feed)
        return _gather(states, F.pad(is_feed.cumsum(1), (1, 0)))

    # --- reasoning ---

    def start(self, read: TimelineRead, batch: Batch, row: Tensor, place: Tensor, state: Tensor) -> Start:
        """Return what reasoning starts from.

        Args:
            read: the timelines.
            batch: that they are of.
            row: [P] of the user.
            place: [P] events before each place.
            state: [P, D] at each place.
        """
        timeline = read.timeline
        queries = timeline.query.long() * (timeline.kind == SEARCH)
        distinct, which = torch.unique(torch.cat((queries.new_zeros(1), queries.flatten())), return_inverse=True)
        timeline = replace(timeline, query=which[1:].view_as(queries))
        texts = None if read.texts is None else read.texts[distinct]
        words = self.match.lexical(batch.words[distinct])
        as_items = state.new_zeros(len(distinct), state.shape[1])
        if texts is not None and self.items.map is not None:
            as_items = self.items.map(self.items.standardised(texts)) * (distinct > 0)[:, None]
        matches = QueryMatches(words, texts, self.items.text, as_items)
        sessions = read_sessions(timeline, read.content, row, place, self.config.sessions, matches)
        return Start(state, sessions, matches)

    def reasoned(self, start: Start) -> list[Step]:
        """Return the K steps taken from a start.

        Args:
            start: what `start` returned.
        """
        assert self.reasoning is not None
        steps: list[Step] = []
        if self.config.steps:
            keys = self.reasoning.keys(start.sessions)
            for number in range(self.config.steps):
                state = steps[-1].state if steps else start.state
                steps.append(self.reasoning(state, start.sessions, keys, number))
        return steps

    def added(self, start: Start, weights: Tensor, task: Task, table: Tensor, items: Tensor | None = None) -> Tensor:
        """Return what sessions add to the scores of items, [P, I + 1], [P, M] or [P, N].

        Args:
            start: what the weights are of.
            weights: [P, R] of the sessions.
            task: whose scores they are.
            table: [I + 1, D] item vectors; [M, D] of shared items.
            items: [M] internal ids for all places, or [P, N] for each; None for all items.
        """
        words, texts, vectors = self.scale[TASKS.index(task)]
        sessions, matches = start.sessions, start.matches
        content, has_text = (weights[:, None] @ sessions.content).squeeze(1), matches.texts is not None
        scores: Tensor
        if items is not None and items.dim() == 2:
            scores = words * (weights[:, None] @ matches.words[sessions.query[..., None], items[:, None]]).squeeze(1)
            scores = scores + vectors * torch.einsum("pd,pnd->pn", content, table[items])
            if has_text and matches.item_texts is not None:
                item_texts = matches.item_texts[items].float()
                scores = scores + texts * torch.einsum("pw,pnw->pn", self._texts_read(start, weights), item_texts)
            return scores
        known = matches.words if items is None else matches.words[:, items]
        scores = words * F.embedding_bag(sessions.query, known, per_sample_weights=weights, mode="sum")
        scores = scores + vectors * (content @ table.T)
        if has_text and matches.item_texts is not None:
            item_texts = matches.item_texts if items is None else matches.item_texts[items]
            scores = scores + texts * (self._texts_read(start, weights) @ item_texts.float().T)
        return scores

    @staticmethod
    def _texts_read(start: Start, weights: Tensor) -> Tensor:
        """[P, E] the sum of the text vectors of queries by the weights of their sessions."""
        assert start.matches.texts is not None
        read: Tensor = F.embedding_bag(
            start.sessions.query, start.matches.texts, per_sample_weights=weights, mode="sum"
        )
        return read

    def final_weights(self, start: Start, task: Task) -> Tensor:
        """Return the weights [P, R] of sessions after all steps.

        Args:
            start: what `start` returned.
            task: whose scores are made of them.
        """
        assert self.reasoning is not None
        steps = self.reasoned(start)
        return steps[-1].weights if steps else self.reasoning.by_age(start.sessions)

    def request_starts(self, batch: Batch, read: TimelineRead, state: Tensor) -> Iterator[tuple[Tensor, Start]]:
        """Yield some of the requests at a time, their rows [n] and what reasoning starts from.

        Args:
            batch: B requests.
            read: their timelines.
            state: [B, D] at each request.
        """
        timeline = read.timeline
        place = timeline.present.sum(1) - int(batch.task == "search")  # before the query itself
        columns = max(1, int((timeline.kind == SEARCH).sum(1).max()))
        size = max(1, _MATCHES // ((self.sizes.items + 1) * columns))
        for rows in torch.split(torch.arange(len(place), device=place.device), size):
            part_of = Timeline(**{name: part[rows] for name, part in vars(timeline).items()})
            only = replace(read, timeline=part_of, content=read.content[rows])
            each = torch.arange(len(rows), device=rows.device)
            yield rows, self.start(only, batch, each, place[rows], state[rows])

    @override
    def added_scores(self, batch: Batch, read: TimelineRead, state: Tensor) -> Tensor | None:
        if not self.reasons:
            return None
        table, parts = self.table(), []
        for rows, start in self.request_starts(batch, read, state):
            items = None if batch.candidates is None else batch.candidates[rows].long()
            parts.append(self.added(start, self.final_weights(start, batch.task), batch.task, table, items))
        return torch.cat(parts)

    @override
    @torch.no_grad()
    def score_new(self, batch: Batch, items: NewItems) -> Tensor:
        scores = super().score_new(batch, items)
        if not self.reasons:
            return scores
        state, read = self._request_states(batch)
        _, texts, vectors = self.scale[TASKS.index(batch.task)]
        more = []
        for _, start in self.request_starts(batch, read, state):
            weights = self.final_weights(start, batch.task)
            one = vectors * ((weights[:, None] @ start.sessions.content).squeeze(1) @ items.vectors.T)
            if start.matches.texts is not None and items.text is not None:
                one = one + texts * (self._texts_read(start, weights) @ items.text.T)
            more.append(one)
        return scores + torch.cat(more)

    # --- learning ---

    @override
    def loss(self, batch: Batch) -> Losses:
        """Return the losses of the base; once sessions count, those of reasoning, which is learned on the base."""
        if not self.reasons:
            return super().loss(batch)
        config, own_sessions = self.config, batch.search_query.shape[1]
        if config.foreign and config.belief_weight:
            batch = with_foreign_sessions(batch, config.foreign)
        read = self.read_stretches(batch)
        targets = dict(read.targets)
        if "search" in targets:
            clicks = targets["search"]
            counts = read.timeline.session[clicks.row, clicks.place - 1] <= own_sessions
            targets["search"] = ClickTargets(clicks.row[counts], clicks.place[counts], clicks.item[counts])
        parts: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for task, target in targets.items():
            if len(target.item):
                for name, (part, weight) in self._reasoning_losses(task, target, batch, read, own_sessions).items():
                    parts[name], weights[name] = part, weight
        if not parts:
            parts, weights = {"recommend": 0.0 * self.scale.sum()}, {"recommend": 1.0}
        return Losses(parts, weights)

    def _reasoning_losses(
        self, task: Task, targets: ClickTargets, batch: Batch, read: TimelineRead, own_sessions: int
    ) -> dict[str, tuple[Tensor, float]]:
        """The losses of a task after each step at some of its targets, and their weights."""
        config, match = self.config, None
        chosen = torch.randperm(len(targets.item), device=targets.item.device)[: config.places * len(batch)]
        row, place, item = targets.row[chosen], targets.place[chosen], targets.item[chosen]
        if task == "search":
            queries, which = torch.unique(read.timeline.query[row, place - 1], return_inverse=True)
            match = self._matches(batch, queries, read.texts, read.known)[which]
        state = read.states[row, place]
        start = self.start(read, batch, row, place - int(task == "search"), state)
        steps = self.reasoned(start)
        assert self.reasoning is not None
        depths = [step.weights for step in steps] or [self.reasoning.by_age(start.sessions)]
        bias = self.bias[TASKS.index(task)]
        losses: dict[str, tuple[Tensor, float]] = {}
        for number, weights in enumerate(depths, start=1):
            is_last = number == len(depths)
            weight = (1.0 if is_last else config.step_weight) * (config.search_weight if task == "search" else 1.0)
            if weight:
                more = self.added(start, weights, task, read.table, read.known)
                both = more if match is None else more + match
                losses[f"{task}.after_{number}"] = (cross_entropy(state, item, read, bias, both), weight)
        if config.tcl_weight and steps:
            known = bias if read.known is None else bias[read.known]
            base = state @ read.table.T + known + (0.0 if match is None else match)
            base[:, 0] = -math.inf if read.known is None else base[:, 0]  # padding, or an item among many
            target = item if read.known is None else torch.searchsorted(read.known, item)
            losses[f"tcl.{task}"] = (target_contrast(base, base + more, target, config.hard), config.tcl_weight)
        if steps and own_sessions < batch.search_query.shape[1]:
            losses[f"belief.{task}"] = (belief_loss(steps, start.sessions, own_sessions), config.belief_weight)
        return losses


def _gather(values: Tensor, places: Tensor) -> Tensor:
    """[B, Q, D] of values [B, E, D] at places [B, Q]."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[-1]))
