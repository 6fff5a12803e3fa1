"""The command that serves."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searec.cli.arguments import Data, Set, pairs

if TYPE_CHECKING:
    from fastapi import FastAPI


def serve(
    data: Data,
    recommend: Annotated[
        list[Path] | None,
        typer.Option(
            "--recommend", metavar="RUN", help="Answers the feed; may be given many times.", show_default=False
        ),
    ] = None,
    search: Annotated[
        list[Path] | None,
        typer.Option("--search", metavar="RUN", help="Answers searches; may be given many times.", show_default=False),
    ] = None,
    events: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="SEAREC_EVENTS",
            help="Where events are kept: sqlite:///FILE or postgresql://USER@HOST/DB; a password is better given in the environment.",
            show_envvar=True,
        ),
    ] = "sqlite:///searec-events.db",
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", envvar="SEAREC_STORE", help="A store of interests.", show_default=False, show_envvar=True
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; others can reach any but a loopback one.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 for any.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    open: Annotated[
        bool, typer.Option("--open", help="Serve without keys although others can reach the host.")
    ] = False,
    overrides: Set = None,
) -> None:
    """Answer recommendations and searches over HTTP until stopped; what happens meanwhile is kept and counts at once."""
    from searec.config import as_dict, configure
    from searec.errors import SettingsError
    from searec.service.http.http_config import HttpSettings
    from searec.service.http.server import is_loopback, refuse_open
    from searec.service.http.server import serve as run
    from searec.store.events import open_events

    if not recommend and not search:
        raise SettingsError("nothing to serve", expected="--recommend RUN or --search RUN")
    given = pairs(overrides)
    known = {field.name for field in dataclasses.fields(HttpSettings)}
    settings = configure(HttpSettings, {name: value for name, value in given.items() if name in known}, where="--set")
    with open_events(events) as opened:
        keys = bool(opened.keys())
    refuse_open(host, keys=keys, open=open)
    if not keys and not settings.hosts and is_loopback(host):
        # without keys, a web page elsewhere that calls itself by our address must not be answered
        settings = configure(HttpSettings, {"hosts": ["localhost", "127.0.0.1", "[::1]", host]}, base=settings)
    config = {
        "data": str(data),
        "recommend": [str(path) for path in recommend or []],
        "search": [str(path) for path in search or []],
        "events": events,
        "store": store,
        "settings": {name: value for name, value in given.items() if name not in known},
    }
    run(
        partial(application, config, as_dict(settings)),
        host,
        port,
        workers,
        open=open,
        settings=settings,
        announce=partial(print, flush=True),
    )


def application(config: dict[str, Any], settings: dict[str, Any]) -> "FastAPI":
    """The application of a process."""
    from searec.config import configure
    from searec.service.http.app import create_app
    from searec.service.http.http_config import HttpSettings
    from searec.service.lifecycle import open_service

    front, recorder, events, keyring = open_service(config)
    return create_app(front, recorder, events, keyring, configure(HttpSettings, settings))
