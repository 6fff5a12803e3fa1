"""What a model can do beyond scoring. Code outside `models` calls `supports`, and never checks for a model class."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor
from typing_extensions import TypeIs

from searec.data.batch import Batch
from searec.nn.losses import Losses
from searec.search.postings import FieldWeights

if TYPE_CHECKING:  # training one model loads nothing that only other models need
    from searec.data.dataset import Dataset
    from searec.data.schema import Task
    from searec.data.split import Split
    from searec.models.base import Model
    from searec.models.code_messages import VectorSource
    from searec.models.serendipity.batch_interests import BatchInterests
    from searec.models.serendipity.retrieval import Channels, InterestPool
    from searec.text.encoder import Encoder


C = TypeVar("C")


def supports(model: object, capability: type[C]) -> TypeIs[C]:
    """Return whether a model has a capability.

    Args:
        model: the model.
        capability: a protocol of this module.
    """
    return isinstance(model, capability)


@runtime_checkable
class HasItemVectors(Protocol):
    """A model with one vector per item, from which similar items are found by cosine."""

    @property
    def item_vectors(self) -> Tensor:
        """[I + 1, D] float32; row 0 is padding."""
        ...


@runtime_checkable
class FindsSimilarItems(Protocol):
    """A model that finds the neighbours of an item by other means than a vector."""

    def similar_items(self, items: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k items most similar to each of some items.

        Args:
            items: [B] internal ids.
            k: how many for each.

        Returns:
            Ids [B, k], best first, 0 where fewer are known; scores [B, k], -inf there.
        """
        ...


@runtime_checkable
class EncodesQueries(HasItemVectors, Protocol):
    """A model whose item vectors lie among the vectors that a sentence encoder gives to queries."""

    @property
    def text_encoder(self) -> "Encoder":
        """The encoder of queries and of the texts of new items."""
        ...


@runtime_checkable
class WeighsFields(Protocol):
    """A model whose settings the lexical channel of the pipeline takes."""

    def field_weights(self) -> FieldWeights:
        """Return what terms and the fields of items count."""
        ...


@runtime_checkable
class SuggestsQueries(Protocol):
    """A model that ranks the queries a user may enter next, if it has learned to search."""

    @property
    def suggests_queries(self) -> bool:
        """Whether it has learned which query comes next."""
        ...

    def index_queries(self, counts: Mapping[str, int]) -> Any:
        """Return what `suggest` chooses from: the texts of queries, and how often each is searched."""
        ...

    def suggest(self, batch: Batch, queries: Any, k: int) -> tuple[Tensor, Tensor]:
        """Return positions [B, k] of the most probable next queries, from 1, 0 pads, and log-probabilities [B, k].

        Args:
            batch: B requests.
            queries: what `index_queries` returned.
            k: queries per user.
        """
        ...


@runtime_checkable
class UpdatesItems(Protocol):
    """A model that accepts new items and removes items without training."""

    def change_items(self, added: Any | None = None, removed: Sequence[int] = ()) -> None:
        """Add and remove items.

        Args:
            added: what `Artifact.new_items` returns for their records.
            removed: internal ids.
        """
        ...


@runtime_checkable
class ChoosesText(Protocol):
    """A model that reads texts if that makes it better."""

    @property
    def may_drop_text(self) -> bool:
        """Whether it reads texts, and its settings leave it to validation."""
        ...

    def without_text(self, data: "Dataset", seed: int) -> "Model":
        """Return a model of the same settings that reads no text, with weights of its own.

        Args:
            data: the dataset.
            seed: of the weights.
        """
        ...


@runtime_checkable
class ChoosesTrunk(Protocol):
    """A model whose trunk reads the merged timeline, or the feed alone if that makes it better."""

    @property
    def may_read_feed_alone(self) -> bool:
        """Whether the settings leave it to validation."""
        ...

    def reading_feed_alone(self, data: "Dataset", seed: int) -> "Model":
        """Return a model of the same settings whose trunk reads the feed alone, with weights of its own.

        Args:
            data: the dataset.
            seed: of the weights.
        """
        ...


@runtime_checkable
class LearnsPartLater(Protocol):
    """A model that learns a part of itself on a base, which is held, and counts it if that makes it better.

    is_open: whether the part counts.
    """

    is_open: Tensor

    @property
    def part_training(self) -> tuple[int, float]:
        """Batches in which the part is learned, 0 for none, and the learning rate."""
        ...

    def part_weights(self) -> Sequence[Tensor]:
        """Return the weights of the part; none where the model has no such part."""
        ...


@runtime_checkable
class RemembersNeighbours(Protocol):
    """A model that adds the similarities of `itemknn` to its scores, weighted after it has learned."""

    @property
    def has_neighbours(self) -> bool:
        """Whether it adds any."""
        ...

    def remember_neighbours(self, split: "Split") -> None:
        """Compute the similarities from the training events of a split."""
        ...

    def weigh_neighbours(self, weights: Mapping["Task", float]) -> None:
        """Set the weight of the similarities for each task; 0 for none."""
        ...

    def forget_neighbours(self) -> None:
        """Do without."""
        ...


@runtime_checkable
class PassesMessages(Protocol):
    """A model that reads messages between users with the same codes, weighted after it has learned."""

    @property
    def has_messages(self) -> bool:
        """Whether it reads any."""
        ...

    @property
    def vector_sources(self) -> "Sequence[VectorSource]":
        """What codes can be made from."""
        ...

    @property
    def vector_source(self) -> "VectorSource":
        """What its codes are made from."""
        ...

    @property
    def neighbour_weight(self) -> float:
        """The weight of the neighbours of items."""
        ...

    def fit_messages(self, split: "Split", source: "VectorSource", seed: int) -> bool:
        """Make codes and messages from training events; return False if too few users search enough.

        Args:
            split: that the model learns from.
            source: one of `vector_sources`.
            seed: of the codebooks.
        """
        ...

    def weigh_messages(self, weight: float, neighbour_weight: float) -> None:
        """Set how much messages count, and how much the neighbours of items do beside them.

        Args:
            weight: of messages.
            neighbour_weight: of neighbours.
        """
        ...

    def forget_messages(self) -> None:
        """Do without."""
        ...


@runtime_checkable
class ScoresNewItems(Protocol):
    """A model that scores items that came after the training by what is said of them."""

    @property
    def tells_new_items_apart(self) -> bool:
        """Whether it reads anything of an item that came after the training."""
        ...

    def describe_items(self, texts: Sequence[str], category_ids: Tensor) -> Any:
        """Return what `score_new` needs of some items.

        Args:
            texts: [n] of the items, as `Dataset.item_texts`.
            category_ids: [n, M] of the items, 0 pads.
        """
        ...

    def score_new(self, batch: Batch, items: Any) -> Tensor:
        """Return scores [B, n], comparable with those of `Model.score`.

        Args:
            batch: B requests.
            items: what `describe_items` returned.
        """
        ...


@runtime_checkable
class ColdStartUsers(Protocol):
    """A model that scores users who are not in the dataset, from what its artifact makes of their records."""

    def score_new_users(self, batch: Batch, users: Any) -> Tensor:
        """Return scores [B, I + 1] by internal item id.

        Args:
            batch: B requests.
            users: what `Artifact.new_users` returns for their records.
        """
        ...


@runtime_checkable
class RetrievesByInterest(HasItemVectors, Protocol):
    """A model with a second channel: items that match inferred interests instead of behaviour."""

    def channels(
        self,
        batch: Batch,
        k: int,
        exclude: Tensor | None = None,
        *,
        interesting: int | None = None,
        interests: "BatchInterests | None" = None,
    ) -> "Channels":
        """Return both channels' items with the interest that each item of the second channel matches.

        Args:
            batch: B requests.
            k: most items by behaviour.
            exclude: [B, E] internal ids to leave out, 0 pads.
            interesting: most items by interest; k by default.
            interests: in place of those known from training.
        """
        ...

    def pool(
        self,
        batch: Batch,
        k: int,
        exclude: Tensor | None = None,
        *,
        quota: float | None = None,
        interests: "BatchInterests | None" = None,
    ) -> "InterestPool":
        """Return k items per request, of both channels.

        Args:
            batch: B requests.
            k: items per request.
            exclude: [B, E] internal ids to leave out, 0 pads.
            quota: share of the second channel.
            interests: in place of those known from training.
        """
        ...


@runtime_checkable
class LearnsFromTeacher(Protocol):
    """A model that can learn another model's ranking of the candidates along with its own losses."""

    def loss_and_scores(self, batch: Batch) -> tuple[Losses, Tensor]:
        """Return the losses of a training batch and the scores [B, N] of its candidates."""
        ...


@runtime_checkable
class TeachesTimelines(Protocol):
    """A teacher that scores the catalogue at places of training stretches."""

    def teaching_scores(self, batch: Batch) -> Tensor:
        """Return scores [P, I] at places that follow from the batch alone."""
        ...


@runtime_checkable
class ScoresTrajectories(Protocol):
    """A model whose ranking is a policy: it scores the candidates along several noisy trajectories."""

    def draw_noise(self, batch: Batch) -> list[Tensor]:
        """Return standard normal noise [B, T, L, D] for each of the user's histories."""
        ...

    def score_trajectories(self, batch: Batch, noise: Sequence[Tensor]) -> Tensor:
        """Return scores [B, T, N] of the candidates, each of T trajectories from noisy first states.

        Args:
            batch: B requests with candidates.
            noise: [B, T, L, D] per history, standard normal.
        """
        ...


@runtime_checkable
class RanksAsPolicy(Protocol):
    """A model that a short training on lists may improve.

    Attributes:
        state_noise: deviation of the normal noise that it adds to the first states of requests.
        description_weights: prefixes of the weights that describe items and queries, which such a training leaves.
    """

    state_noise: float
    description_weights: tuple[str, ...]


@runtime_checkable
class StopsEarly(Protocol):
    """A model that reasons about each request in K steps at most, and can stop after any of them.

    Attributes:
        halting: the weights of its halting score.
        halt_above: [] a request stops where the score is above this.
    """

    halting: Any
    halt_above: Tensor

    def score_by_depth(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return scores [B, K + 1, N] after 0..K steps, and the logits of halting [B, K] before each step."""
        ...


@runtime_checkable
class ReasonsInSteps(StopsEarly, Protocol):
    """A model that refines the states of a user's histories in up to K steps."""

    def encoded(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """Return the first states [B, L, D] of each history, and where there is an event [B, L]."""
        ...

    def reasoned(
        self, states: list[Tensor], here: list[Tensor], *, alone: bool = False, halt: bool = False
    ) -> list[Any]:
        """Return the steps taken from the first states.

        Args:
            states: [B, L, D] of each history.
            here: [B, L] per history, where there is an event.
            alone: also compute the states without the cross term.
            halt: users stop by their halting score.
        """
        ...

    def distances(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the target's distances to the states after each step, with and without the cross term."""
        ...


@runtime_checkable
class EmbedsUserSides(Protocol):
    """A model with one embedding of each user as a feed reader and one as a searcher."""

    def user_embeddings(self, users: Tensor) -> Tensor:
        """Return [n, 2, D] both sides' embeddings of users [n] by internal id."""
        ...


@runtime_checkable
class WritesIdentifiers(Protocol):
    """A model that retrieves by writing item identifiers code by code."""

    @property
    def identifier_length(self) -> int:
        """Codes of an identifier."""
        ...
