"""How much data there is, by which models choose their default sizes and training budgets."""

from dataclasses import dataclass

from searec.data.dataset import Dataset


@dataclass(frozen=True)
class Counts:
    """Counts of a dataset, held-out events included.

    Attributes:
        users: users.
        items: items.
        clicks: clicks in the feed and after searches.
        searches: search sessions.
    """

    users: int
    items: int
    clicks: int
    searches: int

    @classmethod
    def of(cls, data: Dataset) -> "Counts":
        """Return the counts of a dataset.

        Args:
            data: the dataset.
        """
        return cls(data.sizes.users, data.sizes.items, len(data.click_history.item), len(data.searches.query))
