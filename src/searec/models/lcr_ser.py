"""lcr-ser: feed and searches question each other in a few latent steps on the event trunk (arXiv 2508.04152)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Natural, NonNegative, Positive, Share, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Sizes
from searec.data.schema import TASKS, Task
from searec.models.event_transformer import EventTransformer
from searec.models.timeline_read import ClickTargets, TimelineRead, click_targets
from searec.nn.event_trunk import FEED_CLICK, Timeline
from searec.nn.foreign_sessions import with_foreign_sessions
from searec.nn.losses import Losses
from searec.nn.timeline_reasoning import Memory, Thought, TimelineReasoning, first_states


class LCRSER(EventTransformer):
    """event-transformer, and K steps of cross reasoning from the newest feed state and the newest search state."""

    name = "lcr-ser"
    paper_form = "lcr-ser-paper"

    @settings
    class Config(EventTransformer.Config):
        """As event-transformer, and how it reasons."""

        steps: Natural = 3
        trunk: Literal["sides", "merged"] = "sides"
        searches: bool = True
        foreign: NonNegative = 1.0
        belief_weight: NonNegative = 0.3
        step_weight: NonNegative = 0.1
        tcl_weight: NonNegative = 0.1
        temperature: Positive = 0.1
        hard: int = 31
        found_weight: NonNegative = 0.3

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.reasoning: TimelineReasoning | None = None
        if config.steps and config.searches:
            with torch.random.fork_rng():  # the trunk's weights are those of event-transformer with the same seed
                self.reasoning = TimelineReasoning(
                    config.width, config.heads, config.inner, config.dropout, config.steps
                )
                self.closed = nn.Linear(2 * config.width, config.width, bias=False)
            nn.init.zeros_(self.closed.weight)
        self._foreign_from: int | None = None

    @property
    @override
    def needs(self) -> Needs:
        needs = super().needs
        return needs if self.config.searches else replace(needs, searches=0)

    # --- reading ---

    @override
    def timeline_of(self, batch: Batch) -> Timeline:
        return Timeline.of(batch, self.config.length, each=self.config.length // 2)

    @override
    def targets_of(self, timeline: Timeline) -> dict[Task, ClickTargets]:
        own = timeline.item if self._foreign_from is None else timeline.item * (timeline.session <= self._foreign_from)
        feed = click_targets(replace(timeline, item=own * (timeline.kind == FEED_CLICK)), ("recommend",))
        found = click_targets(replace(timeline, item=own, kind=timeline.kind * (own == timeline.item)), ("search",))
        return feed | found

    @override
    def trunk_states(self, content: Tensor, timeline: Timeline) -> Tensor:
        if self.config.trunk == "merged":
            return super().trunk_states(content, timeline)
        side = F.pad((timeline.session > 0).float(), (1, 0))
        apart = (side[:, :, None] != side[:, None]).float()
        apart[:, :, 0] = 0
        states: Tensor = self.trunk(content, timeline, apart * -1e4)
        return states

    # --- reasoning ---

    def remembered(self, read: TimelineRead, places: Tensor) -> tuple[Tensor, Tensor, Memory | None]:
        """Return the base state, the first states, and the events."""
        first = first_states(read.states, read.timeline, places)
        base = first[:, :, 0] if self.config.trunk == "sides" else read.states.gather(1, places[..., None].expand(-1, -1, read.states.shape[-1]))
        if self.reasoning is None:
            return base, first, None
        return base, first + self.reasoning.side.weight, self.reasoning.remember(read.content, read.states, read.timeline, places)

    def reasoned(self, first: Tensor, memory: Memory | None) -> list[Thought]:
        thoughts: list[Thought] = []
        if self.reasoning is None or memory is None:
            return thoughts
        states = first
        for number in range(self.config.steps):
            thoughts.append(self.reasoning(states, memory, number))
            states = thoughts[-1].states
        return thoughts

    def added(self, base: Tensor, states: Tensor) -> Tensor:
        out: Tensor = base + self.closed(states.flatten(-2))
        return out

    @override
    def _request_states(self, batch: Batch) -> tuple[Tensor, Tensor | None, Timeline]:
        read = self.read_requests(batch)
        place = read.timeline.present.sum(1, keepdim=True)
        if batch.task == "search":
            return read.states[torch.arange(len(place)), place[:, 0]], read.texts, read.timeline
        base, first, memory = self.remembered(read, place)
        thoughts = self.reasoned(first, memory)
        return (self.added(base, thoughts[-1].states) if thoughts else base)[:, 0], read.texts, read.timeline

    # --- learning ---

    @override
    def loss(self, batch: Batch) -> Losses:
        config = self.config
        self._foreign_from = batch.search_query.shape[1]
        if config.foreign and config.belief_weight and config.searches:
            batch = with_foreign_sessions(batch, config.foreign)
        read = self.read_stretches(batch)
        places = torch.arange(read.states.shape[1]).expand(len(batch), -1)
        base, first, memory = self.remembered(read, places)
        thoughts = self.reasoned(first, memory)
        states = [base, *(self.added(base, thought.states) for thought in thoughts)]
        parts: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        bias = self.bias[TASKS.index("recommend")]
        feed = read.targets.get("recommend")
        if feed is not None:
            each = [self.cross_entropy(s[feed.row, feed.place], feed.item, read, bias) for s in (states if config.step_weight else states[-1:])]
            parts["recommend"], weights["recommend"] = each[-1], 1.0
            if each[:-1]:
                parts["steps"], weights["steps"] = torch.stack(each[:-1]).mean(), config.step_weight
        found = read.targets.get("search")
        if found is not None:
            if "search" in self.train_tasks:
                only = replace(read, targets={"search": found})
                one = self.target_losses(batch, only, read.states)
                parts |= one.parts; weights |= one.weights
            else:
                parts["found"] = self.cross_entropy(read.states[found.row, found.place], found.item, read, bias)
                weights["found"] = config.found_weight
        if not parts:
            parts["recommend"], weights["recommend"] = 0.0 * states[-1].sum(), 1.0
        if thoughts and memory is not None:
            if config.belief_weight and config.foreign:
                parts["belief"] = self.belief_loss(read, memory, thoughts, self._foreign_from)
                weights["belief"] = config.belief_weight
            if config.tcl_weight and feed is not None:
                parts["tcl"] = self.tcl(read, base, thoughts)
                weights["tcl"] = config.tcl_weight
        self._foreign_from = None
        return Losses(parts, weights)

    def belief_loss(self, read: TimelineRead, memory: Memory, thoughts: Sequence[Thought], own: int) -> Tensor:
        foreign = read.timeline.session > own
        present = torch.cat((torch.ones_like(foreign[:, :1]), read.timeline.present), 1)
        counts = (memory.allowed[:, :, 0] & present[..., None] & foreign.any(1)[:, None, None]).float()
        label = (~foreign).float()[:, None].expand_as(counts)
        total = read.states.new_zeros(())
        for thought in thoughts:
            each = F.binary_cross_entropy_with_logits(thought.belief, label, reduction="none")
            total = total + (each * counts).sum() / counts.sum().clamp(min=1)
        return total / len(thoughts)

    def tcl(self, read: TimelineRead, base: Tensor, thoughts: Sequence[Thought]) -> Tensor:
        config = self.config
        t = read.targets["recommend"]
        chosen = torch.randperm(len(t.item))[:256]
        row, place, item = t.row[chosen], t.place[chosen], t.item[chosen]
        table = read.table
        target = item if read.known is None else torch.searchsorted(read.known, item)
        with torch.no_grad():
            scores = base[row, place] @ table.T
            scores.scatter_(1, target[:, None], torch.inf)
            if read.known is None:
                scores[:, 0] = -torch.inf
            listed = scores.topk(min(config.hard + 1, scores.shape[1] - 1), dim=1).indices
            items = F.normalize(table[listed], dim=-1)
        total = read.states.new_zeros(())
        for thought in thoughts:
            crossed = F.normalize(self.closed(thought.states[row, place].flatten(-2)) + base[row, place].detach(), dim=-1)
            logits = torch.einsum("pd,pnd->pn", crossed, items) / config.temperature
            total = total + F.cross_entropy(logits, torch.zeros_like(item))
        return total / len(thoughts)
