"""Which token of a generative model is what: text, behaviours, users, and the codes of identifiers."""

from dataclasses import dataclass

from searec.data.schema import Task
from searec.models.gensar.prompt_builder import BEHAVIOURS, FEED_ITEM, FOUND_ITEM, QUERY
from searec.semantic_ids.identifiers import Identifiers
from searec.semantic_ids.user_code_table import SIDES


@dataclass(frozen=True)
class TokenLayout:
    """The order of the tokens: text, behaviours, users, codes.

    Attributes:
        text: tokens of text.
        first: the first behaviour token.
        blocks: [2][K] the first token of each place of an identifier, for recommendation and for search.
        sizes: [K] codes of each place.
    """

    text: int
    first: int
    blocks: list[list[int]]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, text: int, first: int, user_tokens: int, identifiers: Identifiers) -> "TokenLayout":
        """Return the layout for some identifiers.

        Args:
            text: tokens of text.
            first: the first behaviour token.
            user_tokens: tokens of users.
            identifiers: of the items.
        """
        return cls(text, first, identifiers.blocks(first + BEHAVIOURS + user_tokens).tolist(), identifiers.sizes)

    def mark(self, task: Task) -> int:
        """Return the behaviour token of a task's items."""
        return self.first + (FEED_ITEM if task == "recommend" else FOUND_ITEM)

    @property
    def query_mark(self) -> int:
        """The behaviour token of a query."""
        return self.first + QUERY

    def heads(self, task: Task) -> list[tuple[int, int]]:
        """Return the first token and the number of codes of each place of a task's identifiers."""
        return list(zip(self.blocks[SIDES.index(task)], self.sizes, strict=True))
