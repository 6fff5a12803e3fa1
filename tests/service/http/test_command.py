"""The command `searec serve`: what it takes apart, and what it refuses before anything is opened."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from stand_in import Front, Keyring, Made

from searec.cli.serve import serve
from searec.errors import SettingsError
from searec.service.http.http_config import HttpSettings


class Store:
    """A store with a number of keys."""

    def __init__(self, keys: int) -> None:
        self.keys = self
        self._count = keys

    def all(self) -> list[str]:
        return ["key"] * self._count

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What would have been served: the application that was made, and how; "keys" in it is how many keys there are."""
    told: dict[str, Any] = {"keys": 0}

    def open_service(config: dict[str, Any]) -> Any:
        made = Made(front=Front())
        told["config"] = config
        return made.front, made.recorder, made.events, Keyring() if told["keys"] else None

    def serve_it(
        factory: Any, host: str, port: int, workers: int, *, open: bool, settings: HttpSettings, announce: Any
    ) -> None:
        told.update(app=factory(), host=host, port=port, workers=workers, open=open, settings=settings)

    module = ModuleType("searec.service.lifecycle")
    module.open_service = open_service  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "searec.service.lifecycle", module)
    monkeypatch.setattr("searec.store.store.Store", lambda url: Store(told["keys"]))
    monkeypatch.setattr("searec.service.http.server.serve", serve_it)
    return told


def ask(**options: Any) -> None:
    serve(Path("/d.json"), **{"store": "sqlite:///e.db", **options})


def test_settings_go_where_they_belong(served: dict[str, Any]) -> None:
    ask(
        overrides=["k=7", "log_text=true", "quota=0.5"],
        store="sqlite:///i.db",
        workers=2,
        port=1,
        host="127.0.0.1",
    )
    assert served["config"] == {
        "deployment": "/d.json",
        "data": None,
        "store": "sqlite:///i.db",
        "cache": None,
        "settings": {"quota": "0.5"},
    }
    assert (served["settings"].k, served["settings"].log_text, served["workers"], served["port"]) == (7, True, 2, 1)
    assert served["app"].state.settings == served["settings"]


def test_without_keys_only_names_of_this_machine_are_answered(served: dict[str, Any]) -> None:
    ask(host="127.0.0.1")
    assert "localhost" in served["settings"].hosts and "evil.example" not in served["settings"].hosts
    served["keys"] = 1
    ask(host="0.0.0.0")
    assert served["settings"].hosts == () and served["app"].state.keyring is not None


def test_what_is_refused(served: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="no keys"):
        ask(host="0.0.0.0")
    with pytest.raises(SettingsError, match="bad value for setting 'k'"):
        ask(overrides=["k=0"])
    assert "app" not in served
    ask(host="0.0.0.0", open=True)
    assert served["app"].state.keyring is None
