"""Command that measures position bias in the clicks of searches."""

from typing import TYPE_CHECKING, Any

from searec.cli.arguments import Data, Json, emit

if TYPE_CHECKING:
    from searec.data.click_log import ClickLog


def clicks(data: Data, figures: Json = None) -> None:
    """Print how likely each position of a result page is examined, from the searches that hold their pages.

    Of searches it needs the column `shown`. Examination is relative to the first position.
    """
    from searec.data.click_log import click_log
    from searec.data.dataset import load
    from searec.evaluation.click_models import expectation_maximisation, harvest, perplexities

    log = click_log(load(data))
    estimate = harvest(log)
    fitted = expectation_maximisation(log, estimate.first)
    about: dict[str, Any] = {
        **estimate.as_json(),
        "clicks not on the page": log.off_page,
        "perplexity": perplexities(log),
    }
    for row, rate, chance in zip(about["groups"], _rates(log, estimate.group(log.position)), fitted, strict=True):
        row |= {"click rate": rate, "examination by EM": float(chance)}
    if str(figures) != "-":
        total = int(log.is_clicked.sum())
        print(f"{log.searches:,} searches with a page, {total:,} clicks on it, {log.off_page:,} on other items")
        print(f"  {'position':<10}{'click rate':>12}{'examination':>13}{'error':>8}{'clicks':>9}{'by EM':>8}")
        for row, is_last in zip(about["groups"], [*[False] * (len(fitted) - 1), True], strict=True):
            position = f"{row['from position']}{'+' if is_last else ''}"
            print(
                f"  {position:<10}{row['click rate']:>12.4f}{row['examination']:>13.3f}{row['standard error']:>8.3f}"
                f"{row['clicks']:>9,}{row['examination by EM']:>8.3f}"
            )
        print("  'clicks': on results that a query has shown at several positions; examination is estimated from these")
        figures_of = "  ".join(f"{name} {value:.4f}" for name, value in about["perplexity"].items())
        print(f"  perplexity of a fifth of the searches, by models of the others: {figures_of}")
    emit(about, figures)


def _rates(log: "ClickLog", group: Any) -> list[float]:
    """Clicks over results shown, by group of positions."""
    import numpy as np

    return (np.bincount(group, log.is_clicked) / np.bincount(group)).tolist()  # type: ignore[no-any-return]
