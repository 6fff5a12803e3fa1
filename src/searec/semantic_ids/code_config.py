"""Settings of user codes (arXiv 2508.04145) and of item identifiers (arXiv 2504.05730)."""

from typing import Annotated, Literal

from pydantic import Field

from searec.config import Count, Natural, NonNegative, Positive, settings


@settings
class CodeSettings:
    """Histories to text to vectors to codes.

    summaries: how a user's history is written as text: "offline", by rule and without a model, or "chat", a language
        model.
    chat_model: its name on the OpenAI-compatible server (its address and key come from the environment).
    summary_events: newest events of a side that the text tells.
    text_fallback: a user without a history on one side has the text of the other side there, and so codes on both.
    encoder: "minilm", or a sentence-transformers model by name or path.
    levels, codes: codebooks a side (L), codes in each (N_c). code_width: of a codebook's vectors.
    code_*: training of the RQ-VAE; code_standardise removes mean and scale from the vectors first (not in the paper).
    sinkhorn: epsilon of balanced assignment at the last level in training, 0 for plain nearest codes.
    """

    summaries: Literal["offline", "chat"] = "offline"
    chat_model: str = ""
    summary_events: Count = 20
    text_fallback: bool = False
    encoder: str = "minilm"
    levels: Count = 4
    codes: Count = 256
    code_width: Count = 32
    code_standardise: bool = True
    code_epochs: Count = 40
    code_batch: Count = 256
    code_lr: Positive = 1e-3
    code_weight_decay: NonNegative = 1e-7
    code_clip: NonNegative = 1.0
    code_contrast: NonNegative = 1e-4
    code_temperature: Positive = 0.1
    reseed_every: Natural = 20
    sinkhorn: NonNegative = 0.0


@settings
class IdentifierSettings:
    """Items to vectors to identifiers.

    scheme: "joint", both vectors with shared and specific codebooks; "semantic" or "collaborative", one of them for
        both tasks; "bi-encoder", one vector tuned on both tasks (arXiv 2508.10478).
    encoder: of item texts, "minilm" or a sentence-transformers model by name or path.
    collaborative: source of behaviour vectors: "unisar", a joint model trained first, or "svd" of clicks, in seconds.
    collaborative_width: of "svd".
    shared, specific: codebooks of both identifiers (L_m) and of each (L_n); other schemes have shared + specific in
        one.
    quantiser: "rq-vae", trained; or "k-means" of the residuals of principal components, in seconds.
    codes: in each codebook; shared_codes: in the shared ones, 0 for as many. Few shared codes leave the specific ones
        something to decide. code_width: of a side's latent; shared codebooks are as wide as both.
    code_*: training of the RQ-VAE; code_standardise removes mean and scale from the vectors first (not in the paper).
        Small catalogues get more epochs, until there are `code_least` steps.
    sinkhorn, sinkhorn_rounds: epsilon and rounds of giving colliding items other last codes.
    apart: items that still collide get an extra "code", as in the paper, which makes every identifier longer; or the
        "nearest" free last code, which does not.
    """

    scheme: Literal["joint", "semantic", "collaborative", "bi-encoder"] = "joint"
    encoder: str = "minilm"
    collaborative: Literal["unisar", "svd"] = "svd"
    collaborative_width: Count = 128
    quantiser: Literal["rq-vae", "k-means"] = "rq-vae"
    shared: Natural = 2
    specific: Natural = 2
    codes: Annotated[int, Field(ge=2, le=1 << 15)] = 256
    shared_codes: Natural = 0
    code_width: Count = 32
    code_standardise: bool = True
    code_epochs: Count = 60
    code_batch: Count = 256
    code_least: Natural = 600
    code_lr: Positive = 1e-3
    code_weight_decay: NonNegative = 1e-5
    reseed_every: Natural = 20
    sinkhorn: Positive = 0.003
    sinkhorn_rounds: Natural = 20
    apart: Literal["code", "nearest"] = "code"


SINKHORN = 0.0015
"""As published: 0.003 of distances scaled to [-1, 1], where ours are to [0, 1]."""
PAPER = {
    "summaries": "chat",
    "encoder": "BAAI/bge-m3",
    "code_standardise": False,
    "code_epochs": 500,
    "code_batch": 1024,
}
"""The paper's settings of user codes over the defaults; the chat model's name is to be given."""
PAPER_IDENTIFIERS = {
    "encoder": "BAAI/bge-base-en-v1.5",
    "collaborative": "unisar",
    "code_standardise": False,
    "code_epochs": 500,
    "code_batch": 1024,
    "code_least": 0,
}
"""The paper's settings of identifiers over the defaults."""
