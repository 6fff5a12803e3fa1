"""Settings of the HTTP layer: limits on requests, and how the service treats connections, proxies and logs."""

from typing import Annotated, Any, Literal

from pydantic import Field

from searec.config import Count, Natural, Positive, settings
from searec.errors import DataError
from searec.pipeline.types import MOST

LONGEST_TEXT = 1024
"""Characters of an id or a query, whatever the settings say."""
LARGEST_BATCH = 10_000
"""Events, items or users in one call, whatever the settings say."""
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder of metrics that processes share; the Prometheus client reads it on import."""


@settings
class Limits:
    """Limits on what a caller may send.

    Attributes:
        body_bytes: of a request's body, counted while it is received.
        k: items per page. batch: events, items or users in one call.
        query_length, id_length: characters.
        filters, excludes: per request; categories count as filters.
        rate: requests per second and key, or per address where there is no key; 0 for any number.
        rate_store: where requests are counted: memory:// (by process) or redis://HOST:PORT/DB (over all processes).
        max_in_flight: requests answered at the same time; further ones are refused.
        header_bytes: of a request's first line and headers. header_seconds, body_seconds: time to send them.
        keep_alive_seconds: a connection without requests is closed after this time.
    """

    body_bytes: Count = 1 << 20
    k: Annotated[int, Field(ge=1, le=MOST)] = 100
    batch: Annotated[int, Field(ge=1, le=LARGEST_BATCH)] = 1000
    query_length: Annotated[int, Field(ge=1, le=LONGEST_TEXT)] = 256
    id_length: Annotated[int, Field(ge=1, le=LONGEST_TEXT)] = 256
    filters: Natural = 16
    excludes: Natural = 200
    rate: Natural = 100
    rate_store: Annotated[str, Field(pattern=r"^(memory|redis|rediss|redis\+unix)://", repr=False)] = "memory://"
    max_in_flight: Count = 256
    header_bytes: Annotated[int, Field(ge=1024)] = 1 << 16
    header_seconds: Positive = 10.0
    body_seconds: Positive = 10.0
    keep_alive_seconds: Count = 15

    def check_ids(self, *ids: str | None, where: str) -> None:
        """Raise DataError for an id that is too long; None is skipped.

        Args:
            *ids: external ids.
            where: place in the request, for the error.
        """
        for one in ids:
            if one is not None:
                self._check_length("the id", one, self.id_length, where)

    def check_query(self, query: str | None, *, where: str) -> None:
        """Raise DataError for a query that is too long.

        Args:
            query: text of the query.
            where: place in the request, for the error.
        """
        if query is not None:
            self._check_length("the query", query, self.query_length, where)

    def check_number(self, number: int, most: int, *, where: str) -> None:
        """Raise DataError for a number above `most`.

        Args:
            number: a count, or a requested number.
            most: the limit.
            where: place in the request, for the error.
        """
        if number > most:
            raise DataError("too many", where=where, got=number, expected=f"at most {most}")

    def _check_length(self, what: str, text: str, most: int, where: str) -> None:
        if len(text) > most:
            got = f"{len(text)} characters"
            raise DataError(f"{what} is too long", where=where, got=got, expected=f"at most {most}")


@settings
class HttpSettings(Limits):
    """All settings of the HTTP layer.

    Attributes:
        log_text: also log paths, query texts, user ids and the messages of errors; keys and bodies never.
        metrics: who may read /metrics: callers on this machine, or admin keys.
        origins: other web sites that may call the service (CORS), as "https://shop.example"; none by default.
        hosts: accepted names in the Host header; empty for any.
        proxies: addresses whose X-Forwarded-For and X-Forwarded-Proto are trusted.
        threads: threads for calls that block on the engine or the event store.
        ready_seconds: time in which the event store must respond to /readyz.
        shutdown_seconds: time in which requests accepted before a stop must be answered.
    """

    log_text: bool = False
    metrics: Literal["loopback", "admin"] = "loopback"
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    threads: Count = 16
    ready_seconds: Positive = 2.0
    shutdown_seconds: Count = 20


def add_limits(schema: dict[str, Any], limits: Limits) -> None:
    """Write the limits into an OpenAPI document, in place.

    Args:
        schema: the document.
        limits: of the service.
    """
    by_parameter = {
        "k": {"maximum": limits.k},
        "q": {"maxLength": limits.query_length},
        "prefix": {"maxLength": limits.id_length},
        "user_id": {"maxLength": limits.id_length},
        "item_id": {"maxLength": limits.id_length},
        "count": {"maximum": limits.batch},
        "category": {"maxItems": limits.filters},
        "filter": {"maxItems": limits.filters},
        "exclude": {"maxItems": limits.excludes},
    }
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    for parameter in (one for operation in operations for one in operation.get("parameters", ())):
        for option in parameter["schema"].get("anyOf", [parameter["schema"]]):
            if option.get("type") != "null":
                option.update(by_parameter.get(parameter["name"], {}))
    models = schema["components"]["schemas"]
    for model, name in {"EventsIn": "events", "ItemsIn": "items", "UsersIn": "users", "HideIn": "item_ids"}.items():
        models[model]["properties"][name]["maxItems"] = limits.batch
    for name, field in [
        pair for model in ("EventIn", "ItemIn", "UserIn") for pair in models[model]["properties"].items()
    ]:
        longest = limits.query_length if name == "query" else limits.id_length if name.endswith("_id") else 0
        for option in field.get("anyOf", [field]):
            if longest and option.get("type") == "string":
                option["maxLength"] = longest
