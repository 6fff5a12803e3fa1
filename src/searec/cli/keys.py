"""Commands on the keys that open a service."""

from typing import Annotated

import typer

from searec.cli.arguments import Json, choice, emit
from searec.cli.export import EventsUrl

app = typer.Typer(name="keys", help="Keys that open a service.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.", show_default=False)]


@app.command()
def add(
    name: Name,
    events: EventsUrl,
    role: Annotated[str, typer.Option(help="read, write or admin; each may do what the ones before it may.")] = "read",
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    from searec.store.events import ROLES, open_events

    known = choice(role, ROLES, "--role")
    with open_events(events) as store:
        key = store.add_key(name, known)
    print(key)


@app.command(name="list")
def list_(events: EventsUrl, figures: Json = None) -> None:
    """Show whose keys are valid, and what they may do."""
    from searec.store.events import open_events

    with open_events(events) as store:
        keys = store.keys()
    if str(figures) != "-":
        for key in keys:
            print(f"{key.name}  {key.role}  searec_{key.public}_...")
        if not keys:
            print("no keys")
    emit([{"name": key.name, "role": key.role, "public": key.public} for key in keys], figures)


@app.command()
def revoke(name: Name, events: EventsUrl) -> None:
    """Make a key invalid; running services notice within seconds."""
    from searec.errors import UnknownIdError
    from searec.store.events import open_events
    from searec.store.interest_store import without_password

    with open_events(events) as store:
        found = store.revoke_key(name)
    if not found:
        raise UnknownIdError(
            "no key of this name", where=without_password(events), got=repr(name), remedy="searec keys list shows all"
        )
    print(f"revoked {name}")
