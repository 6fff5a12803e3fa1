"""What a caller may ask of the service, and how the service deals with HTTP."""

from typing import Annotated, Any, Literal

from pydantic import Field

from searec.config import Count, Natural, Positive, settings
from searec.errors import DataError
from searec.pipeline.types import MOST

LONGEST_TEXT = 1024
"""Characters of an id or a query, whatever the settings say."""
LARGEST_BATCH = 10_000
"""Events, items or users in one call, whatever the settings say."""


@settings
class Limits:
    """How much a caller may ask.

    Attributes:
        body_bytes: of a request's body, counted while it comes in.
        k: items on a page. batch: events, items or users in one call.
        query_length, id_length: characters.
        filters, excludes: in one request; categories count as filters.
        rate: requests per second and key, or per address where there is no key; 0 for any number.
        rate_store: where requests are counted: memory:// (each process for itself) or redis://HOST:PORT/DB (all together).
        at_once: requests that are being answered; more are refused.
        head_bytes: of a request's first line and headers. head_seconds, body_seconds: they must have come in by then.
        idle_seconds: a connection without requests is closed after these.
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
    at_once: Count = 256
    head_bytes: Annotated[int, Field(ge=1024)] = 1 << 16
    head_seconds: Positive = 10.0
    body_seconds: Positive = 10.0
    idle_seconds: Count = 15

    def check_ids(self, *ids: str | None, where: str) -> None:
        """Raise DataError for an id that is too long; None is none."""
        for one in ids:
            if one is not None and len(one) > self.id_length:
                raise DataError(
                    "an id is too long", where=where, got=f"{len(one)} characters", expected=f"at most {self.id_length}"
                )

    def check_query(self, query: str | None, *, where: str) -> None:
        """Raise DataError for a query that is too long."""
        if query is not None and len(query) > self.query_length:
            raise DataError(
                "the query is too long",
                where=where,
                got=f"{len(query)} characters",
                expected=f"at most {self.query_length}",
            )

    def check_number(self, number: int, most: int, *, where: str) -> None:
        """Raise DataError for more than `most`."""
        if number > most:
            raise DataError("too many", where=where, got=number, expected=f"at most {most}")


@settings
class HttpSettings(Limits):
    """Everything about HTTP that can be set.

    Attributes:
        log_text: also log paths, query texts, user ids and the messages of failures; keys and bodies never.
        metrics: who may see /metrics: callers on this machine, or whoever has an admin key.
        origins: web pages elsewhere that may call (CORS), as "https://shop.example"; none by default.
        hosts: names in the Host header that are answered; empty for any.
        proxies: addresses whose X-Forwarded-For and -Proto are believed.
        threads: for calls that wait for the engine or the event store.
        ready_seconds: the event store must answer /readyz by then.
        stop_seconds: what was accepted before a stop must be answered by then.
    """

    log_text: bool = False
    metrics: Literal["loopback", "admin"] = "loopback"
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    threads: Count = 16
    ready_seconds: Positive = 2.0
    stop_seconds: Count = 20


def limit_schema(schema: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Write the limits that can be set into an OpenAPI document, in place."""
    by_name = {
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
    for path in schema["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                place = parameter["schema"]
                for option in place.get("anyOf", [place]):
                    if option.get("type") != "null":
                        option.update(by_name.get(parameter["name"], {}))
    lists = {"EventsIn": "events", "ItemsIn": "items", "UsersIn": "users", "HideIn": "item_ids"}
    for model, field in lists.items():
        schema["components"]["schemas"][model]["properties"][field]["maxItems"] = limits.batch
    for model in ("EventIn", "ItemIn", "UserIn"):
        for name, field in schema["components"]["schemas"][model]["properties"].items():
            kind = {"query": limits.query_length}.get(name, limits.id_length if name.endswith("_id") else 0)
            for option in field.get("anyOf", [field]):
                if kind and option.get("type") == "string":
                    option["maxLength"] = kind
    return schema
