"""Summaries: a text for each user and side, written without a model or by a chat server, that says who wrote it."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from searec.artifacts.history_texts import Histories
from searec.data.schema import TASKS, Task
from searec.errors import ChatError, RunError
from searec.files import replacing
from searec.progress import progress
from searec.text.analysis import split_words
from searec.text.chat import Chat, Prompt
from searec.text.response_cache import read_field

OFFLINE_VERSION = "offline-1"
"""Changes with every change to what `offline_summaries` writes."""
CHAT_VERSION = "chat-1"
"""Changes with every change to what `chat_summaries` sends or stores, apart from the wording of its prompts."""
PROMPTS = "summary-1"
"""The folder below `prompts` that holds the wording; a new wording is a new folder."""
FIELD = "preferences"
USERS_AT_ONCE = 50_000
"""Bounds the memory of writing: about 1 GB at 20 events a side."""

_TEXTS = {"user": pl.Int32, "recommend": pl.String, "search": pl.String}
_TERMS = {"side": pl.String, "kind": pl.String, "term": pl.String, "users": pl.Int64}
_UNIT = 10_000  # weights are whole numbers, so that no order of addition can change a tie
_SHARED = 0.01
_LONGEST = 80
# kind: (how many terms at most, how many characters they may take together); in all about 60 words
_ROOM = {"query": (5, 150), "category": (4, 90), "title": (6, 60)}


@dataclass(frozen=True)
class Weights:
    """In how many histories of a population each term stands, on each side.

    Kinds of term: "query" (a word of a query), "category", "title" (a word of a clicked title).

    Attributes:
        population: side -> N, how many histories are not empty there.
        terms: side, kind, term, users.
    """

    population: Mapping[str, int]
    terms: pl.DataFrame

    def of(self, side: Task, kind: str, names: pl.Series) -> pl.Series:
        """Return weights [n] of terms in 1/10,000: log((1 + N) / (1 + N/100 + users with the term)), at least 0.

        A term that nobody has weighs most. N/100 keeps a term of one user from outweighing what many others share.

        Args:
            side: "recommend" or "search".
            kind: of the terms.
            names: [n] the terms.
        """
        here = self.terms.filter((pl.col("side") == side) & (pl.col("kind") == kind))
        users = (
            pl.DataFrame({"term": names}).join(here, on="term", how="left", maintain_order="left")["users"].fill_null(0)
        )
        n = self.population[side]
        return (_UNIT * ((1 + n) / (1 + n * _SHARED + users)).log()).round().cast(pl.Int64).clip(0).alias("weight")


@dataclass(frozen=True)
class Summaries:
    """Two texts a user.

    Attributes:
        texts: user, recommend, search; row n is user n of 0..U, null for user 0 and where that history is empty.
        about: what wrote them, from what; JSON-ready: summariser ("offline" or "chat"), version, model, prompts,
            ledger, cutoff, limit.
        weights: what `offline_summaries` weighed terms with, for users who come later; None from a chat server.
    """

    texts: pl.DataFrame
    about: Mapping[str, Any]
    weights: Weights | None = None

    @property
    def users(self) -> int:
        """U."""
        return self.texts.height - 1

    def has(self) -> NDArray[np.bool_]:
        """[U + 1, 2] whether a user has a text on a side; sides in the order of `schema.TASKS`."""
        return np.stack([self.texts[side].is_not_null().to_numpy() for side in TASKS], axis=1)

    def save(self, folder: Path | str) -> None:
        """Write texts.parquet, about.json and, if there are weights, weights.parquet into a new or replaced folder."""
        with replacing(folder) as beside:
            beside.mkdir()
            self.texts.write_parquet(beside / "texts.parquet")
            about = dict(self.about)
            if self.weights is not None:
                self.weights.terms.write_parquet(beside / "weights.parquet")
                about["population"] = dict(self.weights.population)
            (beside / "about.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> "Summaries":
        """Read what `save` wrote.

        Raises:
            RunError: it is missing or damaged.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            texts = pl.read_parquet(folder / "texts.parquet", columns=list(_TEXTS))
            population = about.pop("population", None)
            weights = None if population is None else Weights(population, pl.read_parquet(folder / "weights.parquet"))
        except (OSError, ValueError, AttributeError, pl.exceptions.PolarsError) as error:
            raise RunError(
                "cannot read the summaries", where=folder, got=str(error).splitlines()[0], remedy="write them again"
            ) from error
        if texts.schema != pl.Schema(_TEXTS) or not texts["user"].equals(
            pl.int_range(texts.height, dtype=pl.Int32, eager=True)
        ):
            raise RunError(
                "the summaries are damaged", where=folder, got=texts.schema, expected="user 0 to U, recommend, search"
            )
        return cls(texts, about, weights)


def assembled(users: int, parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Return the table of `Summaries.texts`.

    Args:
        users: U.
        parts: frames of user, recommend, search for some of the users.
    """
    rows = pl.DataFrame({"user": pl.int_range(users + 1, dtype=pl.Int32, eager=True)})
    given = pl.concat(
        [
            pl.DataFrame(schema=_TEXTS),
            *(part.select(pl.col(name).cast(kind) for name, kind in _TEXTS.items()) for part in parts),
        ]
    )
    return rows.join(given, on="user", how="left", maintain_order="left")


def offline_summaries(
    histories: Histories, *, weights: Weights | None = None, counted: NDArray[np.bool_] | None = None
) -> Summaries:
    """Summaries without a model: the most telling queries, categories and title words of each history, as sentences.

    A term weighs (events of the user that have it) x its weight (`Weights.of`), a query the mean over its words;
    ties go to the term of more events, then to the first by text. A text has about 60 words at most.

    Args:
        histories: to write of.
        weights: of the population to compare with; counted over `histories` themselves if not given. New users need
            those of the known users (`Summaries.weights`).
        counted: [U + 1] the users whose histories the weights are counted over; all by default.
    """
    terms = _Terms.of(histories)
    parts = [
        histories.between(first, first + USERS_AT_ONCE - 1) for first in range(1, histories.users + 1, USERS_AT_ONCE)
    ]
    with progress("Writing summaries", histories.users) as advance:
        if weights is None:
            weights = _counted(
                parts, terms, np.flatnonzero(np.ones(histories.users + 1, bool) if counted is None else counted)
            )
        heavy = {(side, kind): terms.weighed(weights, side, kind) for side in TASKS for kind in _kinds(side)}
        texts = []
        for part in parts:
            sides = [_sentences(part, side, terms, heavy) for side in TASKS]
            texts.append(sides[0].join(sides[1], on="user", how="full", coalesce=True))
            advance(min(USERS_AT_ONCE, histories.users), "")
    about = {"summariser": "offline", "version": OFFLINE_VERSION, "cutoff": histories.cutoff, "limit": histories.limit}
    return Summaries(assembled(histories.users, texts), about, weights)


def chat_summaries(histories: Histories, chat: Chat) -> Summaries:
    """Return summaries by a chat server: one prompt per user and side, with the whole history of that side.

    Args:
        histories: to write of.
        chat: an open client.

    Raises:
        ChatError: some users are left without a summary, after all others are stored; or as `Chat.ask`.
        Interrupted: on Ctrl-C, as `Chat.ask`.
    """
    written = histories.written()
    prompts, users_of_side = [], []
    for side in TASKS:
        wording = (
            resources.files("searec.artifacts").joinpath("prompts", PROMPTS, f"{side}.txt").read_text(encoding="utf-8")
        )
        of_side = written.drop_nulls(side)
        users_of_side.append(of_side["user"])
        prompts += [
            Prompt(f"user {user}, {side}", PROMPTS, wording.replace("{history}", history))
            for user, history in zip(of_side["user"].to_list(), of_side[side].to_list(), strict=True)
        ]
    answers = chat.ask(prompts, functools.partial(read_field, field=FIELD))
    missing = [f"{answer.prompt.name} ({answer.problem})" for answer in answers if answer.value is None]
    if missing:
        raise ChatError(
            f"{len(missing)} of {len(answers)} summaries are missing",
            where="; ".join(missing),
            remedy="run the same command again: only these are requested; or set another model or more max_tokens",
        )
    said = [answer.value for answer in answers if answer.value is not None]
    texts = pl.Series([one.text for one in said], dtype=pl.String)
    first = len(users_of_side[0])
    sides = [
        pl.DataFrame([users, part.alias(side)])
        for users, part, side in zip(users_of_side, (texts[:first], texts[first:]), TASKS, strict=True)
    ]
    about = {
        "summariser": "chat",
        "version": CHAT_VERSION,
        "model": chat.config.model,
        "prompts": PROMPTS,
        "plain": sum(one.plain for one in said),
        "cutoff": histories.cutoff,
        "limit": histories.limit,
        "ledger": chat.usage.as_json(),
    }
    return Summaries(assembled(histories.users, [sides[0].join(sides[1], on="user", how="full", coalesce=True)]), about)


def _kinds(side: Task) -> tuple[str, ...]:
    return ("query", "category", "title") if side == "search" else ("category", "title")


@dataclass(frozen=True)
class _Terms:
    """For each kind: of what ("query" or "item"), which terms it has (frame: row, term), and the terms' names, sorted.

    A term is a row of `names`; as these are sorted, the smaller of two terms comes first by text.
    """

    rows: Mapping[str, pl.DataFrame]
    names: Mapping[str, pl.Series]
    query_lengths: pl.DataFrame  # query, words
    queries: pl.Series  # the queries themselves, sorted
    query_rows: pl.DataFrame  # query, term (row of `queries`)

    @classmethod
    def of(cls, histories: Histories) -> "_Terms":
        used_items = pl.concat([histories.search_clicks["item"], histories.clicks["item"]]).unique().sort()
        used_queries = histories.searches["query"].unique().sort()
        items = histories.items[used_items]
        is_word = pl.element().filter((pl.element().str.len_chars() > 1) & ~pl.element().str.contains(r"^\p{N}+$"))
        title_words = items.select(split_words(pl.col("title")).list.eval(is_word))["title"]
        query_words = pl.DataFrame({"query": histories.queries[used_queries]}).select(split_words(pl.col("query")))[
            "query"
        ]
        rows, names = {}, {}
        for kind, of_what, ids, lists in (
            ("query", "query", used_queries, query_words),
            ("category", "item", used_items, items["categories"]),
            ("title", "item", used_items, title_words),
        ):
            flat = pl.DataFrame({of_what: ids, "name": lists}).explode("name").drop_nulls().unique()
            names[kind] = flat["name"].unique().sort()
            codes = pl.DataFrame({"name": names[kind]}).with_row_index("term")
            rows[kind] = flat.join(codes, on="name").select(of_what, "term")
        queries = (
            pl.DataFrame({"query": used_queries, "name": histories.queries[used_queries]})
            .sort("name")
            .with_row_index("term")
        )
        return cls(
            rows,
            names,
            rows["query"].group_by("query").agg(words=pl.len()),
            queries["name"],
            queries.select("query", "term"),
        )

    def weighed(self, weights: Weights, side: Task, kind: str) -> pl.DataFrame:
        """term, weight."""
        return pl.DataFrame({"weight": weights.of(side, kind, self.names[kind])}).with_row_index("term")

    def counts(self, histories: Histories, side: Task, kind: str) -> pl.DataFrame:
        """user, term, events: how many events of each user have each term."""
        events = (
            histories.searches if kind == "query" else histories.clicks if side == "recommend" else histories.found_by()
        )
        return (
            events.join(self.rows[kind], on="query" if kind == "query" else "item")
            .group_by("user", "term")
            .agg(events=pl.len())
        )


def _counted(parts: list[Histories], terms: _Terms, users: NDArray[np.integer]) -> Weights:
    """Weights of the histories of some users."""
    of_them = pl.col("user").is_in(pl.Series(users, dtype=pl.Int32).implode())
    tables = []
    for side in TASKS:
        for kind in _kinds(side):
            each = [
                terms.counts(part, side, kind).filter(of_them).group_by("term").agg(users=pl.len()) for part in parts
            ]
            total = (
                pl.concat([pl.DataFrame(schema={"term": pl.UInt32, "users": pl.UInt32}), *each])
                .group_by("term")
                .agg(pl.col("users").sum())
            )
            total = total.sort("term")
            names = terms.names[kind].gather(total["term"])
            tables.append(
                pl.DataFrame({"term": names, "users": total["users"].cast(pl.Int64)}).select(
                    pl.lit(side).alias("side"), pl.lit(kind).alias("kind"), "term", "users"
                )
            )
    population: dict[str, int] = {
        "recommend": sum(part.clicks.filter(of_them)["user"].n_unique() for part in parts),
        "search": sum(part.searches.filter(of_them)["user"].n_unique() for part in parts),
    }
    return Weights(population, pl.concat(tables))


def _sentences(
    histories: Histories, side: Task, terms: _Terms, heavy: Mapping[tuple[Task, str], pl.DataFrame]
) -> pl.DataFrame:
    """User and the text of one side, for the users who have a history there."""
    events = histories.searches if side == "search" else histories.clicks
    users = events.select("user").unique(maintain_order=True)
    for kind in _kinds(side):
        counted = terms.counts(histories, side, kind).join(heavy[side, kind], on="term")
        if kind == "query":
            listed = _listed(_telling_queries(histories, counted, terms), terms.queries, kind)
        else:
            scored = counted.select("user", "term", "events", score=pl.col("events") * pl.col("weight"))
            listed = _listed(scored, terms.names[kind], kind)
        users = users.join(listed, on="user", how="left", maintain_order="left")
    newest = events.unique("user", keep="first", maintain_order=True)
    if side == "search":
        last = pl.lit(None, pl.String)
    else:  # a title of digits alone leaves no word to tell
        last = pl.lit("Clicked ") + histories.items["title"].gather(newest["item"]).str.slice(0, _LONGEST) + "."
    said = [pl.lit("Clicked mostly ") + pl.col("category") + ".", pl.lit("Titles mention ") + pl.col("title") + "."]
    if side == "search":
        said.insert(0, pl.lit("Searches for ") + pl.col("query") + ".")
    text = pl.concat_str(said, separator=" ", ignore_nulls=True)
    return users.select("user", pl.when(text != "").then(text).otherwise(last).alias(side))


def _telling_queries(histories: Histories, words: pl.DataFrame, terms: _Terms) -> pl.DataFrame:
    """Return user, term, events, score of each user's queries, rows of `terms.queries`: the mean of their words."""
    entered = histories.searches.group_by("user", "query").agg(events=pl.len())
    weight = words.select("user", "term", score=pl.col("events") * pl.col("weight"))
    sums = (
        entered.join(terms.rows["query"], on="query")
        .join(weight, on=["user", "term"])
        .group_by("user", "query")
        .agg(pl.col("score").sum())
        .join(terms.query_lengths, on="query")
        .select("user", "query", score=pl.col("score") / pl.col("words"))
    )
    scored = entered.join(sums, on=["user", "query"], how="left").join(terms.query_rows, on="query")
    return scored.select("user", "term", "events", pl.col("score").fill_null(0.0))


def _listed(scored: pl.DataFrame, names: pl.Series, kind: str) -> pl.DataFrame:
    """User and, named after the kind, the heaviest terms of each as "a, b and c", within the kind's room.

    scored: user, term (row of `names`, which are sorted), events, score.
    """
    most, room = _ROOM[kind]
    within = pl.int_range(pl.len()).over("user")
    top = scored.sort("user", "score", "events", "term", descending=[False, True, True, False]).filter(within < most)
    short = names.gather(top["term"]).str.replace_all(r"\s+", " ").str.strip_chars().str.slice(0, _LONGEST)
    fits = (pl.col("name").str.len_chars().cum_sum().over("user") <= room) | (within == 0)
    name = pl.col("name")
    listed = (
        pl.when(pl.len() == 1)
        .then(name.first())
        .otherwise(name.head(pl.len() - 1).str.join(", ") + " and " + name.last())
    )
    return (
        top.select("user", short.alias("name"))
        .filter(fits)
        .group_by("user", maintain_order=True)
        .agg(listed.alias(kind))
    )
