"""The server: the application in one process or in several on one port, with a graceful stop. uvicorn does the HTTP."""

import asyncio
import contextlib
import ipaddress
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import TYPE_CHECKING, Any

from searec.errors import SearecError, ServiceError, SettingsError
from searec.service.http.http_config import METRICS_FOLDER, HttpSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_MAX_DEATHS, _DEATHS_SECONDS = 5, 30.0
_CLOSING_SECONDS = 10.0
"""What a worker may take to close its stores, after the time it has for answers."""


def serve(
    app_factory: "Callable[[], FastAPI]",
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    *,
    open: bool = False,
    settings: HttpSettings | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve until SIGTERM or SIGINT, then answer the accepted requests and close.

    Args:
        app_factory: returns the application (`app.create_app`); picklable where there are several workers.
        host: address to listen at.
        port: 0 for any free one.
        workers: processes; one means this process. A worker that dies is replaced.
        open: serve without keys although others can reach the host.
        settings: of the HTTP layer; those of the server are read here.
        announce: called with the address once requests can be answered.

    Raises:
        SettingsError: the port is taken, the host is not of this machine, or it can be reached and there is no key.
        SearecError: what `app_factory` raises, of the first worker that could not start.
        ServiceError: a worker cannot start, or workers die repeatedly.
    """
    settings = settings or HttpSettings()
    with contextlib.closing(bind(host, port)) as sock:
        url = f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"
        worker = _Worker(app_factory, sock, host, open, settings)
        on_ready = lambda: announce(f"searec: listening at {url}")  # noqa: E731
        if workers == 1:
            worker.run(on_ready)
        else:
            _Supervisor(worker, workers).run(on_ready)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address of this machine.

    Args:
        host: name or address.
        port: 0 for any free one.

    Raises:
        SettingsError: the port is taken, or the host is not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError("no such host", where=f"--host {host}", got=error.strerror) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except (OSError, OverflowError) as error:
        sock.close()
        raise _cannot_listen(host, port, error) from error
    sock.setblocking(False)
    return sock


def _cannot_listen(host: str, port: int, error: Exception) -> SettingsError:
    got = getattr(error, "strerror", None) or str(error)
    remedy = "choose another --port, or end the program that listens there"
    return SettingsError("cannot listen", where=f"{host} port {port}", got=got, remedy=remedy)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host: all its addresses are loopback addresses."""
    try:
        addresses = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    ips = [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in addresses]
    return bool(ips) and all(ip.is_loopback for ip in ips)


def refuse_open(host: str, *, keys: bool, open: bool) -> None:
    """Refuse to serve without keys at a host that others can reach, unless `open` is given.

    Args:
        host: address to listen at.
        keys: whether the service has keys.
        open: whether it may be open to everybody.

    Raises:
        SettingsError: it is refused.
    """
    if not keys and not open and not is_loopback(host):
        raise SettingsError(
            "the service has no keys and others could reach it",
            where=f"--host {host}",
            remedy="create a key, listen at 127.0.0.1, or give --open to let everybody do everything",
        )


@contextlib.contextmanager
def _handling_signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, earlier in previous.items():
            signal.signal(number, earlier)


def _exit_now(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


class _Worker:
    """Makes the application and serves it in the process that calls it. Picklable."""

    def __init__(
        self, app_factory: "Callable[[], FastAPI]", sock: socket.socket, host: str, open: bool, settings: HttpSettings
    ) -> None:
        self._app_factory, self.sock, self._host, self._open = app_factory, sock, host, open
        self.settings = settings

    def run(self, on_ready: Callable[[], object]) -> None:
        """Serve until a signal. While the runs are loaded, which takes long, a signal ends the process at once."""
        import uvicorn

        from searec.service.http.logs import ServerLogHandler

        with _handling_signals(_exit_now):
            app = self._app_factory()
        try:
            refuse_open(self._host, keys=app.state.keyring is not None, open=self._open)
            self._listen()
        except SettingsError:
            asyncio.run(_close(app))
            raise
        uvicorn_log = logging.getLogger("uvicorn")
        uvicorn_log.handlers = [ServerLogHandler(app.state.log, text=self.settings.log_text)]
        uvicorn_log.propagate = False
        received: list[int] = []

        async def at_first_tick() -> None:
            if received:
                server.should_exit = True
            else:
                on_ready()

        server = uvicorn.Server(uvicorn.Config(app, callback_notify=at_first_tick, **self._uvicorn_options()))
        # uvicorn handles the signals while it runs and raises them again at its end
        with _handling_signals(lambda number, _: received.append(number)):
            server.run(sockets=[self.sock])

    def _listen(self) -> None:
        """Listen on the socket. uvloop does so again, but is silent if another program has taken the port."""
        try:
            self.sock.listen(2048)
        except OSError as error:
            raise _cannot_listen(self._host, self.sock.getsockname()[1], error) from error

    def _uvicorn_options(self) -> dict[str, Any]:
        from searec.service.http.header_limits import limited_protocol

        return {
            "http": limited_protocol(self.settings.header_seconds, self.settings.header_bytes),
            "loop": "uvloop",
            "ws": "none",
            "lifespan": "on",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "proxy_headers": bool(self.settings.proxies),
            "forwarded_allow_ips": list(self.settings.proxies),
            "timeout_keep_alive": self.settings.keep_alive_seconds,
            "timeout_graceful_shutdown": self.settings.shutdown_seconds,
            "timeout_notify": 10**9,  # the callback is needed once
        }


async def _close(app: "FastAPI") -> None:
    async with app.router.lifespan_context(app):
        pass


def _work(worker: _Worker, supervisor: Connection) -> None:
    """Run a worker process. It sends "ready", or the error that kept it from starting, and ends with its supervisor."""

    def end_with_supervisor() -> None:
        with contextlib.suppress(EOFError, OSError):
            supervisor.recv()  # nothing is sent: it returns when the supervisor has ended
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_supervisor, daemon=True).start()
    try:
        worker.run(lambda: supervisor.send("ready"))
    except SearecError as error:
        supervisor.send(error)
        raise SystemExit(1) from None


class _Supervisor:
    """Keeps several workers alive on one socket.

    uvicorn's own supervisor neither reports why a worker failed nor ends one that hangs at a stop.
    """

    def __init__(self, worker: _Worker, count: int) -> None:
        self._worker, self._count = worker, count
        self._processes: dict[Connection, SpawnProcess] = {}
        self._ready: set[Connection] = set()
        self._deaths: deque[float] = deque(maxlen=_MAX_DEATHS)
        self._stopped = threading.Event()

    def run(self, on_ready: Callable[[], object]) -> None:
        """Serve until a signal."""
        with _handling_signals(lambda *_: self._stopped.set()), _metrics_folder():
            try:
                for _ in range(self._count):
                    self._start()
                self._watch(on_ready)
            finally:
                self._worker.sock.close()
                self._end()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_work, args=(self._worker, theirs), name="searec-worker")
        process.start()
        theirs.close()
        self._processes[ours] = process

    def _watch(self, on_ready: Callable[[], object]) -> None:
        is_announced = False
        while not self._stopped.is_set():
            for pipe in wait(list(self._processes), timeout=0.2):
                assert isinstance(pipe, Connection)
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    self._replace(pipe)
                    continue
                if isinstance(message, SearecError):
                    raise message
                self._ready.add(pipe)
            if not is_announced and len(self._ready) == self._count:
                is_announced = True
                on_ready()

    def _replace(self, pipe: Connection) -> None:
        """Start a worker instead of one that has died."""
        from prometheus_client.multiprocess import mark_process_dead

        process = self._processes.pop(pipe)
        process.join()
        pipe.close()
        if self._stopped.is_set():
            return
        mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
        got = f"exit code {process.exitcode}"
        if pipe not in self._ready:
            raise ServiceError("a worker could not start", got=got, remedy="see its error above")
        self._ready.remove(pipe)
        now = time.monotonic()
        if len(self._deaths) == _MAX_DEATHS and now - self._deaths[0] < _DEATHS_SECONDS:
            raise ServiceError("workers die repeatedly", got=got, remedy="see the log")
        self._deaths.append(now)
        self._start()

    def _end(self) -> None:
        """Stop the workers, and kill those that take longer than they may."""
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + self._worker.settings.shutdown_seconds + _CLOSING_SECONDS
        for pipe, process in self._processes.items():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()


@contextlib.contextmanager
def _metrics_folder() -> Iterator[None]:
    """Name a temporary folder for the workers' metrics in the environment, unless it names one."""
    if METRICS_FOLDER in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="searec-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ[METRICS_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[METRICS_FOLDER]
