"""The protocol every model follows: what it declares, how it learns, scores and retrieves."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from searec.data.batch import Batch, Needs
from searec.data.counts import Counts
from searec.data.dataset import Dataset, Sizes
from searec.data.leakage.checks import count_leaks
from searec.data.leakage.findings import Leaks
from searec.data.schema import Task
from searec.data.split import Split
from searec.errors import RunError
from searec.models.capabilities import HasItemVectors
from searec.models.growth import Growth, Rows
from searec.models.search_space import SearchSpace
from searec.nn.learner import Learner
from searec.nn.losses import Losses

Preset = Literal["default", "paper"]
Channel = Literal["behaviour", "interest", "lexical", "dense", "popular"]


class Model(Learner):
    """A search or recommendation model. Subclasses add `Config` and are listed in `models.BUILT_IN` or an entry point.

    A model either learns from `loss` (`learns == "loss"`, the training loop drives it) or is made in one pass by `fit`
    (`learns == "fit"`). All it has learned is in its parameters and buffers. What it can do beyond scoring it declares
    by the protocols of `models.capabilities`; nothing outside `models` looks at its class or its name.

    Attributes:
        tasks: what it can learn; `train_tasks` says what it has learned as configured.
        examples: training examples are "each" event of a user, or the "last" one (a causal model learns the rest from
            its history), or stretches of the "timeline", of as many events as `length` in its Config (it learns from
            each event).
        negatives_by: negatives are drawn uniformly from the "catalogue", or from the training "events", an item as
            often as it was clicked.
        artifact: what must be derived from the training events before it learns, by name in `searec.artifacts`; it is
            given to `load_artifacts`.
        phases: training phases after the first one, by name in `searec.training`.
        role: what the pipeline uses it for. A "retriever" finds candidates of its own, a "ranker" orders those of
            other channels.
        ranks_candidates: whether a retriever also ranks the candidates of others where there is no ranker.
        channel: the kind of pipeline channel that a retriever becomes.
        enumerates: whether `score` can be used for the whole of a large catalogue; the full protocol uses `retrieve`
            if not.
        search_space: what a study tunes. Every preset lies inside.
        single_task: task -> the settings with which it learns that task without what the other task gives it.
        single_task_note: what it then does without, in words.
        presets: settings of the model in each preset, over the defaults of its Config.
        train_presets: settings of its training in each preset, over the defaults of `TrainConfig`.
        paper_form: the name of the model that the preset "paper" trains, where that is another one: the structure
            as published, of which this one is a better form.
        rows: which of the tensors of its state have rows of users, items or the like. By these a run is opened on data
            that has grown. Names of tensors that a configuration does without may be there.
    """

    tasks: ClassVar[tuple[Task, ...]]
    learns: ClassVar[Literal["loss", "fit"]]
    examples: ClassVar[Literal["each", "last", "timeline"]] = "each"
    negatives_by: ClassVar[Literal["catalogue", "events"]] = "catalogue"
    artifact: ClassVar[str | None] = None
    phases: ClassVar[tuple[str, ...]] = ()
    role: ClassVar[Literal["retriever", "ranker"]] = "retriever"
    ranks_candidates: ClassVar[bool] = False
    channel: ClassVar[Channel] = "behaviour"
    enumerates: ClassVar[bool] = True
    search_space: ClassVar[SearchSpace] = {}
    single_task: ClassVar[Mapping[Task, Mapping[str, Any]]] = {}
    single_task_note: ClassVar[str] = ""
    presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {"default": {}, "paper": {}}
    train_presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {"default": {}, "paper": {}}
    paper_form: ClassVar[str | None] = None
    rows: ClassVar[Mapping[str, Rows]] = {}
    Config: ClassVar[type[Any]]

    def __init__(self, config: Any, sizes: Sizes) -> None:
        super().__init__()
        self.config = config
        self.sizes = sizes

    @classmethod
    def sized(cls, counts: Counts) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return settings of the preset "default" that follow from how much data there is.

        Args:
            counts: of the dataset.

        Returns:
            Settings of the model and of its training, over those of the preset.
        """
        return {}, {}

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """The histories a batch must carry for this model."""

    @property
    def train_tasks(self) -> tuple[Task, ...]:
        """The tasks whose training events this model learns from: those of its settings, if they name any."""
        tasks: tuple[Task, ...] = getattr(self.config, "tasks", self.tasks)
        return tasks

    @property
    def negatives(self) -> int:
        """Negatives drawn for each positive of a training batch."""
        return 0

    @property
    def candidate_limit(self) -> int | None:
        """The most items that `retrieve` finds well; None if it can rank the whole catalogue."""
        return None

    @abstractmethod
    def score(self, batch: Batch) -> Tensor:
        """Score the candidates of a batch, or the whole catalogue if it has none; higher is better.

        Returns:
            [B, N] by candidate, or [B, I + 1] by internal item id, where column 0 is padding and has no meaning.
        """

    def loss(self, batch: Batch) -> Losses:
        """Return the named loss parts of a training batch whose candidates [B, N] hold the target first."""
        raise TypeError(f"{self.name} learns by fit(), not by loss()")

    def read_items(self, data: Dataset) -> None:
        """Read what the items and queries say in words; called once, before a model with `loss` learns.

        Args:
            data: the dataset.
        """

    def fit(self, data: Dataset, split: Split) -> None:
        """Learn from the training events of a split in one pass.

        Args:
            data: the dataset.
            split: of that dataset.
        """
        raise TypeError(f"{self.name} learns by loss(), not by fit()")

    def click_counts(self) -> Mapping[tuple[Task, ...], Tensor]:
        """Return the clicks of each item [I + 1] that it stores, by the tasks at whose cut-off they end."""
        return {}

    def leaks(self, split: Split) -> Leaks:
        """Check what it has learned for events after the cut-off; by default, the click counts that it stores."""
        total = Leaks()
        for tasks, counts in self.click_counts().items():
            total += count_leaks(split, tasks, counts.cpu().numpy(), f"{self.name}, {' and '.join(tasks)}")
        return total

    @torch.no_grad()
    def grown_state(self, growth: Growth, described: Any = None) -> dict[str, Tensor]:
        """Return its state with the rows of data that has grown, for a model of that data's sizes.

        By default the rows of the tensors that `rows` names are gathered by name; see `growth.Rows` for new ones.

        Args:
            growth: from the data it was trained on to the data that has grown.
            described: what its artifact's `describe_new` returns of new users and items.

        Raises:
            RunError: a tensor that goes by the sizes of the data is not named in `rows`.
        """
        state = self.state()
        self._refuse_undeclared(state, growth)
        return growth.gather_all(state, self.rows)

    def _refuse_undeclared(self, state: Mapping[str, Tensor], growth: Growth) -> None:
        old, new = self.sizes, growth.data.sizes
        changed = {
            getattr(old, axis) + 1: axis
            for axis in ("users", "items", "queries", "words", "categories")
            if getattr(old, axis) != getattr(new, axis)
        }
        fresh = type(self)(self.config, new).state() if self.learns == "loss" else {}
        wrong = [
            name
            for name, tensor in state.items()
            if name not in self.rows
            and (tensor.shape != fresh[name].shape if name in fresh else changed.keys() & set(tensor.shape))
        ]
        if wrong:
            raise RunError(
                f"{self.name} does not declare how its weights follow data that has grown",
                got=", ".join(sorted(wrong)),
                expected="these tensors in `rows` of the model class",
                remedy="train the model again on the new data",
            )

    @torch.no_grad()
    def retrieve(self, batch: Batch, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the k best items of the whole catalogue per request.

        Args:
            batch: B requests.
            k: how many; at most the number of items is returned.
            exclude: [B, E] internal ids to leave out, 0 pads.

        Returns:
            Internal ids [B, k], best first, 0 where fewer than k are left; scores [B, k], -inf there.
        """
        return best_items(self.score(batch.with_candidates(None)), k, exclude)

    @torch.no_grad()
    def explain(self, items: Tensor, clicks: Tensor) -> tuple[Tensor, Tensor]:
        """Return which of a user's clicks speaks most for each item; by default, the one of the nearest item vector.

        Args:
            items: [N] internal ids.
            clicks: [H] internal ids that the user clicked, 0 pads.

        Returns:
            The click [N] for each item, 0 where none speaks for it; how much it does [N], from 0 to 1.
        """
        if not isinstance(self, HasItemVectors) or not len(clicks):
            return torch.zeros_like(items), torch.zeros(len(items), device=items.device)
        return strongest_click(cosines(self.item_vectors, items) @ cosines(self.item_vectors, clicks).T, clicks)


class ItemEmbeddings:
    """A model whose item vectors are the rows of its embedding `item`."""

    item: nn.Embedding

    @property
    def item_vectors(self) -> Tensor:
        """[I + 1, D] the item embeddings; row 0 is padding."""
        return self.item.weight.detach()


def cosines(vectors: Tensor, ids: Tensor) -> Tensor:
    """Return unit vectors [n, D] of items, zero at padding.

    Args:
        vectors: [I + 1, D] of all items.
        ids: [n] internal ids, 0 pads.
    """
    return F.normalize(vectors[ids.long()].float(), dim=1) * (ids > 0)[:, None]


def strongest_click(strength: Tensor, clicks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the click [N] of the largest strength above 0, and that strength, cut at 1; as `Model.explain` does.

    Args:
        strength: [N, H] how much each click speaks for each item.
        clicks: [H] internal ids.
    """
    best, place = strength.max(dim=1)
    return torch.where(best > 0, clicks[place], 0), best.clamp(0, 1)


def best_items(scores: Tensor, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the k best items by their scores, as `Model.retrieve` does.

    Args:
        scores: [B, I + 1] of the catalogue.
        k: items per row.
        exclude: [B, E] internal ids to leave out, 0 pads.
    """
    scores = scores.float().clone()
    if exclude is not None:
        scores.scatter_(1, exclude.long(), -torch.inf)
    scores[:, 0] = -torch.inf
    best, ids = scores.topk(min(k, scores.shape[1] - 1), dim=1)
    return torch.where(best.isneginf(), 0, ids), best


class FittedModel(Model):
    """A model that `fit` makes: a set of arrays, stored as buffers, whose sizes follow from the data."""

    learns = "fit"
    arrays: ClassVar[tuple[str, ...]]

    def __init__(self, config: Any, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        for name in self.arrays:
            self.register_buffer(name, None)

    def set_arrays(self, **arrays: Tensor) -> None:
        """Set all the arrays of the model, by name."""
        if set(arrays) != set(self.arrays):
            raise ValueError(f"{self.name} has the arrays {sorted(self.arrays)}, got {sorted(arrays)}")
        for name, array in arrays.items():
            setattr(self, name, array)

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state` returned.

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
        self.set_arrays(**state)
