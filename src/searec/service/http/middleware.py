"""The middleware of every request: keys, rate limits, body size, security headers, problem documents and the log."""

import asyncio
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from searec.errors import AccessError, DataError, Overloaded, SearecError, ServiceError
from searec.pipeline.types import LeftOut
from searec.service.http import problems
from searec.service.http.http_config import HttpSettings
from searec.service.http.logs import error_fields
from searec.service.http.metrics import HttpMetrics
from searec.service.http.rate_limits import RateLimiter
from searec.service.http.responses import Refusal, problem_response
from searec.store.keys import ROLES, Key, Role

if TYPE_CHECKING:
    from searec.store.keys import Keyring

API = "/v1/"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="searec"'}
_POLICY = (
    b"default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    b"frame-ancestors 'none'"
)
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", _POLICY),
]
_NO_STORE = (b"cache-control", b"no-store")
_KEY_CACHE_SECONDS, _KEY_CACHE_SIZE = 1.0, 1000
_METHODS = frozenset(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"))


@dataclass(slots=True)
class RequestContext:
    """What is known of a request in progress; its ASGI scope has it as "searec"."""

    request_id: str
    keyring: "Keyring | None"
    key: Key | None = None
    route: str = "none"
    left_out: Sequence[LeftOut] = ()

    def require_role(self, role: Role) -> None:
        """Refuse a caller whose role is too low; anybody may call a service without keys.

        Raises:
            Refusal: 401 without a valid key, 403 with one of a lower role.
        """
        if self.keyring is None:
            return
        if self.key is None:
            expected = f"Authorization: Bearer KEY, or X-API-Key: KEY, of role {role}"
            error = AccessError("the request has no valid key", expected=expected)
            raise Refusal(problems.NO_KEY, error, _CHALLENGE)
        if ROLES.index(self.key.role) < ROLES.index(role):
            error = AccessError("the role of the key is too low", got=self.key.role, expected=role)
            raise Refusal(problems.FORBIDDEN, error)


class RequestMiddleware:
    """ASGI middleware around the application.

    Args:
        app: the application.
        keyring: checks keys; None for a service without keys.
        settings: of the HTTP layer.
        metrics: counts requests.
        limiter: of the requests of each caller.
        log: a structlog logger.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keyring: "Keyring | None",
        settings: HttpSettings,
        metrics: HttpMetrics,
        limiter: RateLimiter,
        log: Any,
    ) -> None:
        self._app, self._keyring, self._settings, self._metrics = app, keyring, settings, metrics
        self._limiter, self._log = limiter, log
        self._hosts = frozenset(settings.hosts)
        self._in_flight = 0
        self._valid_keys: dict[str, tuple[Key, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        sent_id = headers.get(b"x-request-id", b"")
        request_id = sent_id.decode() if _REQUEST_ID.fullmatch(sent_id) else secrets.token_hex(8)
        context = scope["searec"] = RequestContext(request_id, self._keyring)
        added_headers = [*_SECURITY_HEADERS, (b"x-request-id", request_id.encode())]
        if scope["path"].startswith(API):
            added_headers.append(_NO_STORE)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *added_headers]
            await send(message)

        self._in_flight += 1
        self._metrics.in_flight.inc()
        failure: dict[str, Any] = {}
        try:
            await self._admit(scope, headers, context)
            body = _LimitedBody(receive, headers, self._settings)
            await self._app(scope, body.receive if body.is_expected else receive, send_with_headers)
        except Refusal as refusal:
            response = problem_response(refusal.kind, refusal.error, request_id, refusal.headers)
            await response(scope, receive, send_with_headers)
        except Exception as error:  # any error becomes a problem document for the caller and a line of the log
            kind = problems.kind_of(error) if isinstance(error, SearecError) else problems.FAILED
            if kind is problems.FAILED:
                failure = error_fields(error, text=self._settings.log_text)
            if status:
                raise  # the response has begun: the server closes the connection
            shown = error if isinstance(error, SearecError) else ServiceError("the service failed")
            await problem_response(kind, shown, request_id)(scope, receive, send_with_headers)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.dec()
            self._record(scope, context, status or 499, time.perf_counter() - started, failure)

    async def _admit(self, scope: Scope, headers: dict[bytes, bytes], context: RequestContext) -> None:
        """Refuse a request that will not be answered, before its body is read."""
        if self._hosts:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
            if name not in self._hosts:
                error = ServiceError("the host name is not accepted", got=repr(name[:100]), where="Host header")
                raise Refusal(problems.BAD_HOST, error)
        _keep_slashes(scope)
        if not scope["path"].startswith(API) and scope["path"] != "/metrics":
            return
        if self._in_flight > self._settings.max_in_flight:
            raise Refusal(problems.OVERLOADED, Overloaded("too many requests are being answered"), {"Retry-After": "1"})
        if self._keyring is not None and (text := _key_text(headers)):
            context.key = await self._check(self._keyring, text)
        caller = f"key {context.key.name}" if context.key is not None else f"at {(scope.get('client') or ('',))[0]}"
        wait = await self._limiter.wait(caller)
        if wait is not None:
            too_often = Overloaded("too many requests in one second", expected=f"at most {self._settings.rate}")
            raise Refusal(problems.TOO_OFTEN, too_often, {"Retry-After": str(max(1, round(wait + 0.5)))})
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._settings.body_bytes:
            raise _too_large(self._settings)

    async def _check(self, keyring: "Keyring", text: str) -> Key | None:
        """Return the key, or None if it is not valid. Valid keys are cached for a second: the check needs a thread."""
        now = time.monotonic()
        cached = self._valid_keys.get(text)
        if cached is not None and now < cached[1]:
            return cached[0]
        key = await asyncio.to_thread(keyring.check, text)
        if len(self._valid_keys) >= _KEY_CACHE_SIZE:
            self._valid_keys.clear()
        if key is not None:
            self._valid_keys[text] = key, now + _KEY_CACHE_SECONDS
        else:
            self._valid_keys.pop(text, None)
        return key

    def _record(
        self, scope: Scope, context: RequestContext, status: int, seconds: float, failure: dict[str, Any]
    ) -> None:
        """Count the request and write its line of the log."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.record_request(method, context.route, status, seconds, context.left_out)
        fields = {
            "request_id": context.request_id,
            "method": method,
            "route": context.route,
            "status": status,
            "ms": round(1000 * seconds, 2),
            "key": context.key.name if context.key is not None else None,
        }
        if context.left_out:
            fields["left_out"] = [f"{one.part}: {one.why}" for one in context.left_out]
        if self._settings.log_text:
            fields["path"] = scope["path"]
            fields["query"] = scope["query_string"].decode("latin-1")
        write = self._log.error if failure else self._log.info
        write("request", **fields, **failure)


def _key_text(headers: dict[bytes, bytes]) -> str | None:
    scheme, _, text = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer":
        text = headers.get(b"x-api-key", b"")
    return text.strip().decode("latin-1") or None


def _keep_slashes(scope: Scope) -> None:
    """Keep a slash that was sent as %2F encoded in the path that routes match: ids may contain slashes.

    Raises:
        Refusal: 400 for a path that is not UTF-8.
    """
    raw: bytes = scope.get("raw_path") or b""
    if b"%" not in raw or not scope["path"].startswith(API):
        return
    try:
        parts = [unquote_to_bytes(part).decode() for part in raw.split(b"?")[0].split(b"/")]
    except UnicodeDecodeError:
        raise Refusal(problems.BAD_REQUEST, ServiceError("the path is not UTF-8")) from None
    scope["path"] = "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def _too_large(settings: HttpSettings) -> Refusal:
    expected = f"at most {settings.body_bytes:,} bytes"
    error = DataError("the body is too large", expected=expected, remedy="send less per request")
    return Refusal(problems.TOO_LARGE, error, {"Connection": "close"})


class _LimitedBody:
    """Counts a body while it is received, and ends the wait for it."""

    def __init__(self, receive: Receive, headers: dict[bytes, bytes], settings: HttpSettings) -> None:
        self._receive, self._settings = receive, settings
        self.is_expected = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        self._bytes = 0
        now = asyncio.get_running_loop().time()
        self._until: float | None = now + settings.body_seconds if self.is_expected else None

    async def receive(self) -> Message:
        """Return the next message."""
        if self._until is None:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            expected = f"within {self._settings.body_seconds:g} s"
            error = ServiceError("the body was not received in time", expected=expected)
            raise Refusal(problems.TOO_SLOW, error, {"Connection": "close"}) from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._settings.body_bytes:
            raise _too_large(self._settings)
        if not message.get("more_body", False):
            self._until = None
        return message
