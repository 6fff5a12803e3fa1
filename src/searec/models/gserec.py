"""gserec: the event-transformer, with messages from users who search a lot to users who hardly do, by shared codes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from searec.config import Count, Natural, settings
from searec.data.batch import Batch
from searec.data.dataset import Sizes
from searec.data.leakage.findings import Leaks
from searec.data.schema import TASKS, Task
from searec.data.split import Split
from searec.models.code_messages import (
    Assignment,
    CodeMessages,
    VectorSource,
    text_vectors,
    vectors_of_clicks,
)
from searec.models.event_transformer import EventTransformer
from searec.models.growth import Growth
from searec.nn.event_trunk import Timeline

_MESSAGES = "messages."


class GSERec(EventTransformer):
    """score = that of the event-transformer + weight x messages (`code_messages`), if validation prefers it so.

    The codes of a user follow from the events before the request, so that a new user has some at the first click.
    """

    name = "gserec"
    paper_form = "gserec-paper"
    single_task: ClassVar = {}
    single_task_note = ""
    phases: ClassVar[tuple[str, ...]] = (*EventTransformer.phases, "user_codes")

    message_weight: Tensor  # [1]

    @settings
    class Config(EventTransformer.Config):
        """As of the event-transformer, and codes.

        Attributes:
            messages: read messages; without them it is an event-transformer.
            rich_from: searches from which a user sends messages.
            levels: codes of a user; messages are of users with the same first code, the same two, and so on.
            codes: in each codebook; 0 for a number by that of the senders.
            code_vectors: of items, from which codes are made: by who clicked them, by their text, or the better one by
                validation.
            assignment: "shuffled" deals the senders' codes out among them, "one" gives all the same code: controls.
            tasks: those that it learns; messages are of the feed alone.
        """

        messages: bool = True
        rich_from: Count = 10
        levels: Annotated[int, Field(ge=1, le=3)] = 2
        codes: Natural = 0
        code_vectors: Literal["auto", "clicks", "text"] = "auto"
        assignment: Assignment = "own"
        tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = ("recommend",)

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.messages = CodeMessages(sizes.users, sizes.items, config.length, config.search_clicks)
        self.register_buffer("message_weight", torch.zeros(1))

    # --- messages ---

    @property
    def has_messages(self) -> bool:
        """Whether it reads messages."""
        return self.messages.is_fitted

    @property
    def vector_sources(self) -> Sequence[VectorSource]:
        """What codes can be made from, by its settings and its data."""
        chosen = self.config.code_vectors
        sources: tuple[VectorSource, ...] = ("clicks", "text") if chosen == "auto" else (chosen,)
        return [one for one in sources if one == "clicks" or self.items.text is not None]

    @property
    def vector_source(self) -> VectorSource:
        """What its codes are made from."""
        return "text" if bool(self.messages.of_text) else "clicks"

    @property
    def neighbour_weight(self) -> float:
        """The weight of the neighbours of items."""
        return float(self.near_weight[1 + TASKS.index("recommend")])

    def fit_messages(self, split: Split, source: VectorSource, seed: int) -> bool:
        """Make codes and messages from training events; return False if too few users search enough.

        Args:
            split: that the model learns from.
            source: one of `vector_sources`.
            seed: of the codebooks.
        """
        split, config = self.split_of_neighbours(split), self.config
        text, device = self.items.text, self.device
        vectors = (
            text_vectors(text.cpu())
            if source == "text" and text is not None
            else vectors_of_clicks(split, self.train_tasks)
        )
        is_fitted = self.messages.cpu().fit(
            split,
            self.train_tasks,
            vectors,
            source=source,
            rich_from=config.rich_from,
            levels=config.levels,
            codes=config.codes,
            assignment=config.assignment,
            seed=seed,
        )
        self.messages.to(device)
        return is_fitted

    def weigh_messages(self, weight: float, neighbour_weight: float) -> None:
        """Set how much messages count, and how much the neighbours of items do beside them.

        Args:
            weight: of messages.
            neighbour_weight: of neighbours.
        """
        self.message_weight.fill_(weight)
        self.weigh_neighbours({"recommend": neighbour_weight})

    def forget_messages(self) -> None:
        """Do without messages."""
        self.messages.clear()
        self.message_weight.zero_()

    @override
    def neighbour_scores(self, batch: Batch, timeline: Timeline) -> Tensor | None:
        """Return [B, I + 1] what the neighbours of items, and users with the same codes, add; None for nothing."""
        scores = super().neighbour_scores(batch, timeline)
        if batch.task != "recommend" or not self.has_messages or not self.message_weight:
            return scores
        messages: Tensor = self.message_weight * self.messages(batch)
        return messages if scores is None else scores + messages

    @override
    def leaks(self, split: Split) -> Leaks:
        return super().leaks(split) + self.messages.leaks(self.split_of_neighbours(split), self.train_tasks)

    # --- state ---

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        parts = {name.removeprefix(_MESSAGES): part for name, part in state.items() if name.startswith(_MESSAGES)}
        self.messages.shape_as(parts)
        super().load_state(state)
        if self.has_messages:
            self.messages.link()

    @override
    def grown_state(self, growth: Growth, described: Any = None) -> dict[str, Tensor]:
        grown = self.messages.grown(growth)
        return super().grown_state(growth, described) | {_MESSAGES + name: part for name, part in grown.items()}
