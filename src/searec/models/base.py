"""The protocol every model follows: what it is built from, how it learns, scores and retrieves."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from searec.data.batch import Batch, Needs
from searec.data.dataset import Dataset, Sizes
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import RunError
from searec.nn.learner import Learner
from searec.nn.losses import Losses

Preset = Literal["small", "paper"]


class Model(Learner):
    """A search or recommendation model. Subclasses add `Config` and are listed in `models.MODELS`.

    A model either learns from `loss` (`learns == "loss"`, the training loop drives it) or is made in
    one pass by `fit` (`learns == "fit"`). Everything it knows is in its parameters and buffers.
    """

    tasks: ClassVar[tuple[Task, ...]]
    learns: ClassVar[Literal["loss", "fit"]]
    examples: ClassVar[Literal["each", "last"]] = "each"
    """Training examples: each event of a user, or only the last one (a causal model learns the rest from its history)."""
    derived: ClassVar[Literal["nothing", "user_codes", "items", "interests"]] = "nothing"
    """What must be made from the training events before this model learns; see `searec.artifacts`."""
    role: ClassVar[Literal["retriever", "ranker"]] = "retriever"
    """What the pipeline uses it for: a retriever brings candidates of its own, a ranker orders those of other channels."""
    channel: ClassVar[Literal["behaviour", "interest", "lexical", "dense", "popular"]] = "behaviour"
    """The kind of pipeline channel that a retriever becomes; see `searec.pipeline.channels`."""
    enumerates: ClassVar[bool] = True
    """Whether `score` can be asked for the whole of a large catalogue; the full protocol goes by `retrieve` if not."""
    presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {"small": {}, "paper": {}}
    """Settings of the model in each preset, over the defaults of its Config."""
    train_presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {"small": {}, "paper": {}}
    """Settings of its training in each preset, over the defaults of `train.settings`."""
    Config: ClassVar[type[Any]]

    def __init__(self, config: Any, sizes: Sizes) -> None:
        super().__init__()
        self.config = config
        self.sizes = sizes

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """The histories a batch must carry for this model."""

    @property
    def train_tasks(self) -> tuple[Task, ...]:
        """The tasks whose training events this model learns from."""
        return self.tasks

    @property
    def negatives(self) -> int:
        """Negatives drawn for each positive of a training batch."""
        return 0

    @abstractmethod
    def score(self, batch: Batch) -> Tensor:
        """[B, N] a score for each candidate, higher is better; [B, I + 1] by inside id if there are no candidates.

        Column 0 of the latter is padding and holds no meaning.
        """

    def loss(self, batch: Batch) -> Losses:
        """The named loss parts of a training batch whose candidates [B, N] hold the target first."""
        raise TypeError(f"{self.name} learns by fit(), not by loss()")

    def fit(self, data: Dataset, split: Split) -> None:
        """Learn from the training events of `split` in one pass."""
        raise TypeError(f"{self.name} learns by loss(), not by fit()")

    def click_counts(self) -> Mapping[tuple[Task, ...], Tensor]:
        """The clicks of each item [I + 1] that it holds, by the tasks at whose cut-off they end; audited for leaks. None by default."""
        return {}

    @torch.no_grad()
    def retrieve(self, batch: Batch, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The k best items of the whole catalogue.

        Args:
            batch: B requests.
            k: how many; at most the number of items is given.
            exclude: [B, E] inside ids to leave out, 0 pads.

        Returns:
            ids [B, k] inside ids, best first, 0 where fewer than k are left; scores [B, k], -inf there.
        """
        return best_items(self.score(batch.with_candidates(None)), k, exclude)


def best_items(scores: Tensor, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k best of catalogue scores [B, I + 1], as `Model.retrieve` gives them."""
    scores = scores.float().clone()
    if exclude is not None:
        scores.scatter_(1, exclude.long(), -torch.inf)
    scores[:, 0] = -torch.inf
    best, ids = scores.topk(min(k, scores.shape[1] - 1), dim=1)
    return torch.where(best.isneginf(), 0, ids), best


class FittedModel(Model):
    """A model whose knowledge is a set of arrays made by `fit`; they are buffers, sized by the data."""

    learns = "fit"
    arrays: ClassVar[tuple[str, ...]]

    def __init__(self, config: Any, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        for name in self.arrays:
            self.register_buffer(name, None)

    def keep(self, **arrays: Tensor) -> None:
        """Set the arrays named in `arrays`."""
        if set(arrays) != set(self.arrays):
            raise ValueError(f"{self.name} keeps {sorted(self.arrays)}, got {sorted(arrays)}")
        for name, array in arrays.items():
            setattr(self, name, array)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what `state` gave.

        Raises:
            RunError: an array is missing or unknown.
        """
        if set(state) != set(self.arrays):
            raise RunError(
                "weights do not fit the model",
                where=self.name,
                got=", ".join(sorted(state)),
                expected=", ".join(sorted(self.arrays)),
            )
        self.keep(**state)
