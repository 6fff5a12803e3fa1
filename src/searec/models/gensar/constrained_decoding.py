"""What writes identifiers and queries for a generative model, step by step (`codes.beam.Writer`)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from searec.data.schema import Task
from searec.nn.t5_decoder import BeamDecoder
from searec.semantic_ids.user_code_table import SIDES

if TYPE_CHECKING:
    from searec.models.gensar.model import GenSAR


class IdentifierWriter:
    """Writes identifiers for a batch of prompts, code by code (`codes.beam.Writer`)."""

    def __init__(self, model: "GenSAR", ids: Tensor, mask: Tensor, task: Task) -> None:
        self.model, self.rows = model, len(ids)
        self.blocks, self.sizes = model.blocks[SIDES.index(task)], model.sizes_of_places
        self.decoder = BeamDecoder(model.t5.decoder, model.encode(ids, mask), mask, len(self.sizes))
        self.mark = model.mark(task)
        self.place = 0

    def step(self, codes: Tensor | None, parent: Tensor | None) -> Tensor:
        """[B, K, C] as `Writer.step`."""
        model, place = self.model, self.place
        first = torch.full((self.rows, 1), self.mark, device=model.device)
        tokens = first if codes is None else codes + self.blocks[place - 1]
        states = self.decoder.step(model.t5.shared(tokens), parent) * model.scale
        self.place += 1
        return states @ model.head(self.blocks[place], self.sizes[place]).T


class TextWriter:
    """Writes queries token by token (`codes.beam.Writer`)."""

    def __init__(self, model: "GenSAR", ids: Tensor, mask: Tensor, length: int) -> None:
        self.model, self.rows = model, len(ids)
        self.decoder = BeamDecoder(model.t5.decoder, model.encode(ids, mask), mask, length)

    def step(self, codes: Tensor | None, parent: Tensor | None) -> Tensor:
        """[B, K, V] as `Writer.step`."""
        model = self.model
        tokens = torch.full((self.rows, 1), model.query_mark, device=model.device) if codes is None else codes
        states = self.decoder.step(model.t5.shared(tokens), parent) * model.scale
        return states @ model.head(0, model.text).T
