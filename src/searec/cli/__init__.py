"""The command line: arguments in, one call out. Exit codes: 0 done, 1 a known error in one line, 2 wrong usage."""

import os
import sys

import typer

from searec.cli import (
    audit,
    clicks,
    codes,
    data,
    demo,
    export,
    exposure,
    inference,
    interest_quality,
    interests,
    keys,
    reasoning,
    runs,
    serve,
    students,
    study,
    synonyms,
    tradeoff,
)
from searec.errors import SearecError

app = typer.Typer(
    name="searec",
    help="Search and recommendation over one catalogue and one set of users.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    demo.demo,
    data.simulate,
    data.import_,
    data.check,
    clicks.clicks,
    synonyms.synonyms,
    codes.codes,
    runs.train,
    runs.update,
    runs.evaluate,
    runs.compare,
    study.study,
    study.recipe,
    inference.recommend,
    inference.search,
    inference.suggest,
    inference.similar,
    audit.audit,
    reasoning.reasoning,
    tradeoff.tradeoff,
    exposure.exposure,
    exposure.replay,
    serve.deploy,
    serve.serve,
    export.export,
):
    app.command(name=command.__name__.rstrip("_"))(command)
interests.app.command()(students.distil)
interests.app.command()(students.evaluate)
interests.app.command()(interest_quality.hits)
interests.app.command()(interest_quality.labels)
interests.app.command()(interest_quality.agreement)
app.add_typer(interests.app)
app.add_typer(keys.app)


def main() -> None:
    """Run the command line; a known error is one line on standard error and exit code 1."""
    try:
        app()
    except SearecError as error:
        print(f"searec: {error}", file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:  # what an extra holds, where no message of its own names it
        remedy = "install it, or the extra of searec that holds it (docs/operation.md)"
        print(f"searec: a package is not installed: {error.name}; what to do: {remedy}", file=sys.stderr)
        sys.exit(1)
    except MemoryError as error:
        print(f"searec: not enough memory; got: {error or 'no detail'}; what to do: smaller settings", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has gone, as in `searec check DATA | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"; where: {error.filename}" if error.filename is not None else ""
        print(f"searec: the system refuses an access{where}; got: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
