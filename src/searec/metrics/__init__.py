"""Metrics as objects with a depth: NDCG(k=20), Recall(k=50). docs/metrics.md lists them and says how to add one."""

from collections.abc import Sequence
from dataclasses import MISSING, fields

from searec.data.schema import Task
from searec.errors import SettingsError
from searec.metrics.accuracy import MRR, NDCG, Hit, Recall
from searec.metrics.base import Metric, RankMetric, RequestMetric, Results, TotalMetric
from searec.plugins import Registry

__all__ = [
    "ACCURACY",
    "DEBIASED",
    "DEFAULT",
    "METRICS",
    "MRR",
    "NDCG",
    "Hit",
    "Metric",
    "RankMetric",
    "Recall",
    "RequestMetric",
    "Results",
    "TotalMetric",
    "applicable",
    "parse_metrics",
    "request_metrics",
    "total_metrics",
]

METRICS = Registry(
    "metric",
    {
        "hit": "searec.metrics.accuracy:Hit",
        "recall": "searec.metrics.accuracy:Recall",
        "ndcg": "searec.metrics.accuracy:NDCG",
        "mrr": "searec.metrics.accuracy:MRR",
        "novelty": "searec.metrics.novelty:Novelty",
        "diversity": "searec.metrics.diversity:Diversity",
        "enr": "searec.metrics.exposure:ExposureNovelty",
        "serendipity": "searec.metrics.exposure:Serendipity",
        "coverage": "searec.metrics.coverage:Coverage",
        "gini": "searec.metrics.coverage:Gini",
        "tail": "searec.metrics.coverage:LongTail",
        "cnr": "searec.metrics.exposure:ClickNovelty",
        "ips-ndcg": "searec.metrics.debiased:IPSNDCG",
        "ips-mrr": "searec.metrics.debiased:IPSMRR",
        "snips-ndcg": "searec.metrics.debiased:SNIPSNDCG",
        "snips-mrr": "searec.metrics.debiased:SNIPSMRR",
    },
    group="searec.metrics",
)
ACCURACY = "hit@1,hit@5,hit@10,ndcg@5,ndcg@10,mrr"
DEFAULT = f"{ACCURACY},novelty@10,diversity@10,enr@10,serendipity@10,coverage@10,gini@10,cnr@10"
"""What is measured unless other metrics are named."""
DEBIASED = "snips-ndcg@10,snips-mrr"
"""What is measured beside it of searches whose result pages the log holds."""


def parse_metrics(metrics: "str | Sequence[str | Metric]") -> tuple[Metric, ...]:
    """Return metric objects from names with a depth, each once and in order.

    Args:
        metrics: "ndcg@20,recall@50", or names and metric objects.

    Raises:
        SettingsError: nothing is named, a metric is unknown (the nearest is named), or its depth is missing or wrong.

    >>> [metric.name for metric in parse_metrics("ndcg@20, mrr")]
    ['ndcg@20', 'mrr']
    """
    parts = metrics.split(",") if isinstance(metrics, str) else metrics
    parsed = [part if isinstance(part, Metric) else _parse_one(part.strip()) for part in parts if part != ""]
    if not parsed:
        raise SettingsError("no metric is named", got=repr(metrics), expected="names such as ndcg@10,recall@50")
    return tuple(dict.fromkeys(parsed))


def _parse_one(text: str) -> Metric:
    key, at, depth = text.partition("@")
    kind: type[Metric] = METRICS.named(key)
    depths = [field for field in fields(kind) if field.name == "k"]
    if at and not depths:
        raise SettingsError(f"the metric {key!r} has no depth", got=repr(text), expected=key)
    if not at:
        if depths and depths[0].default is MISSING:
            raise SettingsError(f"the metric {key!r} needs a depth", got=repr(text), expected=f"{key}@10, for example")
        return kind()
    if not depth.isdecimal():
        raise SettingsError(f"the depth of {key!r} is not a whole number", got=repr(text), expected=f"{key}@10")
    return kind(k=int(depth))  # type: ignore[call-arg]


def applicable(metrics: "str | Sequence[str | Metric]", task: Task, protocol: str) -> tuple[Metric, ...]:
    """Return the metrics that are defined for a task and protocol.

    Args:
        metrics: as for `parse_metrics`.
        task: "recommend" or "search".
        protocol: "sampled" or "full".

    Raises:
        SettingsError: none of them is defined there.
    """
    parsed = parse_metrics(metrics)
    defined = tuple(metric for metric in parsed if metric.applies(task, protocol))
    if not defined:
        raise SettingsError(
            f"no metric named is defined for {task} in the {protocol} protocol",
            got=", ".join(metric.name for metric in parsed),
            remedy="add a metric of ranks, such as ndcg@10"
            + ("" if protocol == "full" else "; metrics of lists need the full protocol"),
        )
    return defined


def request_metrics(metrics: Sequence[Metric]) -> list[RequestMetric]:
    """Return those with a value per request, in order."""
    return [metric for metric in metrics if isinstance(metric, RequestMetric)]


def total_metrics(metrics: Sequence[Metric]) -> list[TotalMetric]:
    """Return those of all lists together, in order."""
    return [metric for metric in metrics if isinstance(metric, TotalMetric)]
