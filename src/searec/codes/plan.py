"""How user codes are made: the settings of GSERec's first two stages (arXiv 2508.04145, gserec.md, Stages 1 and 2)."""

from typing import Literal

from searec.settings import Count, Natural, NonNegative, Positive, settings


@settings
class CodeSettings:
    """Histories to text to vectors to codes.

    summaries: who writes a user's history as text: "offline", by rule and without a model, or "chat", a language model.
    chat_model: its name on the OpenAI-compatible server (its address and key come from the environment).
    summary_events: newest events of a side that the text tells.
    encoder: "minilm", or a sentence-transformers model by name or path.
    levels, codes: codebooks a side (L), codes in each (N_c). code_width: of a codebook's vectors.
    code_*: training of the RQ-VAE; code_standardise takes mean and scale out of the vectors first, which the paper does not.
    sinkhorn: epsilon of balanced assignment in training, 0 for plain nearest codes.
    """

    summaries: Literal["offline", "chat"] = "offline"
    chat_model: str = ""
    summary_events: Count = 20
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


PAPER = {"summaries": "chat", "encoder": "BAAI/bge-m3", "code_standardise": False, "code_epochs": 500, "code_batch": 1024}
"""The paper's settings over these defaults; the model's name is to be given."""
