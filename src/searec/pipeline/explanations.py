"""Explanations: why an item is on the page, in a sentence for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from searec.data.ragged import Ints
from searec.interests.user_interests import true_reason
from searec.models.base import Model
from searec.pipeline.channels import RequestBatch
from searec.pipeline.fusion_features import novel_items
from searec.pipeline.types import CATALOGUE
from searec.search.changed_items import field_text
from searec.text.analyser import Analyser
from searec.text.analysis import FIELDS, words_of

_CLOSE = 0.5
"""Strength from which a click explains an item; a category in common adds as much."""
_RECENT = 20


class Explainer:
    """Reasons by channel.

    Args:
        models: the feed's models by channel name. Where an item's channel has no explanation of its own, the first that
            has one explains it.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = list(dict.fromkeys(models.values()))

    def feed(self, requests: RequestBatch, row: int, items: Ints, channels: Sequence[str], interest: Ints) -> list[str]:
        """Return why each item is in a feed; an interest is only named if the item carries its category.

        Args:
            requests: the batch.
            row: of the request.
            items: [n] item indexes.
            channels: [n] the channel of each.
            interest: [n] for channel "interest", the position among the user's interests.
        """
        clicks = self._nearest_clicks(requests, items, requests.users[row].recent[:_RECENT])
        titles = iter(requests.catalog.titles(clicks[clicks > 0]))
        title_of = [next(titles) if click else "" for click in clicks.tolist()]
        reasons = []
        catalog, user = requests.catalog, requests.users[row]
        novel = novel_items(catalog, user.recent, items)
        columns = (items.tolist(), channels, interest.tolist(), title_of, novel.tolist())
        for item, channel, position, title, is_novel in zip(*columns, strict=True):
            categories = catalog.categories(item)
            reason = true_reason(requests.interests[row].interests, position, categories) if position >= 0 else None
            if reason is not None:
                reasons.append(reason)
            elif channel == "interest" and is_novel:
                reasons.append(f"new to you: {categories[-1]}")
            elif channel == CATALOGUE:
                reasons.append("")
            elif channel == "popular":
                reasons.append("often clicked by others")
            elif title:
                reasons.append(f"like “{title}”, which you clicked")
            else:
                reasons.append("goes with what you clicked lately")
        return reasons

    @staticmethod
    def search(requests: RequestBatch, row: int, items: Ints, channels: Sequence[str]) -> list[str]:
        """Return why each item is among the results of a search.

        Args:
            requests: the batch.
            row: of the request.
            items: [n] item indexes.
            channels: [n] the channel of each.
        """
        query, catalog = requests.queries[row], requests.catalog
        analyser = catalog.lexical.analyser
        reasons = []
        shared_terms = catalog.lexical.terms_in(requests.parsed[row], items)
        for item, channel, terms in zip(items.tolist(), channels, shared_terms, strict=True):
            if shared := [term for term in terms if term not in analyser.stop_terms] or terms:
                words = _words(catalog.attributes(item), shared, analyser)
                reasons.append("holds " + ", ".join(f"“{words[term]}”" for term in shared))
            elif channel == "dense":
                reasons.append(f"close in meaning to “{query}”")
            else:
                reasons.append(f"often what follows “{query}”")
        return reasons

    def _nearest_clicks(self, requests: RequestBatch, items: Ints, recent: Ints) -> Ints:
        """[n] the recent click that explains each item best, 0 where none does."""
        if not len(recent) or not len(items):
            return np.zeros(len(items), dtype=np.int64)
        groups = requests.catalog.groups(np.concatenate((items, recent)))
        item_groups, click_groups = groups[: len(items)], groups[len(items) :]
        strength = np.array(
            [[_CLOSE if one & other else 0.0 for other in click_groups] for one in item_groups], dtype=np.float32
        )
        strength += self._strengths(requests.catalog.proxy[items], requests.catalog.proxy[recent])
        nearest: Ints = np.where(strength.max(1) >= _CLOSE, recent[strength.argmax(1)], 0)
        return nearest

    def _strengths(self, items: Ints, clicks: Ints) -> np.ndarray:
        """[n, H] how much a click explains an item by the first model that explains anything."""
        for model in self._models:
            best, strength = model.explain(
                torch.from_numpy(items).to(model.device), torch.from_numpy(clicks).to(model.device)
            )
            if bool((best > 0).any()):
                matches = best[:, None] == torch.from_numpy(clicks).to(best.device)
                return (matches * strength[:, None]).float().cpu().numpy()
        return np.zeros((len(items), len(clicks)), dtype=np.float32)


def _words(about: Mapping[str, Any], terms: Sequence[str], analyser: Analyser) -> Mapping[str, str]:
    """The first word of an item with each term; long descriptions are read only for what the fields before lack."""
    words: dict[str, str] = {}
    for name in FIELDS:
        for word in words_of(field_text(about.get(name))):
            words.setdefault(analyser.term(word), word)
        if all(term in words for term in terms):
            break
    return words
