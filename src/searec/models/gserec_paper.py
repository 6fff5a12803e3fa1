"""gserec-paper: users who hardly search, joined to those who do by shared codes, as published (arXiv 2508.04145)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from searec.config import Count, Natural, NonNegative, Positive, settings
from searec.data.batch import Batch
from searec.data.dataset import Sizes
from searec.data.schema import Task
from searec.errors import SettingsError
from searec.models.base import Preset
from searec.models.growth import Growth, Rows
from searec.models.search_space import DROPOUT, LEARNING_RATE, Choice, Range
from searec.models.two_histories import TwoHistoriesConfig, TwoHistoriesModel
from searec.nn.attention import DecoderLayer, EncoderLayer
from searec.nn.cached_value import CachedValue
from searec.nn.contrast import BilinearContrast
from searec.nn.event_vectors import embed_events
from searec.nn.experts import mlp
from searec.nn.light_gcn import UserCodeGraphs
from searec.nn.losses import Losses, target_loss
from searec.nn.pooling import age, masked_mean, mean_embedding
from searec.nn.scoring import CandidateScorer
from searec.semantic_ids.code_config import PAPER, SINKHORN, CodeSettings
from searec.semantic_ids.user_code_table import SIDES, UserCodes

REC, SRC = SIDES.index("recommend"), SIDES.index("search")


@dataclass(frozen=True)
class NewUsers:
    """Users who were not there at training; their embedding is one propagation step from their codes.

    codes: [B, 2, L], -1 where there is no history on a side.
    sentences: [Q, query_width] vectors of the batch's queries, where the model reads queries so.
    """

    codes: Tensor
    sentences: Tensor | None = None


class GSERecPaper(TwoHistoriesModel):
    """Histories of both sides fused with the user's propagated codes, pooled by the candidate, scored by an MLP."""

    sentences: Tensor  # [Q + 1, query_width] float16, if queries are read as sentences

    name = "gserec-paper"
    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    negatives_by = "events"
    artifact = "user_codes"
    rows: ClassVar[Mapping[str, Rows]] = {
        **TwoHistoriesModel.rows,
        "sentences": Rows("queries"),
        "graphs.codes": Rows("users"),
        "graphs.known": Rows("users"),
    }
    search_space: ClassVar = {
        "lr": LEARNING_RATE,
        "dropout": DROPOUT,
        "layers": Choice((0, 1, 2, 3)),
        "user_weight": Range(0.01, 1.0, log=True),
        "history_weight": Range(0.001, 0.1, log=True),
    }

    @settings
    class Config(CodeSettings, TwoHistoriesConfig):
        """How codes are made (`CodeSettings`), the sizes, then the mechanism.

        Attributes:
            query: a query is the mean of its words' embeddings, or a frozen sentence vector through an MLP.
            query_width: of the sentence vectors.
            layers: K of the light graph convolution; 0 leaves the graph out, and every user and code keeps its own
                embedding.
            user_weight: of the contrast between a user's two sides (L_U-CL), 0 to leave it out.
            history_weight: of the contrast of histories with codes (L_His-CL), 0 to leave it out.
            temperature: at first, of all three contrasts, each of which learns its own.
        """

        text_fallback: bool = True
        sinkhorn: NonNegative = SINKHORN
        searches: Count = 20
        query: Literal["words", "sentence"] = "words"
        query_width: Count = 384
        layers: Natural = 2
        user_weight: NonNegative = 0.1
        history_weight: NonNegative = 0.01
        temperature: Positive = 0.1

    presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "default": {},
        "paper": PAPER,
    }

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        width, layer = config.width, self.layer_sizes
        self.item = nn.Embedding(sizes.items + 1, width, padding_idx=0)
        self.user = nn.Embedding(sizes.users + 1, width, padding_idx=0)
        self.graphs = UserCodeGraphs(sizes.users, config.levels, config.codes)
        self._propagated: CachedValue[tuple[Tensor, Tensor]] = CachedValue()
        self.code = nn.Embedding(self.graphs.count, width)
        self.position = nn.ModuleList(nn.Embedding(length, width) for length in (config.feed, config.searches))
        tables = [self.item, self.user, self.code, *self.position]
        if config.query == "words":
            self.word = nn.Embedding(sizes.words + 1, width, padding_idx=0)
            tables.append(self.word)
        else:
            self.sentence = mlp(config.query_width, width, width)
            self.register_buffer("sentences", torch.zeros(sizes.queries + 1, config.query_width, dtype=torch.float16))
        self.encode = nn.ModuleList(EncoderLayer(width, **layer) for _ in SIDES)
        self.fuse = nn.ModuleList(DecoderLayer(width, **layer) for _ in SIDES)
        self.user_contrast = BilinearContrast(width, config.temperature) if config.user_weight else None
        self.history_contrast = nn.ModuleList(
            BilinearContrast(width, config.temperature) for _ in SIDES if config.history_weight
        )
        self.scorer = CandidateScorer(width, sides=len(SIDES), users=len(SIDES), dropout=config.dropout)
        self.draw_embeddings(*tables)

    def load_artifacts(self, codes: UserCodes, known: Tensor, sentences: Tensor | None = None) -> None:
        """Load what was derived from the training events before the model learns.

        Args:
            codes: of every user.
            known: [U + 1] bool, users that were there at training; others have codes, but are no part of the graphs.
            sentences: [Q + 1, query_width] frozen vectors of the queries, if `query` is "sentence".

        Raises:
            SettingsError: codes or vectors are not of the configured size.
        """
        config = self.config
        if (codes.levels, codes.size, codes.users) != (config.levels, config.codes, self.sizes.users):
            raise SettingsError(
                "user codes do not fit the model",
                got=f"{codes.users} users, {codes.levels} x {codes.size}",
                expected=f"{self.sizes.users} users, {config.levels} x {config.codes}",
            )
        device = self.code.weight.device
        self.graphs.link(torch.from_numpy(codes.codes.copy()).to(device), known.to(device))
        if config.query == "sentence":
            if sentences is None or sentences.shape != self.sentences.shape:
                raise SettingsError(
                    "query vectors do not fit the model",
                    got="none" if sentences is None else list(sentences.shape),
                    expected=list(self.sentences.shape),
                    remedy="set query_width to the encoder's width",
                )
            self.sentences.copy_(sentences)

    @override
    def load_state(self, state: Any) -> None:
        super().load_state(state)
        self.graphs.link(self.graphs.codes, self.graphs.known)

    @override
    def grown_state(self, growth: Growth, described: "NewUsers | None" = None) -> dict[str, Tensor]:
        """Return the state with codes of the new users, who read from the graphs and are no part of them.

        Args:
            growth: to the data that has grown.
            described: codes of the new users by internal id, and vectors of the new queries.
        """
        state = super().grown_state(growth)
        new = torch.from_numpy(growth.new("users")).to(self.device)
        state["graphs.known"][new] = False
        if described is not None:
            state["graphs.codes"][new] = described.codes.to(state["graphs.codes"])
            if described.sentences is not None:
                queries = torch.from_numpy(growth.new("queries")).to(self.device)
                state["sentences"][queries] = described.sentences.to(state["sentences"])
        return state

    def propagated(self) -> tuple[Tensor, Tensor]:
        """What users read from [M + 1, D] and the propagated codes [M + 1, D]; see `UserCodeGraphs.propagate`."""
        users, codes, depth = self.user.weight, self.code.weight, self.config.layers
        value: tuple[Tensor, Tensor] = self._propagated(
            lambda: self.graphs.propagate(users, codes, depth), users, codes, self.graphs.gram
        )
        return value

    def user_sides(self, batch: Batch, nodes: Tensor, read: Tensor) -> Tensor:
        """Return e_u^r and e_u^s [B, 2, D]: the user's embedding and the propagated codes.

        Args:
            batch: B requests.
            nodes: [B, 2, L] the users' codes as nodes of the graph.
            read: what users read from, as `propagated` returns it.
        """
        own_embedding = self.user(batch.user) * self.graphs.known[batch.user.long(), None]
        return self.graphs.embed(own_embedding, nodes, read, self.config.layers)

    def events(self, batch: Batch, sentences: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Return what `embed_events` does, with queries read as configured.

        Args:
            batch: B requests.
            sentences: [Q, query_width] vectors of its queries, if they are not those of the dataset.
        """
        if self.config.query == "words":
            queries = mean_embedding(self.word, batch.words)  # (Q, D): each distinct query once
        else:
            sentences = self.sentences[batch.query_id.long()] if sentences is None else sentences
            queries = self.sentence(sentences.to(self.item.weight.dtype))
        return embed_events(batch, self.item, queries)

    def sides(
        self, batch: Batch, nodes: Tensor, mean: Tensor, sentences: Tensor | None = None
    ) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Encode both histories and fuse them with the user's codes.

        Args:
            batch: B requests.
            nodes: [B, 2, L] the users' codes as nodes of the graph.
            mean: propagated codes, as `propagated` returns them.
            sentences: as of `events`.

        Returns:
            Fused states [B, L, D] and [B, S, D]; presence; per side the mean encoded history before fusion and the mean
            code, [B, D].
        """
        events, here = self.events(batch, sentences)
        codes = F.embedding(nodes, mean)  # (B, 2, L, D)
        fused, views = [], []
        for side, (x, present) in enumerate(zip(events, here, strict=True)):
            places: nn.Embedding = self.position[side]  # type: ignore[assignment]
            encoded = self.encode[side](x + places(age(present, places.num_embeddings)), present[:, None])
            has_code = nodes[:, side] < self.graphs.count
            fused.append(self.fuse[side](encoded, present[:, None], codes[:, side], has_code[:, None]))
            views.append((masked_mean(encoded, present), codes[:, side].mean(1)))
        return fused, here, views

    @override
    def loss(self, batch: Batch) -> Losses:
        """Return the target's losses, L_U-CL between the user's sides, and L_His-CL of histories with codes."""
        config = self.config
        read, mean = self.propagated()
        nodes = self.graphs.nodes[batch.user.long()]
        users = self.user_sides(batch, nodes, read)
        fused, here, views = self.sides(batch, nodes, mean)
        logits = self.scorer(self.item.weight, batch.candidates, fused, here, users)
        parts, weights = {"bce": target_loss(logits, "bce")}, {"bce": 1.0}
        coded = (nodes < self.graphs.count).all(2)  # (B, 2)
        if self.user_contrast is not None:
            both = coded.all(1)
            parts["user_contrast"] = self.user_contrast(users[both, SRC], users[both, REC])
            weights["user_contrast"] = config.user_weight
        for side, contrast in enumerate(self.history_contrast):
            name = f"history_contrast_{SIDES[side]}"
            rows = here[side].any(1) & coded[:, side]
            history, code = views[side]
            parts[name] = contrast(history[rows], code[rows])
            weights[name] = config.history_weight
        return Losses(parts, weights)

    @torch.no_grad()
    def user_embeddings(self, users: Tensor) -> Tensor:
        """Return [n, 2, D] e_u^r and e_u^s of users [n] by internal id."""
        users = users.long()
        read, _ = self.propagated()
        own_embedding = self.user(users) * self.graphs.known[users, None]
        return self.graphs.embed(own_embedding, self.graphs.nodes[users], read, self.config.layers)

    def score_new_users(self, batch: Batch, users: NewUsers) -> Tensor:
        """Return scores [B, I + 1] of users who came after the training (their id in the batch is 0).

        Args:
            batch: B requests.
            users: what is known of them.
        """
        return self.score(batch, users)

    @override
    def score(self, batch: Batch, new_users: NewUsers | None = None) -> Tensor:
        """Return scores as `Model.score`; with `new_users`, of users who came after the training (their id is 0)."""
        read, mean = self.propagated()
        if new_users is None:
            nodes, sentences = self.graphs.nodes[batch.user.long()], None
        else:
            nodes, sentences = self.graphs.nodes_of(new_users.codes), new_users.sentences
        fused, here, _ = self.sides(batch, nodes, mean, sentences)
        return self.scorer(self.item.weight, batch.candidates, fused, here, self.user_sides(batch, nodes, read))  # type: ignore[no-any-return]
