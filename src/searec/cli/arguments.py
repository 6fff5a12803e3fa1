"""Arguments that several commands share."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from searec.errors import SettingsError
from searec.files import write_json

if TYPE_CHECKING:
    from searec.pipeline.run import Run

RunsAndData = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN... DATA",
        help="Run folders, then the dataset folder or its URL.",
        show_default=False,
    ),
]
Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Dataset folder, or its URL: items, users, interactions and searches as Parquet.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting by name; may be given many times.", show_default=False),
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json", metavar="FILE", help="Also write the figures as JSON; '-' for standard output.", show_default=False
    ),
]
DEFAULT_STORE = "sqlite:///searec.db"
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="SEAREC_STORE",
        help="The store: sqlite:///FILE or postgresql://USER@HOST/DB; give a password in the environment.",
        show_envvar=True,
    ),
]
CacheUrl = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="URL",
        envvar="SEAREC_INTEREST_CACHE",
        help="A cache of interests in front of the store: redis://HOST:PORT/DB.",
        show_default=False,
        show_envvar=True,
    ),
]
Preset = Annotated[
    str, typer.Option(help="'default' finishes in minutes on two cores; 'paper' is the paper's setting.")
]
Split = Annotated[str, typer.Option("--split", help="'test' or 'val'.")]
SplitAt = Annotated[
    str | None,
    typer.Option(
        "--split-at",
        metavar="QUANTILE|TIME",
        help="Train before one time and measure after it: a quantile of all event times (0.8) or an ISO 8601 time.",
        show_default=False,
    ),
]
MeasuredAt = Annotated[
    str | None,
    typer.Option(
        "--split-at",
        metavar="QUANTILE|TIME",
        help="Measure on a global split in place of the runs' own; refused if their training read events from it on.",
        show_default=False,
    ),
]
Requests = Annotated[
    int | None,
    typer.Option(
        "--requests", min=1, help="Score only this many requests in the full protocol, drawn with a fixed seed."
    ),
]


def _checked_seed(seed: int) -> int:
    from searec.config import check_seed

    return check_seed(seed)


def seed_option(text: str) -> Any:
    """--seed, with this help text; a number that no generator takes is a SettingsError."""
    return typer.Option("--seed", min=0, help=text, callback=_checked_seed)


Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="NAMES",
        help="Metrics with depths, such as ndcg@20,recall@50 (docs/metrics.md); the usual ones by default.",
        show_default=False,
    ),
]


def pairs(given: list[str] | None, option: str = "--set") -> dict[str, str]:
    """KEY=VALUE texts as a dict.

    Raises:
        SettingsError: one without '=', or a key given twice.
    """
    values: dict[str, str] = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingsError(f"bad {option}", got=repr(text), expected="KEY=VALUE")
        if key in values:
            raise SettingsError(f"{option} names {key!r} twice", got=", ".join(given or []))
        values[key] = value
    return values


def choice(value: str, known: tuple[str, ...], option: str) -> Any:
    """The value, if it is one of the known ones.

    Raises:
        SettingsError: it is not.
    """
    if value not in known:
        raise SettingsError(f"bad {option}", got=repr(value), expected=" or ".join(known))
    return value


def open_runs(folders: list[str], verb: str) -> "list[Run]":
    """The runs of RUN... DATA.

    Raises:
        SettingsError: no run is named.
        RunError: a folder holds no run of this dataset.
    """
    from searec.data.dataset import load
    from searec.pipeline.run import read_run

    *paths, data = folders
    if not paths:
        raise SettingsError(f"nothing to {verb}", got="one folder", expected="RUN... DATA")
    dataset = load(data)
    return [read_run(path, dataset) for path in paths]


def emit(values: Any, path: Path | None) -> None:
    """Write JSON to a file or, for '-', to standard output; nothing for None."""
    if path is None:
        return
    if str(path) == "-":
        print(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        write_json(path, values)
