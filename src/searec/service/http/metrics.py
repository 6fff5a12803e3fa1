"""Prometheus metrics of the HTTP layer, of one process or of all that share the folder PROMETHEUS_MULTIPROC_DIR."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from searec.pipeline.types import LeftOut
from searec.service.http.http_config import METRICS_FOLDER
from searec.store.events import Stored

MEDIA = CONTENT_TYPE_PLAIN_0_0_4
Sign = Literal["positive", "neutral", "negative", "unknown"]
"""What an event says of its item; an unknown type counts as positive."""
SIGNS: tuple[Sign, ...] = get_args(Sign)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class HttpMetrics:
    """Counters of requests and events. Routes are templates, so that a caller cannot create labels."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        if METRICS_FOLDER not in os.environ:
            ProcessCollector(registry=registry)
        names: dict[str, Any] = {"registry": registry, "namespace": "searec", "subsystem": "http"}
        labels = ("method", "route", "status")
        self._seconds = Histogram(
            "request_seconds", "Seconds from headers to the end of the response.", labels, buckets=_BUCKETS, **names
        )
        self._left_out = Counter("left_out", "Parts missing from responses.", ("route", "part", "why"), **names)
        self.in_flight = Gauge("in_flight", "Requests being answered.", multiprocess_mode="livesum", **names)
        self._events = Counter("events", "Events received, by whether they were new.", ("state",), **names)
        for state in ("new", "known"):
            self._events.labels(state)
        self._feedback = Counter(
            "feedback", "Events of items received, by what they say of the item.", ("sign",), **names
        )
        for sign in SIGNS:
            self._feedback.labels(sign)
        self._seconds_of = lru_cache(4096)(self._seconds.labels)

    def record_request(
        self, method: str, route: str, status: int, seconds: float, left_out: Sequence[LeftOut] = ()
    ) -> None:
        """Count an answered request.

        Args:
            method: HTTP method.
            route: template of the path.
            status: of the response.
            seconds: from headers to the end of the response.
            left_out: parts missing from the response.
        """
        self._seconds_of(method, route, str(status)).observe(seconds)
        for one in left_out:
            self._left_out.labels(route, one.part, one.why).inc()

    def record_events(self, stored: Stored, signs: Mapping[Sign, int]) -> None:
        """Count stored events.

        Args:
            stored: how many were new.
            signs: how many of them say what.
        """
        for sign, count in signs.items():
            self._feedback.labels(sign).inc(count)
        self._events.labels("new").inc(stored.new)
        self._events.labels("known").inc(stored.known)

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus's text format; of all processes where they share a folder."""
        if METRICS_FOLDER not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
