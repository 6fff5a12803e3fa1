"""Run the application: one process or several on one port, until stopped, and then end what was begun."""

import asyncio
import contextlib
import ipaddress
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import TYPE_CHECKING, Any

from searec.errors import SearecError, ServiceError, SettingsError
from searec.service.http.http_config import HttpSettings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Config, Server

    AppFactory = Callable[[], FastAPI]
"""Picklable where there are several processes: each makes its own."""
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_QUICK_DEATHS, _QUICK = 5, 30.0


def serve(
    app_factory: "AppFactory",
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    *,
    open: bool = False,
    settings: HttpSettings | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted and close.

    Args:
        app_factory: makes the application (`app.create_app`).
        port: 0 for any free one.
        workers: processes; one is this one. A process that dies is started again.
        open: serve without keys although others can reach the host.
        settings: the application's own; those of them that are the server's are read here.
        say: told the address when requests can be answered.

    Raises:
        SettingsError: a port that is taken, a host that is none of this machine, no key for a host that others can reach.
        SearecError: what `app_factory` raises, of the first worker that could not start.
        ServiceError: a worker cannot start, or they die again and again.
    """
    settings = settings or HttpSettings()
    with contextlib.closing(bind(host, port)) as place:
        address = _address(host, place)
        if workers == 1:
            _run(app_factory, place, host, open, settings, lambda: say(f"searec: listening at {address}"))
        else:
            _Supervisor(app_factory, place, host, workers, open, settings).run(
                lambda: say(f"searec: listening at {address}")
            )


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine.

    Raises:
        SettingsError: it is taken, or no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        place = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError("no such host", where=f"--host {host}", got=error.strerror) from error
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
    except (OSError, OverflowError) as error:
        place.close()
        got = getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            "cannot listen", where=f"{host} port {port}", got=got, remedy="another --port, or end what listens there"
        ) from error
    place.setblocking(False)
    return place


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host: all its addresses are loopback ones."""
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    return bool(found) and all(
        ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found
    )


def refuse_open(host: str, *, keys: bool, open: bool) -> None:
    """Refuse to let strangers in unless that is wanted.

    Raises:
        SettingsError: there are no keys, others can reach the host, and `open` was not given.
    """
    if not keys and not open and not is_loopback(host):
        raise SettingsError(
            "the service has no keys and others could reach it",
            where=f"--host {host}",
            remedy="make a key in the event store first, listen at 127.0.0.1, or give --open to let everybody do everything",
        )


def _address(host: str, place: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{place.getsockname()[1]}"


@contextlib.contextmanager
def _stopping() -> Iterator[list[int]]:
    """Signals end nothing here: uvicorn hears of them, ends in peace and raises them again. Those that it did not hear are in the list."""
    heard: list[int] = []
    before = {one: signal.signal(one, lambda number, _: heard.append(number)) for one in _SIGNALS} if _in_main() else {}
    try:
        yield heard
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _in_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _run(
    app_factory: "AppFactory",
    place: socket.socket,
    host: str,
    open: bool,
    settings: HttpSettings,
    ready: Callable[[], None],
) -> None:
    """Make the application and serve it in this process."""
    import uvicorn

    with _loading():
        app = app_factory()
    try:
        refuse_open(host, keys=app.state.keyring is not None, open=open)
    except SettingsError:
        with contextlib.suppress(SystemExit):
            asyncio.run(_end(app))
        raise
    _log_through(app)
    with _stopping() as heard:
        server: Server = _server(uvicorn.Config(app, **_options(settings)), ready, heard)
        server.run(sockets=[place])


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """While runs are opened, which takes its time, a signal ends the process at once."""
    before = {one: signal.signal(one, _interrupt) for one in _SIGNALS} if _in_main() else {}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


async def _end(app: "FastAPI") -> None:
    async with app.router.lifespan_context(app):
        pass


def _log_through(app: "FastAPI") -> None:
    from searec.service.http.logs import Lines

    theirs = logging.getLogger("uvicorn")
    theirs.handlers = [Lines(app.state.log, text=app.state.settings.log_text)]
    theirs.propagate = False


def _options(settings: HttpSettings) -> dict[str, Any]:
    from searec.service.http.connection import connection

    return {
        "http": connection(settings.head_seconds, settings.head_bytes),
        "loop": "uvloop",
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": bool(settings.proxies),
        "forwarded_allow_ips": list(settings.proxies),
        "timeout_keep_alive": settings.idle_seconds,
        "timeout_graceful_shutdown": settings.stop_seconds,
    }


def _server(config: "Config", ready: Callable[[], None], heard: list[int]) -> "Server":
    from uvicorn import Server

    class Ours(Server):
        """Says when it is ready, and ends quietly."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            try:
                await super().startup(sockets)
            except OSError as error:  # two that were bound at the same time
                await self.lifespan.shutdown()
                raise SettingsError(
                    "cannot listen", got=error.strerror, remedy="another --port, or end what listens there"
                ) from error
            if heard:
                self.should_exit = True
            elif self.started:
                ready()

    return Ours(config)


def _work(
    app_factory: "AppFactory",
    place: socket.socket,
    host: str,
    open: bool,
    settings: HttpSettings,
    tell: Connection,
    parent: int,
) -> None:
    """A worker: tells "ready", or the error that kept it from starting; ends when its parent has gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    try:
        _run(app_factory, place, host, open, settings, lambda: tell.send("ready"))
    except SearecError as error:
        tell.send(error)
        raise SystemExit(1) from None
    finally:
        tell.close()


class _Supervisor:
    """Keeps several workers alive on one socket."""

    def __init__(
        self,
        app_factory: "AppFactory",
        place: socket.socket,
        host: str,
        workers: int,
        open: bool,
        settings: HttpSettings,
    ) -> None:
        self._arguments = (app_factory, place, host, open, settings)
        self._place, self._workers, self._settings = place, workers, settings
        self._running: dict[SpawnProcess, Connection] = {}
        self._ready: set[SpawnProcess] = set()
        self._stop = False

    def run(self, ready: Callable[[], None]) -> None:
        """Until stopped."""
        before = {one: signal.signal(one, self._stopped) for one in _SIGNALS} if _in_main() else {}
        folder = None
        if FOLDER not in os.environ:
            folder = os.environ[FOLDER] = tempfile.mkdtemp(prefix="searec-metrics-")
        try:
            for _ in range(self._workers):
                self._start()
            self._watch(ready)
        finally:
            self._place.close()
            self._end()
            if folder is not None:
                del os.environ[FOLDER]
                shutil.rmtree(folder, ignore_errors=True)
            for one, handler in before.items():
                signal.signal(one, handler)

    def _stopped(self, *_: object) -> None:
        self._stop = True

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe(duplex=False)
        process = spawn.Process(target=_work, args=(*self._arguments, theirs, os.getpid()), name="searec-worker")
        process.start()
        theirs.close()
        self._running[process] = ours

    def _watch(self, ready: Callable[[], None]) -> None:
        said = False
        deaths: list[float] = []
        while not self._stop:
            wait([process.sentinel for process in self._running] + list(self._running.values()), timeout=0.2)
            for process, ear in list(self._running.items()):
                with contextlib.suppress(EOFError):
                    if process not in self._ready and ear.poll():
                        self._hear(process, ear.recv())
                if process.is_alive() or self._stop:
                    continue
                self._forget(process)
                if process not in self._ready:
                    raise ServiceError(
                        "a worker could not start",
                        got=f"exit code {process.exitcode}",
                        remedy="see what it wrote above",
                    )
                deaths = [when for when in deaths if time.monotonic() - when < _QUICK] + [time.monotonic()]
                if len(deaths) > _QUICK_DEATHS:
                    raise ServiceError(
                        "workers die again and again", got=f"exit code {process.exitcode}", remedy="see the log"
                    )
                self._start()
            if not said and len(self._ready & self._running.keys()) == self._workers:
                said = True
                ready()
            time.sleep(0.02)

    def _hear(self, process: SpawnProcess, said: object) -> None:
        if isinstance(said, SearecError):
            raise said
        self._ready.add(process)

    def _forget(self, process: SpawnProcess) -> None:
        self._running.pop(process).close()
        if process.pid is not None:
            from prometheus_client.multiprocess import mark_process_dead

            mark_process_dead(process.pid)  # type: ignore[no-untyped-call]

    def _end(self) -> None:
        """Ask all to end, and kill who does not within the time that they have, and a little more to close."""
        for process in self._running:
            process.terminate()
        until = time.monotonic() + self._settings.stop_seconds + 10.0
        for process, ear in self._running.items():
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
            ear.close()
