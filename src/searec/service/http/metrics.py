"""Metrics of the service for Prometheus, of one process or, where PROMETHEUS_MULTIPROC_DIR names a folder, of several together."""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from searec.pipeline.types import LeftOut
from searec.store.events import Stored

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Read when the Prometheus client is first imported: set it before."""
MEDIA = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Observed:
    """What the service has done. Routes are templates, so that no caller can make new labels."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        if FOLDER not in os.environ:
            ProcessCollector(registry=registry)
        known: dict[str, Any] = {"registry": registry, "namespace": "searec", "subsystem": "http"}
        self._seconds = Histogram(
            "request_seconds",
            "Seconds from headers to the end of the answer.",
            ("method", "route", "status"),
            buckets=_SECONDS,
            **known,
        )
        self._left_out = Counter("left_out", "Parts that answers did without.", ("route", "part", "why"), **known)
        self.in_flight = Gauge("in_flight", "Requests being answered.", multiprocess_mode="livesum", **known)
        self._events = Counter("events", "Events told, by whether they were new.", ("state",), **known)
        for state in ("new", "known"):
            self._events.labels(state)
        self._of = lru_cache(4096)(self._seconds.labels)

    def answered(self, method: str, route: str, status: int, seconds: float, left_out: Sequence[LeftOut] = ()) -> None:
        """A request has been answered."""
        self._of(method, route, str(status)).observe(seconds)
        for one in left_out:
            self._left_out.labels(route, one.part, one.why).inc()

    def kept(self, stored: Stored) -> None:
        """Events have been kept."""
        self._events.labels("new").inc(stored.new)
        self._events.labels("known").inc(stored.known)

    def text(self) -> bytes:
        """What Prometheus reads; of all processes where they share a folder."""
        if FOLDER not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
