"""Metrics of workers for Prometheus; without its client they count nothing and cost nothing."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from searec.errors import DependencyError, SearecError, SettingsError, installation
from searec.store.store import Store

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Outcome = Literal["refreshed", "failed", "postponed", "lost", "returned", "unknown"]
OUTCOMES: tuple[Outcome, ...] = ("refreshed", "failed", "postponed", "lost", "returned", "unknown")
"""Of a job: written; failed by itself; failed with the reasoner; lease lost; given back on a stop; no such user."""
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Metrics:
    """Counts what workers have done, and reads the size of the store at each scrape.

    Args:
        store: whose counts are read.
        registry: a new one by default, which also describes the process.
    """

    def __init__(self, store: Store, registry: "CollectorRegistry | None" = None) -> None:
        self._on = False
        self._server: Any = None
        try:
            from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
        except ImportError:
            return
        self._on = True
        self.registry = registry or CollectorRegistry()
        if registry is None:
            ProcessCollector(registry=self.registry)
        known: dict[str, Any] = {"registry": self.registry, "namespace": "searec", "subsystem": "nearline"}
        self._jobs = Counter("jobs", "Jobs by outcome.", ("outcome",), **known)
        self._refresh = Histogram("refresh_seconds", "Seconds from lease to write.", buckets=_SECONDS, **known)
        self._calls = Counter("reasoner_calls", "Calls of the reasoner by result.", ("reasoner", "result"), **known)
        self._thinking = Histogram("reasoner_seconds", "Seconds of a call of the reasoner.", buckets=_SECONDS, **known)
        for outcome in OUTCOMES:
            self._jobs.labels(outcome)
        self.registry.register(_Sizes(store))

    def ended(self, outcome: Outcome, seconds: float, count: int = 1) -> None:
        """Count jobs that have ended.

        Args:
            outcome: how they ended.
            seconds: since their lease.
            count: how many.
        """
        if self._on:
            self._jobs.labels(outcome).inc(count)
            if outcome == "refreshed":
                self._refresh.observe(seconds)

    def called(self, reasoner: str, seconds: float, *, ok: bool) -> None:
        """Count a call of the reasoner.

        Args:
            reasoner: its name.
            seconds: that it took.
            ok: whether it returned.
        """
        if self._on:
            self._calls.labels(reasoner, "ok" if ok else "error").inc()
            self._thinking.observe(seconds)

    def serve(self, port: int) -> int:
        """Serve http://HOST:port/metrics from a thread, 0 for any free port; return the port.

        Raises:
            DependencyError: the client is not installed.
            SettingsError: the port is taken.
        """
        if not self._on:
            raise DependencyError("the Prometheus client is not installed", remedy=installation("nearline"))
        from prometheus_client import start_http_server

        try:
            self._server, _ = start_http_server(port, registry=self.registry)
        except OSError as error:
            raise SettingsError("cannot answer for metrics", where=f"port {port}", got=error.strerror) from error
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Sizes:
    """The size of the store, read at each scrape; a store that fails is searec_nearline_store_up 0."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[Any]:
        return []  # else the store would be read when this is registered

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        up = GaugeMetricFamily("searec_nearline_store_up", "Whether the store answers.")
        try:
            counts = self._store.jobs.counts()
        except SearecError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        users = GaugeMetricFamily(
            "searec_nearline_users", "Users with interests, and those whose interests are fresh.", labels=["state"]
        )
        jobs = GaugeMetricFamily("searec_nearline_queue", "Jobs by state.", labels=["state"])
        for state in ("stored", "fresh"):
            users.add_metric([state], getattr(counts, state))
        for state in ("queued", "waiting", "leased", "dead"):
            jobs.add_metric([state], getattr(counts, state))
        yield users
        yield jobs
