"""gensar: search and recommendation by one model that writes item identifiers (arXiv 2504.05730)."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from searec.config import Count, DropoutRate, Natural, NonNegative, Positive, Share, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Sizes
from searec.data.schema import TASKS, Task
from searec.errors import SettingsError
from searec.models.base import Model, Preset
from searec.models.gensar.constrained_decoding import IdentifierWriter, TextWriter
from searec.models.gensar.item_corpus import Lessons, LessonTokens
from searec.models.gensar.prompt_batches import BEHAVIOURS, QUERY, REC, SRC, Laid, Prompts
from searec.models.gensar.seq2seq_tasks import Exercise, together
from searec.models.gensar.t5 import new_t5, warm
from searec.models.search_space import DROPOUT, LEARNING_RATE, Choice, Range, SearchSpace
from searec.nn.losses import Losses
from searec.nn.softmax import linear_cross_entropy
from searec.semantic_ids import beam
from searec.semantic_ids.code_config import PAPER_IDENTIFIERS, IdentifierSettings
from searec.semantic_ids.identifiers import Identifiers
from searec.semantic_ids.trie import Trie
from searec.semantic_ids.user_code_table import SIDES
from searec.text.tokenizer import EOS, PAD, Tokens

_CELLS_AT_ONCE = 1 << 22
_KEPT = ("spec", "tokenizer", "codes")
_TABLE = "t5.shared.weight"


class GenSAR(Model):
    """T5 over the user's newest feed clicks and searches, which writes the next item's identifier, code by code.

    A code competes with its siblings in the trie, a word with words. The behaviour token starts the decoder, so that what is written is
    all identifier (docs/decisions.md 34 to 36).
    """

    spec: Tensor  # JSON as bytes
    tokenizer: Tensor  # JSON as bytes
    codes: Tensor  # [2, I + 1, K] uint8 or int16

    name = "gensar"
    tasks: ClassVar[tuple[Task, ...]] = TASKS
    learns = "loss"
    artifact = "item_identifiers"
    enumerates = False
    search_space: ClassVar[SearchSpace] = {
        "lr": LEARNING_RATE,
        "dropout": DROPOUT,
        "search_weight": Range(0.1, 10.0, log=True),
        "warm_codes": Choice((True, False)),
    }
    single_task: ClassVar[Mapping[Task, Mapping[str, Any]]] = {
        "recommend": {"tasks": ["recommend"]},
        "search": {"tasks": ["search"]},
    }
    single_task_note = "nothing is learned from the other task's events; histories of both are read all the same"

    @settings
    class Config(IdentifierSettings):
        """How identifiers are made (`IdentifierSettings`), then the model.

        pretrained: a T5 checkpoint by path or hub id; "" for one trained from the sizes below.
        vocabulary: tokens of text at most, where the tokenizer is trained here.
        width, layers, heads, head_width, inner: of encoder and decoder alike. init: standard deviation of the first embeddings.
        warm_codes: codes' embeddings start where the RQ-VAE put the codes, not at random.
        feed, searches: newest feed clicks and search sessions read. query_tokens, text_tokens: read of a query, and of an item's text.
        user_tokens: users are hashed to so many tokens, one of which begins the prompt (TIGER); 0 for none.
        beam: identifiers kept at each step of a search.
        *_weight: of the tasks: next item, next query, searched item, pseudo-query to item, text to identifier and back.
        item_share: items drawn for each task on items, as a share of the batch.
        doc2query: a checkpoint that writes pseudo-queries; "" takes them from item texts. pseudo_queries: at most so many an item.
        """

        tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = TASKS
        pretrained: str = ""
        vocabulary: Annotated[int, Field(ge=300)] = 4096
        width: Count = 512
        layers: Count = 6
        heads: Count = 8
        head_width: Count = 64
        inner: Count = 2048
        dropout: DropoutRate = 0.1
        init: Positive = 0.05
        warm_codes: bool = True
        feed: Natural = 5
        searches: Natural = 5
        query_tokens: Count = 12
        text_tokens: Count = 32
        user_tokens: Natural = 0
        beam: Count = 30
        recommend_weight: NonNegative = 1.0
        search_weight: NonNegative = 1.0
        query_weight: NonNegative = 1.0
        query_item_weight: NonNegative = 1.0
        identify_weight: NonNegative = 1.0
        describe_weight: NonNegative = 1.0
        item_share: Share = 0.125
        doc2query: str = ""
        pseudo_queries: Count = 5

    presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "small": {
            "width": 128,
            "layers": 2,
            "heads": 4,
            "head_width": 32,
            "inner": 256,
            "sinkhorn_rounds": 0,
            "apart": "nearest",
        },
        "paper": {
            **PAPER_IDENTIFIERS,
            "pretrained": "google-t5/t5-small",
            "doc2query": "doc2query/msmarco-t5-base-v1",
            "warm_codes": False,
        },
    }
    train_presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "small": {
            "epochs": 10,
            "batch": 256,
            "patience": 3,
            "lr": 2e-3,
            "schedule": "cosine",
            "warmup": 100,
            "clip": 1.0,
            "validation_requests": 2_000,
        },
        "paper": {"epochs": 20, "batch": 256, "patience": 5, "lr": 1e-3, "schedule": "cosine", "warmup": 200},
    }

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        for name in _KEPT:
            self.register_buffer(name, None)
        self.t5: Any = None
        self.tokens: Tokens
        self._tries: list[Trie] = []
        self._lessons: LessonTokens | None = None

    @property
    @override
    def needs(self) -> Needs:
        return Needs(feed=self.config.feed, searches=self.config.searches, search_clicks=1, queries=True)

    @property
    @override
    def train_tasks(self) -> tuple[Task, ...]:
        tasks: tuple[Task, ...] = self.config.tasks
        return tasks

    @property
    @override
    def candidate_limit(self) -> int:
        """The beam: what lies beyond it is found by chance."""
        return int(self.config.beam)

    @property
    def identifier_length(self) -> int:
        """Codes of an identifier."""
        return len(self.sizes_of_places)

    # --- what it is made of ---

    def load_artifacts(self, identifiers: Identifiers, tokens: Tokens, lessons: Lessons, vectors: Tensor) -> None:
        """Take up what was derived before the model learns, and draw its weights (from PyTorch's generator).

        Args:
            vectors: [T, E] where each code lies among the RQ-VAE's latents, as `warm_codes` reads them.

        Raises:
            SettingsError: identifiers of other items, or texts of others.
            DependencyError: transformers is not installed, or the checkpoint cannot be had.
        """
        config = self.config
        if identifiers.items != self.sizes.items or len(lessons.texts) != self.sizes.items:
            raise SettingsError(
                "identifiers do not fit the data",
                got=f"{identifiers.items} items",
                expected=f"{self.sizes.items} items",
            )
        text = tokens.size
        start = text + BEHAVIOURS + config.user_tokens
        size = start + identifiers.tokens
        self.t5, shape, held = new_t5(config, size, start=text)
        spec = {"t5": shape, "text": text, "start": held - (size - text), "sizes": identifiers.sizes}
        spec |= {"shared": identifiers.shared, "one": identifiers.one}
        small = torch.uint8 if max(identifiers.sizes) <= 1 << 8 else torch.int16
        self.spec, self.tokenizer = _bytes(json.dumps(spec)), _bytes(tokens.text)
        self.codes = torch.from_numpy(identifiers.codes.astype(np.int32)).to(small)
        self._ready()
        if config.warm_codes:
            warm(self.t5.shared.weight[-identifiers.tokens :], vectors, identifiers.books)
        self._lessons = LessonTokens(lessons, tokens, config.text_tokens, config.query_tokens)

    @override
    def state(self) -> dict[str, Tensor]:
        """As `Learner.state`, the embedding table once, whatever goes by it."""
        return {name: tensor for name, tensor in super().state().items() if name not in self._tied()}

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if self.t5 is None and all(name in state for name in _KEPT):
            for name in _KEPT:
                setattr(self, name, state[name])
            spec = json.loads(_text(self.spec))
            self.t5 = new_t5(None, spec["t5"]["vocab_size"], start=0, shape=spec["t5"])[0]
        super().load_state({**state, **{name: state[_TABLE] for name in self._tied() if _TABLE in state}})
        self._ready()

    def _tied(self) -> list[str]:
        """Other names of the embedding table."""
        if self.t5 is None:
            return []
        tied = ["t5.encoder.embed_tokens.weight", "t5.decoder.embed_tokens.weight"]
        return [*tied, "t5.lm_head.weight"] if self.t5.lm_head.weight is self.t5.shared.weight else tied

    def _ready(self) -> None:
        """Tries, tokens and the pieces that prompts are laid out of, from the buffers."""
        spec = json.loads(_text(self.spec))
        self.tokens = Tokens(_text(self.tokenizer))
        self.text, self.first, self.sizes_of_places = spec["text"], spec["start"], spec["sizes"]
        identifiers = self.identifiers
        first_code = self.first + BEHAVIOURS + self.config.user_tokens
        self.blocks = identifiers.blocks(first_code).tolist()
        self._tries = [identifiers.trie(side) for side in range(1 if identifiers.one else len(SIDES))]
        self._lay_out()

    @property
    def identifiers(self) -> Identifiers:
        """The identifiers of all items."""
        spec = json.loads(_text(self.spec))
        return Identifiers(self.codes.cpu().numpy().astype(np.int32), tuple(spec["sizes"]), spec["shared"], spec["one"])

    def trie(self, task: Task) -> Trie:
        """The identifiers of a task."""
        side = 0 if len(self._tries) == 1 else SIDES.index(task)
        found = self._tries[side]
        if found.items.device != self.device:
            found = self._tries[side] = found.to(self.device)
        return found

    def change_items(self, added: np.ndarray | None = None, removed: Sequence[int] = ()) -> None:
        """Let items in, by their identifiers [2, n, K], numbered on from the last one; and take items out. No weight changes.

        Raises:
            DataError: an identifier is taken, or no item would be left.
        """
        if added is not None and added.shape[1]:
            identifiers = self.identifiers.with_items(added)
            self.codes = torch.from_numpy(identifiers.codes).to(self.codes.dtype).to(self.codes.device)
            numbers = np.arange(identifiers.items - added.shape[1] + 1, identifiers.items + 1)
            self._tries = [trie.with_items(added[side], numbers) for side, trie in enumerate(self._tries)]
            self._lay_out()
        if removed:
            self._tries = [trie.without(removed) for trie in self._tries]

    def _lay_out(self) -> None:
        blocks = torch.tensor(self.blocks, device=self.codes.device)
        config = self.config
        self.layout = Prompts(
            self.codes.long() + blocks[:, None],
            self.tokens,
            first=self.first,
            user_tokens=config.user_tokens,
            query_tokens=config.query_tokens,
        )
        self.layout.train(self.training)

    # --- how it reads ---

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L, D] the encoder's states."""
        return self.t5.encoder(input_ids=ids, attention_mask=mask).last_hidden_state  # type: ignore[no-any-return]

    # --- how it learns ---

    @override
    def loss(self, batch: Batch) -> Losses:
        """Mean negative log-likelihood a code, or a token, of each task that the batch has something of."""
        parts: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for several in self.exercises(batch):
            for exercise, states in zip(several, self._decode(several), strict=True):
                parts[exercise.name], weights[exercise.name] = self._loss_of(exercise, states), exercise.weight
        return Losses(parts, weights)

    def exercises(self, batch: Batch) -> list[list[Exercise]]:
        """What a training batch asks for, in groups whose prompts and answers are of about one length; each is one pass."""
        config, task = self.config, batch.task
        weight = config.recommend_weight if task == "recommend" else config.search_weight
        users = [self._item_exercise(task, weight, self.layout.users(batch, task), task, batch.target)]
        if task == "search":
            asked = self.layout.users(batch, "query"), self.query_mark, self.layout.asked(batch)
            users.append(self._text_exercise("query", config.query_weight, *asked))
        drawn = round(len(batch) * config.item_share)
        lessons = self._lesson_exercises(drawn) if drawn and self._lessons is not None else []
        groups = [[one] for one in users]
        groups += [[one for one in lessons if (one.known is None) == to_item] for to_item in (True, False)]
        return [some for group in groups if (some := [one for one in group if one.weight])]

    def _item_exercise(self, name: str, weight: float, prompt: Laid, task: Task, target: Tensor) -> Exercise:
        side = SIDES.index(task)
        codes = self.codes[side, target.long()].long()  # (B, K)
        given = torch.cat(
            (torch.full_like(codes[:, :1], self.mark(task)), codes[:, :-1] + codes.new_tensor(self.blocks[side][:-1])),
            1,
        )
        return Exercise(name, weight, *prompt, given, codes, task=task, items=target)

    def _text_exercise(self, name: str, weight: float, prompt: Laid, start: int, text: Laid) -> Exercise:
        tokens, inside = text
        answer = F.pad(tokens, (0, 1)).scatter_(1, inside.sum(1, keepdim=True), EOS)
        given = torch.cat((torch.full_like(tokens[:, :1], start), tokens), 1)
        return Exercise(name, weight, *prompt, given, answer, known=F.pad(inside, (1, 0), value=True))

    def _lesson_exercises(self, count: int) -> list[Exercise]:
        """Items drawn, from pseudo-query or text to identifier and back."""
        config, layout = self.config, self.layout
        assert self._lessons is not None
        items = torch.randint(1, self.sizes.items + 1, (count,))
        tokens, inside = self._lessons.texts(items)
        asked, there = self._lessons.queries(items)
        items, tokens, inside, asked, there = (part.to(self.device) for part in (items, tokens, inside, asked, there))
        found = []
        if "search" in config.tasks:
            prompt = layout.query("query_item", asked, there)
            found.append(self._item_exercise("query_item", config.query_item_weight, prompt, "search", items))
        for task in config.tasks:
            name = f"identify_{task}"
            found.append(
                self._item_exercise(name, config.identify_weight, layout.text(name, tokens, inside), task, items)
            )
            name = f"describe_{task}"
            prompt = layout.item(name, SIDES.index(task), items)
            found.append(self._text_exercise(name, config.describe_weight, prompt, PAD, (tokens, inside)))
        return found

    def _decode(self, exercises: Sequence[Exercise]) -> list[Tensor]:
        """[B, T, D] the decoder's states of each exercise, scaled for the head."""
        ids, mask, given = together(exercises)
        states = self.encode(ids, mask)
        found = self.t5.decoder(
            input_ids=given, encoder_hidden_states=states, encoder_attention_mask=mask, use_cache=False
        )
        parts = torch.split(found.last_hidden_state * self.scale, [len(one.ids) for one in exercises])
        return [part[:, : one.given.shape[1]] for part, one in zip(parts, exercises, strict=True)]

    def _loss_of(self, exercise: Exercise, states: Tensor) -> Tensor:
        """Mean over rows of -log p(item | prompt), or over tokens of a text, its end among them.

        As in `codes.beam`, a code competes with its siblings in the trie, so that nothing is spent on learning which identifiers there are.
        """
        answer = exercise.answer
        if exercise.known is not None:
            return linear_cross_entropy(states[exercise.known], self.head(0, self.text), answer[exercise.known])
        assert exercise.task is not None
        assert exercise.items is not None
        trie = self.trie(exercise.task)
        path = trie.path(trie.leaves_of(exercise.items))
        total = torch.zeros(len(answer), device=answer.device)
        for place, node in enumerate((torch.zeros_like(path[0]), *path[:-1])):
            _, siblings, some = trie.children(place, node)
            head = self.head(self.blocks[SIDES.index(exercise.task)][place], self.sizes_of_places[place])
            scores = (states[:, place] @ head.T).float()
            own = scores.gather(1, answer[:, place, None])[:, 0]
            total = total + scores.gather(1, siblings).masked_fill(~some, -torch.inf).logsumexp(1) - own
        return total.mean()

    @property
    def scale(self) -> float:
        """Of the decoder's states before the head; the first T5 scales them."""
        return self.t5.config.d_model**-0.5 if self.t5.config.scale_decoder_outputs else 1.0

    def head(self, first: int, count: int) -> Tensor:
        """[count, D] the rows of the head for some tokens."""
        return self.t5.lm_head.weight[first : first + count]  # type: ignore[no-any-return]

    def mark(self, task: Task) -> int:
        """The behaviour token of a task's items."""
        return int(self.first + (REC if task == "recommend" else SRC))

    @property
    def query_mark(self) -> int:
        """The behaviour token of a query."""
        return int(self.first + QUERY)

    # --- how it answers ---

    @override
    def score(self, batch: Batch) -> Tensor:
        """Log-probabilities as in `Model.score`; of the whole catalogue by writing every identifier, which only small ones allow."""
        candidates = batch.candidates
        if candidates is None:
            candidates = torch.arange(self.codes.shape[1], device=self.device).expand(len(batch), -1)
        ids, mask = self.layout.users(batch, batch.task)
        trie = self.trie(batch.task)
        each = max(1, _CELLS_AT_ONCE // (candidates.shape[1] * max(self.sizes_of_places)))
        found = []
        for start in range(0, len(batch), each):
            rows = slice(start, start + each)
            writer = IdentifierWriter(self, *_trimmed(ids[rows], mask[rows]), batch.task)
            found.append(beam.score(writer, trie, candidates[rows].long()))
        scores = torch.cat(found)
        if batch.candidates is None:
            scores[:, 0] = 0
        return scores

    @torch.no_grad()
    @override
    def retrieve(self, batch: Batch, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The k best items by beam search among the identifiers; see `Model.retrieve`. At least k beams."""
        trie = self.trie(batch.task)
        k = min(k, self.codes.shape[1] - 1)
        writer = IdentifierWriter(self, *self.layout.users(batch, batch.task), batch.task)
        items, scores = beam.search(writer, trie, max(self.config.beam, k), exclude)
        short = max(0, k - items.shape[1])
        return F.pad(items[:, :k], (0, short)), F.pad(scores[:, :k], (0, short), value=-torch.inf)

    def query_trie(self, queries: Sequence[str]) -> Trie:
        """Distinct queries to choose from, for `suggest`; its items are their places, from 1."""
        flat, lengths = self.tokens.ids(queries, self.config.query_tokens)
        codes = np.full((len(queries), int(lengths.max()) + 1), PAD)
        codes[np.arange(codes.shape[1]) < lengths[:, None]] = flat
        codes[np.arange(len(codes)), lengths] = EOS
        _, first = np.unique(codes, axis=0, return_index=True)  # texts may differ beyond the tokens that are read
        return Trie.build(codes[first], first + 1).to(self.device)

    @torch.no_grad()
    def suggest(self, batch: Batch, queries: Trie, k: int) -> tuple[Tensor, Tensor]:
        """The k likeliest next queries of each user, by beam search among known ones.

        Args:
            batch: B requests of any task. queries: what `query_trie` made of them.

        Returns:
            places [B, k] in the queries, from 1, best first, 0 where there are no more; log-probabilities [B, k], -inf there.
        """
        writer = TextWriter(self, *self.layout.users(batch, "query"), queries.depth)
        places, scores = beam.search(writer, queries, max(self.config.beam, k))
        short = max(0, k - places.shape[1])
        return F.pad(places[:, :k], (0, short)), F.pad(scores[:, :k], (0, short), value=-torch.inf)


def _trimmed(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    width = max(1, int(mask.sum(1).max())) if len(mask) else 1
    return ids[:, :width], mask[:, :width]


def _bytes(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(text.encode(), dtype=np.uint8).copy())


def _text(data: Tensor) -> str:
    return data.cpu().numpy().tobytes().decode()
