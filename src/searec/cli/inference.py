"""Commands that use a trained run: recommend, search, suggest, similar."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searec.cli.arguments import Data, Json, emit
from searec.cli.served_search import ANONYMOUS, NOTHING, requests, search_served
from searec.errors import SettingsError

if TYPE_CHECKING:
    import polars as pl

    from searec.pipeline.run import Run

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)]
Users = Annotated[
    list[str] | None,
    typer.Option("--user", metavar="ID", help="User to answer; may be given many times.", show_default=False),
]
Best = Annotated[int, typer.Option("-k", min=1, help="How many for each.")]
Add = Annotated[
    Path | None,
    typer.Option(
        "--add",
        metavar="FILE",
        help="Parquet, CSV or JSON Lines of new items (item_id, title, ...) to add first.",
        show_default=False,
    ),
]
Remove = Annotated[
    list[str] | None, typer.Option("--remove", metavar="ID", help="Item to remove first.", show_default=False)
]


def recommend(
    folder: Folder,
    data: Data,
    users: Users = None,
    k: Best = 10,
    seen: Annotated[bool, typer.Option("--seen", help="Also recommend what the user has clicked before.")] = False,
    add: Add = None,
    remove: Remove = None,
    figures: Json = None,
) -> None:
    """The best items for users, after everything in the log."""
    named = _named(users)
    run = _open(folder, data, add, remove)
    _show(run, run.recommend(named, k=k, seen=seen), add, figures)


def search(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN|DEPLOYMENT", help="Run folder or deployment file.", show_default=False)
    ],
    data: Data,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What is searched for.", show_default=False)],
    users: Users = None,
    k: Best = 10,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="COLUMN:VALUE",
            help="Only items with this value, or in this range: brand:acme, price:10..20, price:..20, date:2024-05...",
            show_default=False,
        ),
    ] = None,
    facets: Annotated[
        list[str] | None,
        typer.Option("--facets", metavar="COLUMN,...", help="Count the values of these columns.", show_default=False),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(help="'relevance', 'newest', 'price', '-price' or 'popularity'.", show_default=False),
    ] = None,
    spelling: Annotated[
        bool, typer.Option("--spelling/--no-spelling", help="Correct words that no item has.", show_default=False)
    ] = True,
    add: Add = None,
    remove: Remove = None,
    figures: Json = None,
) -> None:
    """The best items for a query, for each user; without --user for somebody without history.

    Of a run its model's list; of a deployment, and with filters, facets, a sort or --no-spelling, what is served.
    """
    searchers: list[str | None] = list(dict.fromkeys(users)) if users else [None]
    if folder.is_file() or filters or facets or sort is not None or not spelling:
        if add is not None or remove:
            where = "--add" if add is not None else "--remove"
            raise SettingsError("items are added to the list of a run alone", where=where, expected=f"no {where} here")
        order = sort or "relevance"
        searches = requests(query, searchers, k, filters or (), facets or (), order, spelling=spelling)
        search_served(folder, data, searches, figures)
        return
    run = _open(folder, data, add, remove)
    table = run.search(searchers, [query] * len(searchers), k=k)
    _show(run, table, add, figures)
    answered = set(table["user_id"].to_list())
    for user in searchers:
        if user not in answered and str(figures) != "-":
            print(f"{user or ANONYMOUS}, {query}\n{NOTHING}")


def suggest(
    folder: Folder,
    data: Data,
    users: Users = None,
    k: Best = 5,
    min_users: Annotated[int, typer.Option(min=1, help="Suggest only queries of at least this many users.")] = 2,
    figures: Json = None,
) -> None:
    """The queries that users are likeliest to ask next (gensar)."""
    named = _named(users)
    run = _open(folder, data, None, None)
    _show(run, run.suggest(named, k=k, min_users=min_users), None, figures)


def similar(
    folder: Folder,
    data: Data,
    items: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Items by id.", show_default=False)],
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="How many for each.")] = 10,
    remove: Remove = None,
    figures: Json = None,
) -> None:
    """Show the items most similar to each item, by the model's item vectors or neighbours."""
    run = _open(folder, data, None, remove)
    _show(run, run.similar(items, k=k), None, figures)


def _named(users: list[str] | None) -> list[str]:
    """The users, each once.

    Raises:
        SettingsError: there are none.
    """
    if not users:
        raise SettingsError("no user is named", got="no --user", expected="--user ID, once for each user")
    return list(dict.fromkeys(users))


def _open(folder: Path, data: str, add: Path | None, remove: list[str] | None) -> "Run":
    from searec.data.dataset import load
    from searec.pipeline.run import read_run

    run = read_run(folder, load(data))
    if add is not None:
        run.add_items(_records(add))
    if remove:
        run.remove_items(remove)
    return run


def _records(path: Path) -> list[dict[str, Any]]:
    """The rows of a table of items, read as `searec import` reads it.

    Raises:
        DataError: the file cannot be read, or a row breaks a rule.
    """
    from searec.data.importing import read_items

    return read_items(path)


def _show(run: "Run", table: "pl.DataFrame", add: Path | None, figures: Path | None) -> None:
    """Print the answers with the items' titles."""
    if str(figures) != "-":
        titles = (
            dict(zip(run.data.item_table["item_id"], run.data.item_table["title"], strict=True))
            if "item_id" in table.columns
            else {}
        )
        if add is not None:
            titles |= {str(record["item_id"]): record["title"] for record in _records(add)}
        previous = None
        for row in table.iter_rows(named=True):
            who = str(row.get("user_id", row.get("similar_to")) or ANONYMOUS)
            if "item_id" in row and "query" in row:
                who += f", {row['query']}"
            if who != previous:
                print(who)
                previous = who
            text = f"{row['item_id']:<12} {titles.get(row['item_id'], '')}" if "item_id" in row else row["query"]
            why = f"  ({row['reason']})" if row.get("channel") == "interest" else ""
            print(f"  {row['rank']:>3}  {row['score']:>9.4f}  {text}{why}")
    emit(table.to_dicts(), figures)
