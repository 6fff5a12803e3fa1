"""Opening a service: stores, pipeline and batching, and the deployment that all of its processes follow."""

import ctypes
import gc
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from searec.config import as_dict, configure, nearest
from searec.errors import SearecError, SettingsError
from searec.pipeline.builder import open_pipeline
from searec.pipeline.deployment import Deployment, changed, read_deployment
from searec.service.request_batcher import BatcherSettings, RequestBatcher
from searec.store.event_store import EventStore
from searec.store.event_writer import EventWriter
from searec.store.events import Event
from searec.store.interest_reader import Reader
from searec.store.keys import Keyring
from searec.store.store import Store

_POLL_SECONDS = 2.0
_SWITCH_SECONDS = 0.0005
"""How long a thread runs before others get Python: with the usual 5 ms the reader of the sockets waits for models."""
_LOG = logging.getLogger(__name__)


class Service(RequestBatcher):
    """A request batcher whose pipeline follows the newest deployment in the event store, in all processes.

    Args:
        deployment: the one that it starts with.
        number: of this deployment.
        command: the deployment that the command line named.
        reader: of the store.
        settings: of the batching.
    """

    def __init__(
        self,
        deployment: Deployment,
        number: int,
        command: Mapping[str, Any],
        reader: Reader,
        settings: BatcherSettings,
    ) -> None:
        super().__init__(open_pipeline(deployment, reader.store.events, reader), settings)
        self._deployment, self._number, self._command = deployment, number, dict(command)
        self._store, self._reader = reader.store, reader
        self._deploying = threading.Lock()
        self._problem = ""
        settle()
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="searec-deployment", daemon=True)
        self._watcher.start()

    def deploy(self, values: Mapping[str, Any]) -> int:
        """Serve another deployment from now on; fields that are left out stay as they are.

        It is opened and tried before; the old one answers meanwhile, and stays if anything is wrong.

        Args:
            values: fields of `Deployment` by name.

        Returns:
            The deployment's number.

        Raises:
            SearecError: as `open_pipeline`, or the event store fails.
        """
        with self._deploying:
            deployment = changed(self._deployment, values)
            pipeline = open_pipeline(deployment, self._store.events, self._reader)
            try:
                self._number = self._store.events.deploy({"command": self._command, "serving": as_dict(deployment)})
            except SearecError:
                pipeline.close()
                raise
            self._deployment, self._problem = deployment, ""
            self.swap(pipeline)
            settle()
            return self._number

    def deployed(self) -> dict[str, Any]:
        """Return what is served, and the problem if a newer deployment cannot be opened here."""
        return {"number": self._number, **as_dict(self._deployment), "problem": self._problem or None}

    def refresh(self, user: str) -> None:
        """Enqueue a user for new interests.

        Raises:
            StorageError: the store fails.
        """
        self._store.jobs.enqueue([user], "requested")

    def forget(self, user: str) -> int:
        """Delete a user's events, attributes and interests; return how many events. The dataset stays as it is.

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
        while not self._stopped.wait(_POLL_SECONDS):
            try:
                newest = self._store.events.deployed()
            except SearecError:  # the store is away; its other readers report it
                continue
            if newest is not None and newest[0] > self._number:
                self._follow(*newest)

    def _follow(self, number: int, config: Mapping[str, Any]) -> None:
        with self._deploying:
            if number <= self._number:
                return
            try:
                deployment = configure(Deployment, config["serving"], where=f"deployment {number}")
                pipeline = open_pipeline(deployment, self._store.events, self._reader)
            except Exception as error:  # whatever it is, the watcher has to go on, and follow the next one
                self._problem = (
                    f"deployment {number}: {error if isinstance(error, SearecError) else type(error).__name__}"
                )
                text = "the newest deployment cannot be opened; the one before it stays: %s"
                _LOG.error(text, self._problem, exc_info=not isinstance(error, SearecError))
                self._number = number  # it is not tried again and again
                return
            self._deployment, self._number, self._problem = deployment, number, ""
            self.swap(pipeline)
            settle()


def settle() -> None:
    """Return freed memory to the system, and exempt what was opened from garbage collection.

    A collection over a catalog of millions takes a third of a second, and glibc keeps freed memory until trimmed.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def open_service(config: Mapping[str, Any]) -> tuple[Service, EventWriter, EventStore, Keyring | None]:
    """Open everything behind the HTTP application.

    Args:
        config: deployment (the path of the file); data (a dataset folder in place of the file's, or None); store, an
            address; cache, an address or None; settings of deployment and batching by name.

    Returns:
        Service, event writer, event store, and the keys if there are any.

    Raises:
        SearecError: as `open_pipeline`, a store that cannot be opened, or an unknown setting.
    """
    deployment, settings = _configured(Path(config["deployment"]), config.get("data"), config.get("settings") or {})
    torch.set_num_threads(deployment.threads)
    sys.setswitchinterval(_SWITCH_SECONDS)
    with ExitStack() as stack:
        store = stack.enter_context(Store(config["store"], cache=config.get("cache")))
        reader = Reader(store)
        command = as_dict(deployment)
        deployment, number = _first(store.events, deployment, command)
        keyring = Keyring(store.keys) if store.keys.all() else None
        service = Service(deployment, number, command, reader, settings)
        stack.pop_all()
    return service, EventWriter(store.events, _refresh_interests(store)), store.events, keyring


def _configured(path: Path, data: str | None, values: Mapping[str, Any]) -> tuple[Deployment, BatcherSettings]:
    deployment = read_deployment(path, data=data)
    of_deployment, of_batching = (list(kind.__dataclass_fields__) for kind in (Deployment, BatcherSettings))
    for name in values:
        if name not in of_deployment and name not in of_batching:
            remedy = nearest(name, of_deployment + of_batching)
            raise SettingsError(f"unknown setting {name!r}", where="serve", remedy=remedy)
    in_batching = {name: value for name, value in values.items() if name in of_batching}
    rest = {name: value for name, value in values.items() if name not in of_batching}
    return configure(Deployment, rest, base=deployment, where="serve"), configure(
        BatcherSettings, in_batching, where="serve"
    )


def _first(events: EventStore, deployment: Deployment, command: Mapping[str, Any]) -> tuple[Deployment, int]:
    """Return what was swapped in since the same deployment was last served, else what the command line names."""
    newest = events.deployed()
    if newest is not None and newest[1].get("command") == command:
        return configure(Deployment, newest[1]["serving"], where=f"deployment {newest[0]}"), newest[0]
    return deployment, events.deploy({"command": dict(command), "serving": dict(command)})


def _refresh_interests(store: Store) -> Callable[[Sequence[Event]], None]:
    """Return what is done with stored events: the interests of their users become stale, and the users are enqueued.

    A worker that is at one of these users has read the history without the events, and will do so once more.
    """

    def mark(events: Sequence[Event]) -> None:
        users = list(dict.fromkeys(event.user for event in events))
        store.interests.mark_stale(users)
        store.jobs.enqueue(users, "requested")

    return mark
