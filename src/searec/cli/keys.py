"""Commands for the API keys of a service."""

from typing import Annotated

import typer

from searec.cli.arguments import DEFAULT_STORE, Json, StoreUrl, choice, emit

app = typer.Typer(name="keys", help="API keys of a service.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Who holds the key.", show_default=False)]


@app.command()
def add(
    name: Name,
    store: StoreUrl = DEFAULT_STORE,
    role: Annotated[str, typer.Option(help="read, write or admin; each may do what the ones before it may.")] = "read",
) -> None:
    """Make a key and print it. It cannot be shown again: only its hash is stored."""
    from searec.store.keys import ROLES
    from searec.store.store import Store

    known = choice(role, ROLES, "--role")
    with Store(store) as opened:
        key = opened.keys.add(name, known)
    print(key)


@app.command(name="list")
def list_(store: StoreUrl = DEFAULT_STORE, figures: Json = None) -> None:
    """Show the valid keys: who holds them, and what they may do."""
    from searec.store.store import Store

    with Store(store) as opened:
        keys = opened.keys.all()
    if str(figures) != "-":
        for key in keys:
            print(f"{key.name}  {key.role}  searec_{key.public}_...")
        if not keys:
            print("no keys")
    emit([{"name": key.name, "role": key.role, "public": key.public} for key in keys], figures)


@app.command()
def revoke(name: Name, store: StoreUrl = DEFAULT_STORE) -> None:
    """Make a key invalid; running services notice within seconds."""
    from searec.errors import UnknownIdError
    from searec.store.connection import without_password
    from searec.store.store import Store

    with Store(store) as opened:
        revoked = opened.keys.revoke(name)
    if not revoked:
        raise UnknownIdError(
            "no key of this name", where=without_password(store), got=repr(name), remedy="searec keys list shows all"
        )
    print(f"revoked {name}")
