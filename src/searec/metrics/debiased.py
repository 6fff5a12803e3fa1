"""Accuracy without position bias: each request counts by how seldom the position of its click is examined.

A click at a position that few users look at speaks for all who did not look. With weights 1 / chance of examination the
sum over clicks is in expectation the sum over all relevant results that were shown (Joachims, Swaminathan and Schnabel,
WSDM 2017). IPS divides it by the number of requests, SNIPS by the sum of the weights (Swaminathan and Joachims, NeurIPS
2015), which keeps it in [0, 1] and lowers its variance.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from searec.data.schema import Task
from searec.metrics.accuracy import MRR, NDCG
from searec.metrics.base import Floats, RankMetric, Results


class Weighted(RankMetric):
    """A rank metric of which each request has a weight; a subclass also inherits what it weights.

    Attributes:
        is_normalised: whether the weights are divided by their mean.
    """

    reads = "weights"
    tasks: ClassVar[tuple[Task, ...]] = ("search",)
    is_normalised: ClassVar[bool] = True

    def values(self, results: Results) -> Floats:
        """Return one value per request, [R]; their mean is the figure.

        Raises:
            DataError: there are no weights.
        """
        weights: Floats = self.required(results, "weights")
        values = weights * self.of_ranks(results.ranks)
        return values / np.mean(weights) if self.is_normalised else values


@dataclass(frozen=True)
class SNIPSNDCG(Weighted, NDCG):
    """SNIPS-NDCG@k = sum of weight x NDCG@k / sum of weights, in [0, 1].

    >>> results = Results(np.array([1.0, 3.0]), weights=np.array([1.0, 4.0]))
    >>> round(float(SNIPSNDCG(k=10).values(results).mean()), 4)  # (1 x 1 + 4 x 0.5) / 5
    0.6
    """

    key, title = "snips-ndcg", "SNIPS-NDCG"
    description = "NDCG without position bias: the mean over clicks, weighted by 1 / chance of examination."


@dataclass(frozen=True)
class SNIPSMRR(Weighted, MRR):
    """SNIPS-MRR = sum of weight / rank, over the sum of weights, in (0, 1].

    >>> round(float(SNIPSMRR().values(Results(np.array([1.0, 2.0]), weights=np.array([1.0, 4.0]))).mean()), 4)
    0.6
    """

    key, title = "snips-mrr", "SNIPS-MRR"
    description = "MRR without position bias: the mean over clicks, weighted by 1 / chance of examination."


@dataclass(frozen=True)
class IPSNDCG(Weighted, NDCG):
    """IPS-NDCG@k = sum of weight x NDCG@k / requests; above 1 where clicks come from below the top.

    >>> results = Results(np.array([1.0, 3.0]), weights=np.array([1.0, 4.0]))
    >>> float(IPSNDCG(k=10).values(results).mean())  # (1 x 1 + 4 x 0.5) / 2
    1.5
    """

    key, title, is_normalised = "ips-ndcg", "IPS-NDCG", False
    description = "The sum of NDCG over clicks, each times 1 / chance of examination, for each request."


@dataclass(frozen=True)
class IPSMRR(Weighted, MRR):
    """IPS-MRR = sum of weight / rank, over the number of requests.

    >>> float(IPSMRR().values(Results(np.array([1.0, 2.0]), weights=np.array([1.0, 4.0]))).mean())
    1.5
    """

    key, title, is_normalised = "ips-mrr", "IPS-MRR", False
    description = "The sum of 1 / rank over clicks, each times 1 / chance of examination, for each request."
