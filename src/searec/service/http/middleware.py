"""The gate: what every request passes on its way in and out. Who asks and how often, how large the body is, and one line of log."""

import asyncio
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from searec.errors import AccessError, DataError, Overloaded, SearecError, ServiceError
from searec.pipeline.types import LeftOut
from searec.service.http import problems
from searec.service.http.http_config import HttpSettings
from searec.service.http.logs import failure
from searec.service.http.metrics import Observed
from searec.service.http.rate_limits import Rates
from searec.service.http.responses import Refusal, problem, refused
from searec.store.keys import ROLES, Key, Role

API = "/v1/"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="searec"'}
SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
]
_BELIEVED_SECONDS, _MOST_BELIEVED = 1.0, 1000
_NO_STORE = (b"cache-control", b"no-store")


class Keyring(Protocol):
    """Who may call. It may wait for a store, so it is asked from a thread."""

    def check(self, text: str, /) -> Key | None:
        """The key, if it is valid. Raises StorageError if keys could never be read."""
        ...


@dataclass(slots=True)
class Trace:
    """What is known of a request under way; it lies in the scope as "searec"."""

    request_id: str
    keyring: Keyring | None
    key: Key | None = None
    route: str = "none"
    left_out: Sequence[LeftOut] = ()

    def demand(self, need: Role) -> None:
        """Refuse whoever may not.

        Raises:
            Refusal: 401 without a valid key, 403 with one that allows less.
        """
        if self.keyring is None:
            return
        if self.key is None:
            raise Refusal(
                problems.NO_KEY,
                AccessError(
                    "no valid key came with the request",
                    expected=f"Authorization: Bearer KEY, or X-API-Key: KEY, that may {need}",
                ),
                _CHALLENGE,
            )
        if ROLES.index(self.key.role) < ROLES.index(need):
            raise Refusal(
                problems.FORBIDDEN, AccessError("the key does not allow this", got=self.key.role, expected=need)
            )


class Gate:
    """Pure ASGI around the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keyring: Keyring | None,
        settings: HttpSettings,
        observed: Observed,
        rates: Rates,
        log: Any,
    ) -> None:
        self._app, self._keyring, self._settings, self._observed = app, keyring, settings, observed
        self._rates, self._log = rates, log
        self._hosts = frozenset(settings.hosts)
        self._now = 0
        self._believed: dict[str, tuple[Key, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        trace = scope["searec"] = Trace(request_id, self._keyring)
        ours = [*SECURITY, (b"x-request-id", request_id.encode())]
        if scope["path"].startswith(API):
            ours.append(_NO_STORE)
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *ours]
            await send(message)

        self._now += 1
        self._observed.in_flight.inc()
        told: dict[str, Any] = {}
        try:
            await self._admit(scope, headers, trace)
            body = _Body(receive, headers, self._settings)
            await self._app(scope, body.receive if body.comes else receive, sending)
        except Refusal as refusal:
            await refused(refusal, request_id)(scope, receive, sending)
        except Exception as error:  # whatever it is, the caller gets a problem document and the log a line
            kind = problems.kind_of(error) if isinstance(error, SearecError) else problems.FAILED
            if kind is problems.FAILED:
                told = failure(error, text=self._settings.log_text)
            if status:
                raise  # half an answer is out: the server closes the connection
            shown = error if isinstance(error, SearecError) else ServiceError("the service failed")
            await problem(kind, shown, request_id)(scope, receive, sending)
        finally:
            self._now -= 1
            self._observed.in_flight.dec()
            self._tell(scope, trace, status or 499, time.perf_counter() - started, told)

    async def _admit(self, scope: Scope, headers: dict[bytes, bytes], trace: Trace) -> None:
        """Refuse what is not to be answered, before anything of the body is read."""
        if self._hosts:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
            if name not in self._hosts:
                raise Refusal(
                    problems.BAD_HOST,
                    ServiceError("not answered under this name", got=repr(name[:100]), where="Host header"),
                )
        _keep_slashes(scope)
        if not scope["path"].startswith(API) and scope["path"] != "/metrics":
            return
        if self._now > self._settings.at_once:
            raise Refusal(problems.OVERLOADED, Overloaded("too many requests are being answered"), {"Retry-After": "1"})
        if self._keyring is not None and (text := _key(headers)):
            trace.key = await self._check(self._keyring, text)
        caller = f"key {trace.key.name}" if trace.key is not None else f"at {(scope.get('client') or ('',))[0]}"
        wait = await self._rates.wait(caller)
        if wait is not None:
            seconds = {"Retry-After": str(max(1, round(wait + 0.5)))}
            what = Overloaded("too many requests in one second", expected=f"at most {self._settings.rate}")
            raise Refusal(problems.TOO_OFTEN, what, seconds)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._settings.body_bytes:
            raise _too_large(self._settings)

    async def _check(self, keyring: Keyring, text: str) -> Key | None:
        """The key. A valid one is believed for a second, so that few requests wait for a thread."""
        now = time.monotonic()
        known = self._believed.get(text)
        if known is not None and now < known[1]:
            return known[0]
        key = await asyncio.to_thread(keyring.check, text)
        if len(self._believed) >= _MOST_BELIEVED:
            self._believed.clear()
        if key is not None:
            self._believed[text] = key, now + _BELIEVED_SECONDS
        else:
            self._believed.pop(text, None)
        return key

    def _tell(self, scope: Scope, trace: Trace, status: int, seconds: float, told: dict[str, Any]) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._observed.answered(method, trace.route, status, seconds, trace.left_out)
        line = {
            "request_id": trace.request_id,
            "method": method,
            "route": trace.route,
            "status": status,
            "ms": round(1000 * seconds, 2),
            "key": trace.key.name if trace.key is not None else None,
        }
        if trace.left_out:
            line["left_out"] = [f"{one.part}: {one.why}" for one in trace.left_out]
        if self._settings.log_text:
            line["path"] = scope["path"]
            line["query"] = scope["query_string"].decode("latin-1")
        if told:
            self._log.error("request", **line, **told)
        else:
            self._log.info("request", **line)


_METHODS = frozenset(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"))


def _key(headers: dict[bytes, bytes]) -> str | None:
    scheme, _, text = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer":
        text = headers.get(b"x-api-key", b"")
    return text.strip().decode("latin-1") or None


def _keep_slashes(scope: Scope) -> None:
    """Let a slash that was sent as %2F stay one (as "%2F") in the path that routes are found by: ids may hold slashes.

    Raises:
        Refusal: 400 for a path that is no UTF-8.
    """
    raw: bytes = scope.get("raw_path") or b""
    if b"%" not in raw or not scope["path"].startswith(API):
        return
    try:
        parts = [unquote_to_bytes(part).decode() for part in raw.split(b"?")[0].split(b"/")]
    except UnicodeDecodeError:
        raise Refusal(problems.BAD_REQUEST, ServiceError("the path is no UTF-8")) from None
    scope["path"] = "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def _too_large(settings: HttpSettings) -> Refusal:
    what = DataError(
        "the body is too large", expected=f"at most {settings.body_bytes:,} bytes", remedy="send less at once"
    )
    return Refusal(problems.TOO_LARGE, what, {"Connection": "close"})


class _Body:
    """Counts a body while it comes in, and does not wait for it for ever."""

    def __init__(self, receive: Receive, headers: dict[bytes, bytes], settings: HttpSettings) -> None:
        self._receive, self._settings = receive, settings
        self.comes = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        self._bytes = 0
        self._until: float | None = asyncio.get_running_loop().time() + settings.body_seconds if self.comes else None

    async def receive(self) -> Message:
        """The next message."""
        if self._until is None:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            what = ServiceError("the body took too long", expected=f"within {self._settings.body_seconds:g} s")
            raise Refusal(problems.TOO_SLOW, what, {"Connection": "close"}) from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._settings.body_bytes:
            raise _too_large(self._settings)
        if not message.get("more_body", False):
            self._until = None
        return message
