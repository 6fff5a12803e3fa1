"""How well next queries are suggested: mean reciprocal rank of what each user searches next, by prefix typed.

python benchmarks/suggestions.py RUN DATA     RUN of a model that suggests queries

Choices are the queries of the training searches; one that is not among them counts 0. Test searches, each after what
its user did before. Beside the model: the most searched queries, and the user's own ones, newest first, then these.
"""

import argparse
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from searec.data.batch import Batcher
from searec.data.dataset import load
from searec.pipeline.run import read_run

_PREFIXES = (0, 1, 2, 3)
_BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder")
    parser.add_argument("data", help="dataset folder")
    parser.add_argument("--requests", type=int, default=2_000, help="test searches, drawn with a fixed seed")
    given = parser.parse_args()
    print(json.dumps(measured(given.run, given.data, given.requests), indent=2))


@torch.no_grad()
def measured(folder: str, data: str, count: int) -> dict[str, Any]:
    """Return the mean reciprocal rank of each way of suggesting, by letters typed."""
    dataset = load(data)
    run = read_run(folder, dataset, device="cpu")
    model: Any = run.model
    held = run.split.held_out("search", "test")
    held = held[np.sort(np.random.default_rng(0).permutation(len(held))[:count])]
    trained = run.split.train("search", model.train_tasks)
    known, counts = np.unique(trained.query, return_counts=True)
    texts: list[str] = dataset.queries.texts.gather(known.astype(np.int64) - 1).to_list()
    index = model.index_queries(dict(zip(texts, counts.tolist(), strict=True)))
    popular = counts / (1 + counts.sum())
    searches = dataset.searches
    ranks: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, len(held), _BATCH):
        part = held[start : start + _BATCH]
        batch = Batcher(dataset, model.needs).batch(part)
        place, log_p = (one.cpu().numpy() for one in model.suggest(batch, index, len(texts)))
        by_model = np.full((len(part), len(texts)), -np.inf)
        np.put_along_axis(by_model, np.maximum(place - 1, 0), np.where(place > 0, log_p, -np.inf), axis=1)
        own = np.tile(popular, (len(part), 1))
        for row, (user, end) in enumerate(zip(part.user, part.search_end, strict=True)):
            mine = searches.query[searches.offsets[user] : end]
            where = np.searchsorted(known, mine).clip(max=len(known) - 1)
            is_known = known[where] == mine
            own[row, where[is_known]] = 1 + np.flatnonzero(is_known)
        ways = {"model": by_model, "popular": np.tile(popular, (len(part), 1)), "own, then popular": own}
        for name, found in reciprocal_ranks(ways, texts, known, np.asarray(part.query), dataset.queries.texts).items():
            ranks.setdefault(name, []).append(found)
    figures = {name: round(float(np.concatenate(rows).mean()), 4) for name, rows in ranks.items()}
    return {"data": data, "requests": len(held), "queries": len(texts), "mrr": figures}


def reciprocal_ranks(
    ways: Mapping[str, NDArray[np.float64]], texts: list[str], known: Any, target: Any, all_texts: Any
) -> dict[str, NDArray[np.float64]]:
    """Return 1 / rank of each target among the queries that begin as it does, for each way and each prefix."""
    found = {}
    where = np.searchsorted(known, target).clip(max=len(known) - 1)
    is_known = known[where] == target
    typed = all_texts.gather(target.astype(np.int64) - 1).to_list()
    for letters in _PREFIXES:
        begins = np.array([text[:letters] for text in texts])
        fits = begins[None] == np.array([text[:letters] for text in typed])[:, None]
        for name, scores in ways.items():
            value = np.take_along_axis(scores, where[:, None], axis=1)
            better = ((scores > value) & fits).sum(1)
            ties = ((scores == value) & fits).sum(1)
            found[f"{name}, {letters} letters"] = np.where(is_known, 1 / (better + (ties + 1) / 2), 0.0)
    return found


if __name__ == "__main__":
    main()
