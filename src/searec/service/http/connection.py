"""A connection that does not wait for ever for a request's headers, nor takes any number of them."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def connection(head_seconds: float, head_bytes: int) -> type[asyncio.Protocol]:
    """The protocol of a connection whose headers must have come in by then, and be no larger."""

    class Connection(HttpToolsProtocol):
        """Counts and times what comes before a body."""

        _timer: asyncio.TimerHandle | None = None
        _in_head = True
        _head = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)  # type: ignore[arg-type]
            self._begin()

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                self._head += len(data)
            super().data_received(data)
            if self._in_head and self._head > head_bytes and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()

        def on_message_begin(self) -> None:
            if self._timer is None:
                self._begin()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._cancel()
            self._in_head, self._head = False, 0
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_head = True
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel()
            super().connection_lost(exc)

        def _begin(self) -> None:
            self._in_head = True
            self._timer = self.loop.call_later(head_seconds, self._late)

        def _cancel(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self) -> None:
            self._timer = None
            transport: Any = self.transport
            if not transport.is_closing():
                transport.close()

    return Connection
