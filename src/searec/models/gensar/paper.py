"""gensar-paper: search and recommendation by one T5 that writes item identifiers, as published (arXiv 2504.05730)."""

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
from searec.models.gensar.constrained_decoding import PromptWriter
from searec.models.gensar.item_corpus import ItemCorpus, ItemCorpusTokens
from searec.models.gensar.prompt_builder import BEHAVIOURS, PromptBuilder, Prompts
from searec.models.gensar.seq2seq_tasks import Seq2SeqTask, TaskBuilder, decoder_states, task_loss
from searec.models.gensar.t5 import InferenceT5, new_t5
from searec.models.gensar.token_layout import TokenLayout
from searec.models.growth import Growth, Rows
from searec.models.search_space import DROPOUT, LEARNING_RATE, Choice, Range, SearchSpace
from searec.nn.cached_value import CachedValue
from searec.nn.losses import Losses
from searec.semantic_ids import beam
from searec.semantic_ids.code_config import PAPER_IDENTIFIERS, IdentifierSettings
from searec.semantic_ids.identifiers import Identifiers
from searec.semantic_ids.trie import Trie
from searec.semantic_ids.user_code_table import SIDES
from searec.semantic_ids.warm_codes import warm
from searec.text.tokenizer import EOS, PAD, Tokens

_CELLS_AT_ONCE = 1 << 22
_BUFFERS = ("spec", "tokenizer", "codes")
_TABLE = "t5.shared.weight"
_PLACES = "user_places"
_SPREAD, _RANGE = 2654435761, 1 << 32  # Knuth's multiplicative hash


class GenSARPaper(Model):
    """T5 over the user's newest feed clicks and searches, which writes the next item's identifier, code by code.

    A code competes with its siblings in the trie, a word with words. The behaviour token starts the decoder, so that
    all that is written is identifier (docs/decisions.md 34 to 36).
    """

    spec: Tensor  # JSON as bytes
    tokenizer: Tensor  # JSON as bytes
    codes: Tensor  # [2, I + 1, K] uint8 or int16
    user_places: Tensor  # [U + 1] int32, which of the tokens of users each user has, if there are any

    name = "gensar-paper"
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

        Attributes:
            tasks: those that it learns.
            pretrained: a T5 checkpoint by path or hub id; "" for one trained from the sizes below.
            vocabulary: most tokens of text, where the tokenizer is trained here.
            width, layers, heads, head_width, inner: of encoder and decoder alike.
            init: standard deviation of the first embeddings.
            warm_codes: embeddings of codes start where the RQ-VAE put the codes, not at random.
            feed, searches: newest feed clicks and search sessions read.
            query_tokens, text_tokens: read of a query, and of an item's text.
            user_tokens: users are hashed to so few tokens, one of which begins the prompt (TIGER); 0 for none.
            beam: identifiers in each step of a search.
            bfloat16: answer by linear layers in bfloat16, for sizes such as t5-small; training is as without.
            *_weight: of the tasks: next item, next query, searched item, pseudo-query to item, text to identifier and
                back.
            item_share: items drawn for each task about items, as a share of the batch.
            doc2query: a checkpoint that writes pseudo-queries; "" takes them from item texts.
            pseudo_queries: most per item.
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
        bfloat16: bool = False
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
        "default": {
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
        "default": {
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
        for name in (*_BUFFERS, _PLACES):
            self.register_buffer(name, None)
        self.t5: Any = None
        self.tokens: Tokens
        self.layout: TokenLayout
        self.prompts: PromptBuilder
        self._tries: list[Trie] = []
        self._corpus: ItemCorpusTokens | None = None
        self._cache = CachedValue[InferenceT5]()

    @property
    @override
    def needs(self) -> Needs:
        return Needs(feed=self.config.feed, searches=self.config.searches, search_clicks=1, queries=True)

    @property
    @override
    def candidate_limit(self) -> int:
        """The beam; items beyond it are found by chance."""
        return int(self.config.beam)

    @property
    def identifier_length(self) -> int:
        """Codes of an identifier."""
        return len(self.layout.sizes)

    # --- artifacts, state and items ---

    def load_artifacts(self, identifiers: Identifiers, tokens: Tokens, corpus: ItemCorpus, vectors: Tensor) -> None:
        """Load what was derived before the model learns, and draw its weights (from PyTorch's generator).

        Args:
            identifiers: of all items.
            tokens: makes tokens of texts.
            corpus: texts about the items.
            vectors: [T, E] where each code is among the RQ-VAE's latents, as `warm_codes` reads them.

        Raises:
            SettingsError: identifiers or texts of other items.
            DependencyError: transformers is not installed, or the checkpoint cannot be loaded.
        """
        config = self.config
        if identifiers.items != self.sizes.items or len(corpus.texts) != self.sizes.items:
            raise SettingsError(
                "identifiers do not fit the data",
                got=f"{identifiers.items} items",
                expected=f"{self.sizes.items} items",
            )
        text = tokens.size
        size = text + BEHAVIOURS + config.user_tokens + identifiers.tokens
        self.t5, shape, capacity = new_t5(config, size, start=text)
        spec = {"t5": shape, "text": text, "start": capacity - (size - text), "sizes": identifiers.sizes}
        spec |= {"shared": identifiers.shared, "one": identifiers.one}
        small = torch.uint8 if max(identifiers.sizes) <= 1 << 8 else torch.int16
        self.spec, self.tokenizer = _bytes(json.dumps(spec)), _bytes(tokens.text)
        self.codes = torch.from_numpy(identifiers.codes.astype(np.int32)).to(small)
        if config.user_tokens:
            users = torch.arange(self.sizes.users + 1)
            self.user_places = (users * _SPREAD % _RANGE % config.user_tokens).int()
        self._set_up()
        if config.warm_codes:
            warm(self.t5.shared.weight[-identifiers.tokens :], vectors, identifiers.books)
        self._corpus = ItemCorpusTokens(corpus, tokens, config.text_tokens, config.query_tokens)

    @override
    def state(self) -> dict[str, Tensor]:
        """Return what `Learner.state` does, the embedding table once only."""
        return {name: tensor for name, tensor in super().state().items() if name not in self._tied()}

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if self.t5 is None and all(name in state for name in _BUFFERS):
            for name in (*_BUFFERS, *([_PLACES] if _PLACES in state else [])):
                setattr(self, name, state[name])
            shape = json.loads(_text(self.spec))["t5"]
            self.t5 = new_t5(None, shape["vocab_size"], start=0, shape=shape)[0]
        super().load_state({**state, **{name: state[_TABLE] for name in self._tied() if _TABLE in state}})
        self._set_up()

    def _tied(self) -> list[str]:
        """Return other names of the embedding table."""
        if self.t5 is None:
            return []
        tied = ["t5.encoder.embed_tokens.weight", "t5.decoder.embed_tokens.weight"]
        return [*tied, "t5.lm_head.weight"] if self.t5.lm_head.weight is self.t5.shared.weight else tied

    def _set_up(self) -> None:
        """Make tries, tokens and prompts from the buffers."""
        spec, identifiers = json.loads(_text(self.spec)), self.identifiers
        self.tokens = Tokens(_text(self.tokenizer))
        self.layout = TokenLayout.of(spec["text"], spec["start"], self.config.user_tokens, identifiers)
        self._tries = [identifiers.trie(side) for side in range(1 if identifiers.one else len(SIDES))]
        self._set_prompts()

    def _set_prompts(self) -> None:
        blocks = torch.tensor(self.layout.blocks, device=self.codes.device)
        self.prompts = PromptBuilder(
            self.codes.long() + blocks[:, None],
            self.tokens,
            first=self.layout.first,
            user_tokens=self.config.user_tokens,
            user_places=self.user_places,
            query_tokens=self.config.query_tokens,
        )
        self.prompts.train(self.training)

    @property
    def identifiers(self) -> Identifiers:
        """The identifiers of all items."""
        spec = json.loads(_text(self.spec))
        return Identifiers(self.codes.cpu().numpy().astype(np.int32), tuple(spec["sizes"]), spec["shared"], spec["one"])

    def trie(self, task: Task) -> Trie:
        """Return the identifiers of a task."""
        side = 0 if len(self._tries) == 1 else SIDES.index(task)
        if self._tries[side].items.device != self.device:
            self._tries[side] = self._tries[side].to(self.device)
        return self._tries[side]

    def change_items(self, added: np.ndarray | None = None, removed: Sequence[int] = ()) -> None:
        """Add and remove items; no weight changes.

        Args:
            added: [2, n, K] identifiers of new items, which are numbered after the last one.
            removed: internal ids.

        Raises:
            DataError: an identifier is taken, or no item would be left.
        """
        if added is not None and added.shape[1]:
            identifiers = self.identifiers.with_items(added)
            self.codes = torch.from_numpy(identifiers.codes).to(self.codes.dtype).to(self.codes.device)
            numbers = np.arange(identifiers.items - added.shape[1] + 1, identifiers.items + 1)
            self._tries = [trie.with_items(added[side], numbers) for side, trie in enumerate(self._tries)]
            self._set_prompts()
        if removed:
            self._tries = [trie.without(removed) for trie in self._tries]

    @override
    def grown_state(self, growth: Growth, described: np.ndarray | None = None) -> dict[str, Tensor]:
        """Return the state with the identifiers of the items that are there now.

        Args:
            growth: to the data that has grown.
            described: [2, n, K] identifiers of the new items by internal id.
        """
        codes = growth.gather(self.codes, Rows("items", dim=1, new="zero"))
        new = growth.new("items")
        if described is not None and len(new):
            codes[:, torch.from_numpy(new).to(codes.device)] = torch.from_numpy(described).to(codes)
        state = {**self.state(), "codes": codes}
        return state | ({_PLACES: growth.gather(self.user_places, Rows("users"))} if self.config.user_tokens else {})

    # --- learning ---

    @override
    def loss(self, batch: Batch) -> Losses:
        """Return the mean negative log-likelihood per code, or per token, of each task that the batch has a part in."""
        parts: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for group in self.training_tasks(batch):
            for task, states in zip(group, decoder_states(self.t5, group), strict=True):
                parts[task.name] = task_loss(self.t5, task, states, self.layout, self.trie)
                weights[task.name] = task.weight
        return Losses(parts, weights)

    def training_tasks(self, batch: Batch) -> list[list[Seq2SeqTask]]:
        """Return the tasks of a training batch, in groups that are one pass each."""
        return TaskBuilder(self.config, self.layout, self.prompts, self.codes, self._corpus).tasks(batch)

    # --- scoring and retrieval ---

    @override
    def score(self, batch: Batch) -> Tensor:
        """Return log-probabilities as in `Model.score`; of a whole catalogue by writing every identifier."""
        candidates = batch.candidates
        if candidates is None:
            candidates = torch.arange(self.codes.shape[1], device=self.device).expand(len(batch), -1)
        ids, mask = self.prompts.users(batch, batch.task)
        trie = self.trie(batch.task)
        step = max(1, _CELLS_AT_ONCE // (candidates.shape[1] * max(self.layout.sizes)))
        parts = []
        for start in range(0, len(batch), step):
            rows = slice(start, start + step)
            writer = self._item_writer(_trimmed(ids[rows], mask[rows]), batch.task)
            parts.append(beam.score(writer, trie, candidates[rows].long()))
        scores = torch.cat(parts)
        if batch.candidates is None:
            scores[:, 0] = 0
        return scores

    @override
    @torch.no_grad()
    def retrieve(self, batch: Batch, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the k best items by beam search among the identifiers, with at least k beams; see `Model.retrieve`."""
        k = min(k, self.codes.shape[1] - 1)
        writer = self._item_writer(self.prompts.users(batch, batch.task), batch.task)
        return _padded(*beam.search(writer, self.trie(batch.task), max(self.config.beam, k), exclude), k)

    def _inference(self) -> InferenceT5:
        """The T5 with its weights as decoding multiplies by them, made once."""
        return self._cache(lambda: InferenceT5.of(self.t5, bfloat16=self.config.bfloat16), *self.t5.parameters())  # type: ignore[no-any-return]

    def _item_writer(self, prompts: Prompts, task: Task) -> PromptWriter:
        return PromptWriter(self._inference(), prompts, self.layout.mark(task), self.layout.heads(task))

    @property
    def suggests_queries(self) -> bool:
        """Whether it has learned to search."""
        return "search" in self.train_tasks

    def index_queries(self, counts: Mapping[str, int]) -> Trie:
        """Return queries to choose from in `suggest`; its items are their positions, from 1."""
        queries = list(counts)
        flat, lengths = self.tokens.ids(queries, self.config.query_tokens)
        codes = np.full((len(queries), int(lengths.max()) + 1), PAD)
        codes[np.arange(codes.shape[1]) < lengths[:, None]] = flat
        codes[np.arange(len(codes)), lengths] = EOS
        _, first = np.unique(codes, axis=0, return_index=True)  # texts may differ beyond the tokens that are read
        return Trie.build(codes[first], first + 1).to(self.device)

    @torch.no_grad()
    def suggest(self, batch: Batch, queries: Trie, k: int) -> tuple[Tensor, Tensor]:
        """Return the k most probable next queries of each user, by beam search among known ones.

        Args:
            batch: B requests of any task.
            queries: what `index_queries` returned.
            k: queries per user.

        Returns:
            Positions [B, k] in the queries, from 1, best first, 0 where there are no more; log-probabilities [B, k],
            -inf there.
        """
        heads = [(0, self.layout.text)] * queries.depth
        writer = PromptWriter(self._inference(), self.prompts.users(batch, "query"), self.layout.query_mark, heads)
        return _padded(*beam.search(writer, queries, max(self.config.beam, k)), k)


def _padded(ids: Tensor, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the first k columns, 0 and -inf where there are fewer."""
    short = max(0, k - ids.shape[1])
    return F.pad(ids[:, :k], (0, short)), F.pad(scores[:, :k], (0, short), value=-torch.inf)


def _trimmed(ids: Tensor, mask: Tensor) -> Prompts:
    width = max(1, int(mask.sum(1).max())) if len(mask) else 1
    return ids[:, :width], mask[:, :width]


def _bytes(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(text.encode(), dtype=np.uint8).copy())


def _text(data: Tensor) -> str:
    return data.cpu().numpy().tobytes().decode()
