"""gserec: users who hardly search, joined to those who do by shared preference codes (arXiv 2508.04145)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from searec.config import Count, DropoutRate, Natural, NonNegative, Positive, settings
from searec.data.batch import Batch, Needs
from searec.data.dataset import Sizes
from searec.data.schema import Task
from searec.errors import SettingsError
from searec.models.base import ItemEmbeddings, Model, Preset
from searec.models.search_space import DROPOUT, LEARNING_RATE, Choice, Range
from searec.nn.attention import DecoderLayer, EncoderLayer
from searec.nn.cached_value import Kept
from searec.nn.contrast import BilinearContrast, info_nce
from searec.nn.event_vectors import embed_events, hidden_at_random
from searec.nn.experts import mlp
from searec.nn.light_gcn import UserCodeGraphs
from searec.nn.losses import Losses, TargetLoss, target_loss
from searec.nn.pooling import age, masked_mean, mean_embedding
from searec.nn.scoring import CandidateScorer
from searec.nn.softmax import linear_cross_entropy
from searec.semantic_ids.code_config import PAPER, CodeSettings
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


class GSERec(ItemEmbeddings, Model):
    """Histories of both sides fused with the user's propagated codes, pooled by the candidate, scored by an MLP."""

    sentences: Tensor  # [Q + 1, query_width] float16, if queries are read as sentences

    name = "gserec"
    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    learns = "loss"
    artifact = "user_codes"
    role = "ranker"
    search_space: ClassVar = {
        "lr": LEARNING_RATE,
        "dropout": DROPOUT,
        "layers": Choice((0, 1, 2, 3)),
        "user_weight": Range(0.01, 1.0, log=True),
        "history_weight": Range(0.001, 0.1, log=True),
    }

    @settings
    class Config(CodeSettings):
        """How codes are made (`CodeSettings`), then the model.

        rec, src: newest feed clicks and search sessions read (R_u, S_u); src_clicks of a session; words of a query.
        layers: K of the light graph convolution; 0 leaves the graph out, and every user and code keeps its own embedding.
        query: a query is the mean of its words' embeddings, or a frozen sentence vector [query_width] through an MLP.
        loss: BCE of the target and each negative, as in the paper, or softmax over them.
        *_weight: of the contrasts between a user's two sides (L_U-CL) and of history with codes (L_His-CL), 0 to leave out.
        match: add the inner product of the candidate with the interests and the user's sides to the MLP's score, which learns
            products slowly; not in the paper.
        catalogue_weight: of a full softmax over the catalogue by the mean interests and the user's sides, which teaches the embeddings
            from every item at once; 0 leaves it out; not in the paper.
        user_dropout: share of training examples whose user's own embedding is hidden, so that codes alone must do.
        """

        width: Count = 64
        heads: Count = 2
        inner: Count = 64
        dropout: DropoutRate = 0.1
        attention_dropout: DropoutRate = 0.0
        init: Positive = 0.1
        rec: Count = 20
        src: Count = 20
        src_clicks: Count = 5
        words: Count = 8
        query: Literal["words", "sentence"] = "words"
        query_width: Count = 384
        layers: Natural = 2
        negatives: Count = 4
        loss: TargetLoss = "bce"
        user_weight: NonNegative = 0.1
        history_weight: NonNegative = 0.01
        temperature: Positive = 0.1
        match: bool = False
        catalogue_weight: NonNegative = 0.0
        user_dropout: DropoutRate = 0.0

    presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "small": {
            "width": 96,
            "dropout": 0.3,
            "init": 0.05,
            "loss": "softmax",
            "negatives": 16,
            "match": True,
            "catalogue_weight": 1.0,
            "user_dropout": 0.8,
        },
        "paper": {**PAPER, "attention_dropout": 0.1},
    }
    train_presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "small": {"epochs": 6, "batch": 512, "patience": 2, "lr": 3e-3, "schedule": "linear"},
        "paper": {"epochs": 100, "batch": 1024, "patience": 5, "weight_decay": 1e-5},
    }

    def __init__(self, config: Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        width = config.width
        layer: dict[str, Any] = {
            "heads": config.heads,
            "inner": config.inner,
            "dropout": config.dropout,
            "attention_dropout": config.attention_dropout,
        }
        self.item = nn.Embedding(sizes.items + 1, width, padding_idx=0)
        self.user = nn.Embedding(sizes.users + 1, width, padding_idx=0)
        self.graphs = UserCodeGraphs(sizes.users, config.levels, config.codes)
        self._propagated: Kept[tuple[Tensor, Tensor]] = Kept()
        self.code = nn.Embedding(self.graphs.count, width)
        self.position = nn.ModuleList(nn.Embedding(length, width) for length in (config.rec, config.src))
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
        self.scorer = CandidateScorer(width, sides=len(SIDES), users=len(SIDES), match=config.match)
        for table in tables:
            nn.init.normal_(table.weight, std=config.init)
            if table.padding_idx is not None:
                nn.init.zeros_(table.weight[table.padding_idx])

    @property
    def needs(self) -> Needs:
        config = self.config
        return Needs(rec=config.rec, src=config.src, src_clicks=config.src_clicks, words=config.words)

    @property
    def negatives(self) -> int:
        return int(self.config.negatives)

    def load_artifacts(self, codes: UserCodes, known: Tensor, sentences: Tensor | None = None) -> None:
        """Take up what was derived from the training events before the model learns.

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

    def load_state(self, state: Any) -> None:
        super().load_state(state)
        self.graphs.link(self.graphs.codes, self.graphs.known)

    def propagated(self) -> tuple[Tensor, Tensor]:
        """What users read from [M + 1, D] and the propagated codes [M + 1, D]; see `UserCodeGraphs.propagate`."""
        users, codes, depth = self.user.weight, self.code.weight, self.config.layers
        value: tuple[Tensor, Tensor] = self._propagated(
            lambda: self.graphs.propagate(users, codes, depth), users, codes, self.graphs.gram
        )
        return value

    def user_sides(self, batch: Batch, nodes: Tensor, read: Tensor) -> Tensor:
        """[B, 2, D] e_u^r and e_u^s: own embedding and codes propagated."""
        own = self.user(batch.user) * self.graphs.known[batch.user.long(), None]
        if self.training and self.config.user_dropout:
            own = hidden_at_random(own, self.config.user_dropout)
        return self.graphs.embed(own, nodes, read, self.config.layers)

    def events(self, batch: Batch, sentences: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """What `embed_events` gives, with queries read as configured."""
        if self.config.query == "words":
            queries = mean_embedding(self.word, batch.words)  # (Q, D): each distinct query once
        else:
            sentences = self.sentences[batch.query_id.long()] if sentences is None else sentences
            queries = self.sentence(sentences.to(self.item.weight.dtype))
        return embed_events(batch, self.item, queries)

    def sides(
        self, batch: Batch, nodes: Tensor, mean: Tensor, sentences: Tensor | None = None
    ) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Both histories encoded and fused with the user's codes.

        Returns:
            fused states [B, L, D] and [B, S, D]; presence; for each side the mean encoded history before fusion and the mean code, [B, D].
        """
        events, here = self.events(batch, sentences)
        codes = F.embedding(nodes, mean)  # (B, 2, L, D)
        fused, views = [], []
        for side, (x, present) in enumerate(zip(events, here, strict=True)):
            places: nn.Embedding = self.position[side]  # type: ignore[assignment]
            own = self.encode[side](x + places(age(present, places.num_embeddings)), present[:, None])
            some = nodes[:, side] < self.graphs.count
            fused.append(self.fuse[side](own, present[:, None], codes[:, side], some[:, None]))
            views.append((masked_mean(own, present), codes[:, side].mean(1)))
        return fused, here, views

    def loss(self, batch: Batch) -> Losses:
        """BCE (or softmax) of target and negatives, L_U-CL between the user's sides, L_His-CL of histories with codes."""
        config = self.config
        read, mean = self.propagated()
        nodes = self.graphs.nodes[batch.user.long()]
        users = self.user_sides(batch, nodes, read)
        fused, here, views = self.sides(batch, nodes, mean)
        logits = self.scorer(self.item.weight, batch.candidates, fused, here, users)
        parts = {config.loss: target_loss(logits, config.loss)}
        weights = dict.fromkeys(parts, 1.0)
        if config.catalogue_weight:
            interest = users.sum(1) + sum(
                masked_mean(states, present) for states, present in zip(fused, here, strict=True)
            )
            parts["catalogue"] = linear_cross_entropy(interest, self.item.weight[1:], batch.target - 1)
            weights["catalogue"] = config.catalogue_weight
        coded = (nodes < self.graphs.count).all(2)  # (B, 2)
        if self.user_contrast is not None:
            rows = first_rows(batch.user)
            rows = rows[coded[rows].all(1)]
            parts["user_contrast"] = self.user_contrast(users[rows, SRC], users[rows, REC])
            weights["user_contrast"] = config.user_weight
        if config.history_weight:
            same = batch.user[:, None] == batch.user  # a user's other examples have the same codes
            for side, (history, code) in enumerate(views):
                name = f"history_contrast_{SIDES[side]}"
                parts[name] = info_nce(history, code, config.temperature, here[side].any(1) & coded[:, side], same)
                weights[name] = config.history_weight
        return Losses(parts, weights)

    @torch.no_grad()
    def user_embeddings(self, users: Tensor) -> Tensor:
        """Return [n, 2, D] e_u^r and e_u^s of users [n] by internal id."""
        users = users.long()
        read, _ = self.propagated()
        own = self.user(users) * self.graphs.known[users, None]
        return self.graphs.embed(own, self.graphs.nodes[users], read, self.config.layers)

    def score_new_users(self, batch: Batch, users: NewUsers) -> Tensor:
        """Return scores [B, I + 1] of users who were not there at training (their id in the batch is 0)."""
        return self.score(batch, users)

    def score(self, batch: Batch, new_users: NewUsers | None = None) -> Tensor:
        """Scores as in `Model.score`; of users who were not there at training with what is known of them (their user is 0)."""
        read, mean = self.propagated()
        if new_users is None:
            nodes, sentences = self.graphs.nodes[batch.user.long()], None
        else:
            nodes, sentences = self.graphs.nodes_of(new_users.codes), new_users.sentences
        fused, here, _ = self.sides(batch, nodes, mean, sentences)
        return self.scorer(self.item.weight, batch.candidates, fused, here, self.user_sides(batch, nodes, read))  # type: ignore[no-any-return]


def first_rows(values: Tensor) -> Tensor:
    """Rows [n] where each distinct value of `values` [B] stands first, by value."""
    ordered, order = values.sort(stable=True)
    return order[torch.cat((ordered.new_ones(1, dtype=torch.bool), ordered[1:] != ordered[:-1]))]
