"""Synonyms from the log, for review: words and queries after which people click the same items.

"couch" and "sofa" lead to the same items, and these have one of the two words. Words of one query, and words that the
clicked items have both of ("red" and "sofa"), lead to the same items because they describe them; they are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from searec.data.ragged import Ints, Ragged, group
from searec.data.split import Split
from searec.search.rules import CompiledRules, Proposal, SearchRules
from searec.text.analysis import words_of

if TYPE_CHECKING:
    from searec.data.dataset import Dataset

MIN_USERS = 5
"""Users who have clicked items after each of the two, at least."""
MIN_ITEMS = 3
"""Items that were clicked after both, at least."""
LEAST = 0.2
"""Confidence from which a pair is proposed."""
_BOTH = 0.2
"""Share of the common clicks on items with the words of both, from which the words describe the items together."""
_TOGETHER = 0.1
"""Share of the searches for the rarer one that also have the other, from which they go together."""
_LONGEST = 3
_MOST_PHRASES = 500
"""An item that is clicked after more phrases says nothing of any two."""
Phrase = tuple[int, ...]
"""Ascending ids of words."""


def proposals(data: "Dataset", rules: SearchRules | None = None) -> list[Proposal]:
    """Return pairs that may be synonyms, the most confident first.

    Only searches for training are read. The confidence is the cosine of the clicked items, weighted by their rarity,
    times n / (n + 5), where n is the number of users with clicks on common items.

    Args:
        data: with searches and their clicks.
        rules: whose synonyms are not proposed again.
    """
    log = _ClickedPhrases.of(data)
    known = CompiledRules(rules or SearchRules(), data.analyser)
    pairs = []
    for first, second, cosine in log.pairs():
        one, other = log.phrases[first], log.phrases[second]
        clicks = log.counts[[first]].minimum(log.counts[[second]])
        shared, often = clicks.indices[clicks.data > 0], clicks.data[clicks.data > 0]
        confidence = float(cosine * often.sum() / (often.sum() + MIN_USERS))
        if set(one) & set(other) or len(shared) < MIN_ITEMS or confidence < LEAST:
            continue
        is_described = often[_has_all(data.item_words, shared, (*one, *other))].sum() > _BOTH * often.sum()
        if is_described or log.share_together(one, other) > _TOGETHER:
            continue
        words = log.written(one), log.written(other)
        if not known.has_pair(*words):
            users = int(log.users[first]), int(log.users[second])
            pairs.append((one, other, Proposal(words, users, len(shared), round(confidence, 3))))
    pairs.sort(key=lambda pair: (-pair[2].confidence, pair[2].words))
    return _without_longer(pairs)


@dataclass(frozen=True)
class _ClickedPhrases:
    """Phrases of searches, which are short queries and words, and what was clicked after them.

    Attributes:
        phrases: [P].
        counts: [P, I + 1] users who have clicked an item after a search with the phrase.
        users: [P] of all items.
        queries: [V + 1] the queries that have each word.
        searches: [Q + 1] of each query.
    """

    data: "Dataset"
    phrases: Sequence[Phrase]
    counts: scipy.sparse.csr_array
    users: Ints
    queries: Ragged
    searches: Ints

    @classmethod
    def of(cls, data: "Dataset") -> "_ClickedPhrases":
        searches = data.searches
        owner = np.repeat(np.arange(len(searches.offsets) - 1), np.diff(searches.offsets))
        rows = np.flatnonzero(searches.time < Split(data).cutoff(("search",))[owner])
        query = np.asarray(searches.query)[rows]
        item, at = searches.clicks.take(rows)
        stop = {data.word_index[term] for term in data.analyser.stop_terms if term in data.word_index}
        numbers: dict[Phrase, int] = {}
        of_query: list[Ints] = [np.zeros(0, dtype=np.int64)]
        for words in np.split(data.queries.words.values, data.queries.words.offsets[2:-1]):
            phrase = tuple(sorted({int(word) for word in words} - stop))
            phrases = dict.fromkeys([*((word,) for word in phrase), *([phrase] if len(phrase) <= _LONGEST else [])])
            of_query.append(np.array([numbers.setdefault(one, len(numbers)) for one in phrases if one], dtype=np.int64))
        number, place = Ragged.of(of_query).take(query[at])
        of_user = np.unique(np.stack((number, owner[rows][at[place]])), axis=1)[0]
        clicks = np.unique(np.stack((number, item[place], owner[rows][at[place]])), axis=1)
        shape = (max(1, len(numbers)), data.sizes.items + 1)
        counts = scipy.sparse.csr_array((np.ones(clicks.shape[1]), (clicks[0], clicks[1])), shape=shape)
        order = np.argsort(data.queries.words.values, kind="stable")
        having = group(data.queries.words.values[order], data.queries.words.owners[order], data.sizes.words + 1)
        return cls(
            data,
            list(numbers),
            counts,
            np.bincount(of_user, minlength=len(numbers)),
            having,
            np.bincount(query, minlength=data.sizes.queries + 1),
        )

    def pairs(self) -> list[tuple[int, int, float]]:
        """Positions of two phrases with enough users, and the cosine of their clicked items."""
        rows = np.flatnonzero(self.users >= MIN_USERS)
        counts = self.counts[rows]
        phrases = np.bincount(counts.indices, minlength=counts.shape[1])
        rarity = np.where(phrases <= _MOST_PHRASES, np.log1p(len(rows) / np.maximum(phrases, 1)), 0)
        weighted = counts.sqrt() @ scipy.sparse.diags_array(rarity)
        norm = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)))
        weighted = scipy.sparse.diags_array(1 / np.where(norm > 0, norm, 1)) @ weighted
        cosine = scipy.sparse.triu(weighted @ weighted.T, k=1).tocoo()
        is_near = cosine.data >= LEAST
        first, second = (rows[place[is_near]] for place in cosine.coords)
        return list(zip(first.tolist(), second.tolist(), cosine.data[is_near].tolist(), strict=True))

    def having(self, phrase: Sequence[int]) -> Ints:
        """The queries that have all words of a phrase."""
        queries = np.unique(self.queries.row(phrase[0]))
        for word in phrase[1:]:
            queries = np.intersect1d(queries, self.queries.row(word))
        return queries

    def share_together(self, one: Phrase, other: Phrase) -> float:
        """Share of the searches for the rarer phrase that have both."""
        rarer = min(self.searches[self.having(phrase)].sum() for phrase in (one, other))
        return float(self.searches[self.having((*one, *other))].sum() / max(1, rarer))

    def written(self, phrase: Phrase) -> str:
        """The phrase as it is typed most often."""
        queries = self.having(phrase)
        best = int(queries[np.argmax(self.searches[queries])])
        term = self.data.analyser.term
        terms = {list(self.data.word_index)[word - 1] for word in phrase}
        words = [word for word in words_of(str(self.data.queries.texts[best - 1])) if term(word) in terms]
        return " ".join(dict.fromkeys(words))


def _has_all(rows: Ragged, items: Ints, words: Phrase) -> NDArray[np.bool_]:
    """[n] whether items have all words."""
    values, at = rows.take(items)
    is_word = np.isin(values, words)
    held = np.unique(np.stack((at[is_word], values[is_word])), axis=1)[0]
    return np.asarray(np.bincount(held, minlength=len(items)) == len(set(words)))


def _without_longer(pairs: Sequence[tuple[Phrase, Phrase, Proposal]]) -> list[Proposal]:
    """The pairs, less those of phrases that have the two phrases of another pair."""
    every = [(set(one), set(other)) for one, other, _ in pairs]

    def is_longer(one: Phrase, other: Phrase) -> bool:
        ends = set(one), set(other)
        return any(
            pair != ends
            and ((pair[0] <= ends[0] and pair[1] <= ends[1]) or (pair[1] <= ends[0] and pair[0] <= ends[1]))
            for pair in every
        )

    return [proposal for one, other, proposal in pairs if not is_longer(one, other)]
