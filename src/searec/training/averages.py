"""Moving averages of weights, which are validated and kept in place of the weights of single steps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

_KEY = "average"


class WeightAverages:
    """Exponential moving averages (Polyak and Juditsky, 1992) of weights.

    Args:
        weights: of the model, which change in place.
        decay: of a step; 0 keeps no averages. It starts low: at most (1 + step) / (10 + step).
    """

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self._weights, self._decay = list(weights), decay
        self._averages: list[Tensor] = []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move each average towards its weight.

        Args:
            step: steps done so far.
        """
        if not self._decay:
            return
        if not self._averages:
            self._averages = [weight.detach().clone() for weight in self._weights]
        decay = min(self._decay, (1 + step) / (10 + step))
        follow = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        follow(self._averages, [weight.detach() for weight in self._weights], step)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """In the block the weights are their averages, if there are any."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(self._weights, self._averages, strict=False):
            now = weight.clone()
            weight.copy_(average)
            average.copy_(now)

    def tensors(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the averages as "<weight>.average", for a checkpoint.

        Args:
            names: of the weights.
        """
        return {f"{name}.{_KEY}": part for name, part in zip(names, self._averages, strict=False)}

    def restore(self, names: Sequence[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take what `tensors` returned out of a checkpoint, and return the rest.

        Args:
            names: of the weights.
            tensors: of the optimizer and the averages.
        """
        keys = [f"{name}.{_KEY}" for name in names]
        if keys and keys[0] in tensors:
            pairs = zip(keys, self._weights, strict=True)
            self._averages = [tensors[key].to(weight.device) for key, weight in pairs]
        return {name: part for name, part in tensors.items() if name not in keys}
