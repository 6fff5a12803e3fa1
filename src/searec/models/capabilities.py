"""What a model can do beyond scoring. Code outside `models` checks for these protocols, never for a model class."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from searec.data.batch import Batch
from searec.semantic_ids.trie import Trie


@runtime_checkable
class HasItemVectors(Protocol):
    """A model with one vector per item, from which similar items are found by cosine."""

    @property
    def item_vectors(self) -> Tensor:
        """[I + 1, D] float32; row 0 is padding."""
        ...


@runtime_checkable
class FindsSimilarItems(Protocol):
    """A model that knows the neighbours of an item by other means than a vector."""

    def similar_items(self, items: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k items most similar to each of `items` [B]: ids [B, k] (0 pads) and scores [B, k], best first."""
        ...


@runtime_checkable
class SuggestsQueries(Protocol):
    """A model that ranks the queries a user may enter next."""

    def query_trie(self, queries: Sequence[str]) -> Trie:
        """Return the trie of the query texts that may be suggested."""
        ...

    def suggest(self, batch: Batch, queries: Trie, k: int) -> tuple[Tensor, Tensor]:
        """Return positions in the trie's texts from 1 [B, k] (0 pads) and log-probabilities [B, k], best first."""
        ...


@runtime_checkable
class UpdatesItems(Protocol):
    """A model that accepts new items and removes items without training."""

    def change_items(self, added: Any | None = None, removed: Sequence[int] = ()) -> None:
        """Add items (what the model's artifact makes of their records) and remove items by internal id."""
        ...


@runtime_checkable
class ColdStartUsers(Protocol):
    """A model that scores users who are not in the dataset, from what its artifact makes of their records."""

    def score_new_users(self, batch: Batch, users: Any) -> Tensor:
        """Return scores [B, I + 1] by internal item id; `users` is what the artifact's `new_users` returns."""
        ...


@runtime_checkable
class RetrievesByInterest(Protocol):
    """A model with a second channel: items that match inferred interests instead of behaviour."""

    def channels(self, batch: Batch, k: int, exclude: Tensor | None = None, **options: Any) -> Any:
        """Return both channels' items [B, k] with the interest that each item of the second channel matches."""
        ...


@runtime_checkable
class ReusesLexicalIndex(Protocol):
    """A model whose inverted index the lexical channel of the pipeline can use instead of building its own."""

    def lexical_index(self) -> Mapping[str, Any]:
        """Return the index arrays and scoring parameters, as `data.lexical.Lexicon` takes them."""
        ...
