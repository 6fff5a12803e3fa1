"""Opening a service: stores, engine and front, and the deployment that all of its processes follow."""

import ctypes
import gc
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from searec.config import as_dict, configure, nearest
from searec.errors import SearecError, SettingsError
from searec.pipeline.builder import Deployment, open_pipeline
from searec.pipeline.pipeline import PipelineSettings
from searec.service.request_batcher import BatcherSettings, RequestBatcher
from searec.store.event_store import EventStore
from searec.store.event_writer import EventWriter
from searec.store.events import Event
from searec.store.interest_reader import Reader
from searec.store.keys import Keyring
from searec.store.store import Store

_LOOK_EVERY_SECONDS = 2.0
_SWITCH_SECONDS = 0.0005
"""How long a thread keeps Python to itself: with the usual 5 ms whoever reads the sockets waits for models in between."""
_LOG = logging.getLogger(__name__)


class Service(RequestBatcher):
    """A front whose engine follows the newest deployment in the event store, so that a swap in one process is one in all of them.

    Args:
        number: of the deployment that it starts with.
        command: the deployment that the command line named.
    """

    def __init__(
        self,
        deployment: Deployment,
        number: int,
        command: Mapping[str, Any],
        reader: Reader,
        engine_settings: PipelineSettings,
        front_settings: BatcherSettings,
    ) -> None:
        super().__init__(open_pipeline(deployment, reader.store.events, reader, engine_settings), front_settings)
        self._deployment, self._number, self._command = deployment, number, dict(command)
        self._store, self._reader, self._engine_settings = reader.store, reader, engine_settings
        self._deploying = threading.Lock()
        self._problem = ""
        settle()
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="searec-deployment", daemon=True)
        self._watcher.start()

    def deploy(self, config: Mapping[str, Any]) -> int:
        """Serve other runs, or another dataset with its runs, from now on; what `config` leaves out stays as it is.

        They are opened and asked once before; the old ones answer meanwhile, and stay if anything is wrong.

        Returns:
            The deployment's number.

        Raises:
            SearecError: as `open_pipeline`, or the event store fails.
        """
        with self._deploying:
            wanted = configure(Deployment, dict(config), base=self._deployment, where="deployment")
            engine = open_pipeline(wanted, self._store.events, self._reader, self._engine_settings)
            try:
                self._number = self._store.events.deploy({"command": self._command, "serving": as_dict(wanted)})
            except SearecError:
                engine.close()
                raise
            self._deployment, self._problem = wanted, ""
            self.swap(engine)
            settle()
            return self._number

    def deployed(self) -> dict[str, Any]:
        """What is served: number, data, recommend, search; and the problem, where a newer deployment cannot be opened here."""
        return {"number": self._number, **as_dict(self._deployment), "problem": self._problem or None}

    def refresh(self, user: str) -> None:
        """Enqueue a user for new interests.

        Raises:
            StorageError: the store fails.
        """
        self._store.jobs.enqueue([user], "requested")

    def forget(self, user: str) -> int:
        """Delete a user's events, attributes and interests for good; return how many events. The dataset stays as it is.

        Raises:
            StorageError: the store fails; the same call may be repeated.
        """
        return self._store.forget(user)

    def close(self) -> None:
        """Stop watching, close the reader, then close as the base class does; the store stays open."""
        self._stopped.set()
        self._watcher.join()
        with ExitStack() as stack:
            stack.callback(self._reader.close)
            stack.callback(super().close)

    def _watch(self) -> None:
        while not self._stopped.wait(_LOOK_EVERY_SECONDS):
            try:
                newest = self._store.events.deployed()
            except SearecError:  # the store is away; whoever needs it says so
                continue
            if newest is not None and newest[0] > self._number:
                self._follow(*newest)

    def _follow(self, number: int, config: Mapping[str, Any]) -> None:
        with self._deploying:
            if number <= self._number:
                return
            try:
                deployment = configure(Deployment, config["serving"], where=f"deployment {number}")
                engine = open_pipeline(deployment, self._store.events, self._reader, self._engine_settings)
            except Exception as error:  # whatever it is, the watcher has to go on, and follow the next one
                self._problem = (
                    f"deployment {number}: {error if isinstance(error, SearecError) else type(error).__name__}"
                )
                text = "the newest deployment cannot be opened; the one before it stays: %s"
                _LOG.error(text, self._problem, exc_info=not isinstance(error, SearecError))
                self._number = number  # it is not tried again and again
                return
            self._deployment, self._number, self._problem = deployment, number, ""
            self.swap(engine)
            settle()


def settle() -> None:
    """Give back what the engine before held, and let Python's collector look away from what was opened.

    To go through a catalogue of millions takes it a third of a second; and glibc keeps what is freed unless it is told otherwise.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def open_service(config: Mapping[str, Any]) -> tuple[Service, EventWriter, EventStore, Keyring | None]:
    """Everything behind the HTTP application.

    Args:
        config: data, recommend and search as `Deployment`; store, an address; cache, an address or None; settings of engine and front by name.

    Returns:
        front, event writer, events, and the keys where there are any.

    Raises:
        SearecError: as `open_pipeline`, a store that cannot be opened, or an unknown setting.
    """
    engine_settings, front_settings = _settings(config.get("settings") or {})
    torch.set_num_threads(engine_settings.threads)
    sys.setswitchinterval(_SWITCH_SECONDS)
    with ExitStack() as stack:
        store = stack.enter_context(Store(config["store"], cache=config.get("cache")))
        reader = Reader(store)
        command = as_dict(
            configure(Deployment, {name: config[name] for name in ("data", "recommend", "search")}, where="serve")
        )
        deployment, number = _first(store.events, command)
        keyring = Keyring(store.keys) if store.keys.all() else None
        service = Service(deployment, number, command, reader, engine_settings, front_settings)
        stack.pop_all()
    return service, EventWriter(store.events, _refresh_interests(store)), store.events, keyring


def _settings(given: Mapping[str, Any]) -> tuple[PipelineSettings, BatcherSettings]:
    of_engine, of_front = (list(kind.__dataclass_fields__) for kind in (PipelineSettings, BatcherSettings))
    for name in given:
        if name not in of_engine and name not in of_front:
            raise SettingsError(f"unknown setting {name!r}", where="serve", remedy=nearest(name, of_engine + of_front))
    return (
        configure(PipelineSettings, {name: value for name, value in given.items() if name in of_engine}, where="serve"),
        configure(BatcherSettings, {name: value for name, value in given.items() if name in of_front}, where="serve"),
    )


def _first(events: EventStore, command: Mapping[str, Any]) -> tuple[Deployment, int]:
    """What to start with: what was swapped in since the same command line was last used, else what the command line names."""
    newest = events.deployed()
    if newest is not None and newest[1].get("command") == command:
        return configure(Deployment, newest[1]["serving"], where=f"deployment {newest[0]}"), newest[0]
    number = events.deploy({"command": dict(command), "serving": dict(command)})
    return configure(Deployment, command, where="serve"), number


def _refresh_interests(store: Store) -> Callable[[Sequence[Event]], None]:
    """Return what follows on new events: the interests of their users are stale, and are requested anew.

    A worker that reasons about one of them has read the history without these events, and will do so once more.
    """

    def mark(events: Sequence[Event]) -> None:
        users = list(dict.fromkeys(event.user for event in events))
        store.interests.mark_stale(users)
        store.jobs.enqueue(users, "requested")

    return mark
