"""Writing identifiers and queries step by step, for the beam search among those that exist."""

from collections.abc import Sequence

import torch
from torch import Tensor

from searec.models.gensar.prompt_builder import Prompts
from searec.models.gensar.t5 import InferenceT5, encode, head, head_scale
from searec.nn.t5_decoder import BeamDecoder


class PromptWriter:
    """Writes code by code, or token by token, after a batch of prompts (`semantic_ids.beam.CodeDecoder`).

    Args:
        t5: with its weights as they are multiplied by.
        prompts: what is written after.
        start: the token that starts the decoder.
        heads: for each step, the first token that may be written and how many follow it.
    """

    def __init__(self, t5: InferenceT5, prompts: Prompts, start: int, heads: Sequence[tuple[int, int]]) -> None:
        ids, mask = prompts
        self._t5, self._start, self._heads, self._rows = t5, start, heads, len(ids)
        self._decoder = BeamDecoder(t5.decoder, encode(t5, ids, mask), mask, len(heads))
        self._step = 0

    def step(self, codes: Tensor | None, parent: Tensor | None) -> Tensor:
        """Return a score for each code that may come next.

        Args:
            codes: [B, K] what each beam wrote last; None in the first step, which has one beam per prompt.
            parent: [B, K] the beam of the step before that each one continues.

        Returns:
            [B, K, C] up to a constant per beam.
        """
        if codes is None:
            tokens = torch.full((self._rows, 1), self._start, device=self._t5.model.device)
        else:
            tokens = codes + self._heads[self._step - 1][0]
        states = self._decoder.step(self._t5.model.shared(tokens), parent) * head_scale(self._t5.model)
        first, count = self._heads[self._step]
        self._step += 1
        return states @ head(self._t5.model, first, count).T
