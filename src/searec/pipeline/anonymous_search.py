"""Search without a user: the items that a run or a deployment returns for query texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from searec.errors import SearecError, SettingsError
from searec.pipeline.channels import RequestBatch, RunChannel
from searec.pipeline.histories import Histories
from searec.pipeline.types import MOST, Request
from searec.progress import progress

if TYPE_CHECKING:
    from searec.pipeline.pipeline import Pipeline
    from searec.pipeline.run import Run

_AT_ONCE = 64


def run_results(run: "Run", queries: Sequence[str], k: int) -> list[list[str]]:
    """Return up to k item ids that a run's model retrieves for each query, best first.

    Args:
        run: of a model that searches.
        queries: texts.
        k: items of each.

    Raises:
        SettingsError: the model does not search, or retrieves fewer items than k.
    """
    model = run.model
    if "search" not in model.train_tasks:
        raise SettingsError(f"{model.name} does not support search", expected=", ".join(model.train_tasks))
    if model.candidate_limit is not None and k > model.candidate_limit:
        raise SettingsError(
            f"{model.name} retrieves fewer items than a metric needs",
            got=f"depth {k}",
            expected=f"at most {model.candidate_limit}",
            remedy="choose a smaller depth with --metrics",
        )
    catalog = run.catalog()
    nobody, channel = Histories(run.data).context(None, (), catalog), RunChannel(run)
    results: list[list[str]] = []
    with progress(f"search {run.label}", len(queries)) as advance:
        for start in range(0, len(queries), _AT_ONCE):
            texts = list(queries[start : start + _AT_ONCE])
            none = [nobody.consumed] * len(texts)
            batch = RequestBatch(catalog, [nobody] * len(texts), texts, [None] * len(texts), none)
            lists = channel.retrieve(batch, min(k, catalog.size))[run.label]
            results += [catalog.items(one.items) if len(one.items) else [] for one in lists]
            advance(len(texts), "")
    return results


def served_results(pipeline: "Pipeline", queries: Sequence[str], k: int) -> list[list[str]]:
    """Return up to k item ids that a deployment serves for each query, best first.

    Args:
        pipeline: of the deployment, with `Inline` executors.
        queries: texts.
        k: items of each, at most `MOST`.

    Raises:
        SettingsError: k is larger.
        SearecError: a request cannot be answered.
    """
    if k > MOST:
        raise SettingsError("a deployment serves shorter lists than a metric needs", got=k, expected=f"at most {MOST}")
    results: list[list[str]] = []
    with progress("search", len(queries)) as advance:
        for start in range(0, len(queries), _AT_ONCE):
            texts = queries[start : start + _AT_ONCE]
            for response in pipeline.search([Request(query=text, k=k) for text in texts]):
                if isinstance(response, SearecError):
                    raise response
                results.append([one.item for one in response.items])
            advance(len(texts), "")
    return results
