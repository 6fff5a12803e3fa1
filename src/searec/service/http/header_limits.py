"""uvicorn's HTTP protocol with limits on the size and the time of a request's headers, which uvicorn has no option for.

The class is handed to uvicorn as its option `http`. It overrides callbacks of asyncio.Protocol and of httptools
only, and reads one attribute of uvicorn's class: `transport`.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def limited_protocol(header_seconds: float, header_bytes: int) -> type[asyncio.Protocol]:
    """Return the protocol of a connection that closes when headers are too slow or too large.

    Args:
        header_seconds: from the connection, or from the first byte of a further request, to the end of its headers.
        header_bytes: of the first line and the headers together.
    """

    class LimitedProtocol(HttpToolsProtocol):
        """Counts and times what is received before a body."""

        _timer: asyncio.TimerHandle | None = None
        _in_headers = True
        _received = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)  # type: ignore[arg-type]
            self._start_timer()

        def data_received(self, data: bytes) -> None:
            if self._in_headers:
                self._received += len(data)
            super().data_received(data)
            if self._in_headers and self._received > header_bytes and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()

        def on_message_begin(self) -> None:
            if self._timer is None:
                self._start_timer()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._stop_timer()
            self._in_headers, self._received = False, 0
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_headers = True
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def _start_timer(self) -> None:
            self._timer = asyncio.get_running_loop().call_later(header_seconds, self.transport.close)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return LimitedProtocol
