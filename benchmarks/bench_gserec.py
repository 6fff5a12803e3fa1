"""GSERec: training and evaluation against a plain rendering of the published structure, and cost by number of users.

An example is one positive with its negatives. Both sides learn and score by the same settings and from the same
requests.
"""

import itertools
import resource
import statistics
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_gserec import FixedRows, ReferenceGSERec, Sessions, Tensors, adam, evaluate, reference_rows, train_steps
from reference_loader import read_arrays
from searec.data.batch import Batch
from searec.data.candidates import candidate_lists
from searec.data.dataset import Dataset, Sizes, load
from searec.data.split import Split
from searec.evaluation.protocol import sampled_ranks
from searec.models.gserec_paper import GSERecPaper
from searec.semantic_ids.user_code_table import UserCodes
from searec.training.examples import TrainingExamples
from timing import in_child, line, paired, seconds

LEVELS, CODES, WIDTH, LAYERS, DROPOUT = 4, 256, 64, 2, 0.1
REC, SRC, CLICKS, WORDS, NEGATIVES = 20, 20, 5, 8, 4
BATCH, EVALUATION_BATCH = 1024, 512
LR, WEIGHT_DECAY = 1e-3, 1e-5
PUBLISHED = {"train": 1113, "evaluate": 602}
"""Examples/s and users/s of the authors' code on a quiet machine of two cores, on Yelp, data loading left out.

What the reference
must reach."""
STEPS, REQUESTS, ROUNDS = 12, 4096, 3
"""Of the reference in one round; searec learns a whole epoch, as its batches are of unlike lengths."""
USERS = {"ours": (30_000, 300_000, 3_000_000), "theirs": (30_000, 300_000)}
"""The reference builds its sparse graph of 3 million users for minutes, in more than 11 GiB."""
ITEMS, QUERIES, VOCABULARY = 20_033, 17_421, 12_083
"""Of the simulated tables, as in Yelp."""
SCALE_STEPS, WARM_UP = 12, 3
SIDES = {"ours": "searec", "theirs": "reference"}


def run(data: Path) -> None:
    """Print the ratios of training and of sampled evaluation."""
    dataset = load(data)
    split = Split(dataset)
    codes = random_codes(dataset.sizes.users)
    train(split, codes, data)
    score(split, codes, data)


def train(split: Split, codes: NDArray[np.int16], data: Path) -> None:
    """Print training examples a second, data loading included on both sides, and the reference's without it."""
    dataset = split.data
    model = our_model(dataset.sizes, codes)
    examples = TrainingExamples(split, model, batch=BATCH, seed=0)
    ours_adam = our_adam(model)
    reference = reference_model(dataset, codes)
    theirs_adam = adam(reference, LR, WEIGHT_DECAY)
    rows = FixedRows(
        read_arrays(dataset.folder),
        split.train("recommend", ("recommend",)),
        feed=REC,
        searches=SRC,
        negatives=NEGATIVES,
    )
    ready: list[Tensors] = list(itertools.islice(reference_rows(rows, BATCH, shuffle=True), STEPS))
    steps = examples.steps(0)
    count = {"ours": sum(len(requests) for requests in examples.requests), "theirs": STEPS * BATCH}

    def ours() -> None:
        learn(model, ours_adam, ahead(lambda step: examples.batch(0, step), steps))

    def theirs() -> None:
        train_steps(reference, reference_rows(rows, BATCH, shuffle=True), STEPS, theirs_adam)

    learn(model, ours_adam, (examples.batch(0, step) for step in range(WARM_UP)))
    train_steps(reference, ready, 1, theirs_adam)
    figures = rates(paired(ours, theirs, rounds=ROUNDS), count)
    no_loading = min(seconds(lambda: train_steps(reference, ready, STEPS, theirs_adam)) for _ in range(ROUNDS))
    figures |= {
        "theirs_without_loading_per_s": round(count["theirs"] / no_loading),
        "published_per_s": PUBLISHED["train"],
    }
    line(
        "GSERec training, against the published structure", data, {**figures, "batch": BATCH, "examples": count["ours"]}
    )


def score(split: Split, codes: NDArray[np.int16], data: Path) -> None:
    """Print users a second in sampled evaluation, data loading included on both sides.

    And the reference's without it.
    """
    dataset = split.data
    held = split.held_out("recommend", "test")
    chosen = np.sort(np.random.default_rng(0).choice(len(held), size=min(REQUESTS, len(held)), replace=False))
    requests = held[chosen]
    candidates = np.asarray(candidate_lists(split, "recommend", "test")[chosen])
    model = our_model(dataset.sizes, codes).eval()
    reference = reference_model(dataset, codes).eval()
    rows = FixedRows(read_arrays(dataset.folder), requests, feed=REC, searches=SRC, candidates=candidates)
    ready: list[Tensors] = list(reference_rows(rows, EVALUATION_BATCH))

    def ours() -> None:
        sampled_ranks(model, split, requests, candidates)

    def theirs() -> None:
        evaluate(reference, reference_rows(rows, EVALUATION_BATCH))

    ours()
    evaluate(reference, ready[:1])
    count = {"ours": len(requests), "theirs": len(requests)}
    figures = rates(paired(ours, theirs, rounds=ROUNDS), count)
    no_loading = min(seconds(lambda: evaluate(reference, ready)) for _ in range(ROUNDS))
    figures |= {
        "theirs_without_loading_per_s": round(len(requests) / no_loading),
        "published_per_s": PUBLISHED["evaluate"],
    }
    asked = {"requests": len(requests), "candidates": candidates.shape[1]}
    line("GSERec sampled evaluation, against the published structure", data, {**figures, **asked})


def scale(users: Mapping[str, tuple[int, ...]] = USERS) -> None:
    """Print peak memory and step time of both sides for each number of users, then how they grow."""
    for side, name in SIDES.items():
        found = []
        for count in users[side]:
            figures, _, peak = in_child(simulated_steps, side, count, torch.get_num_threads())
            figures |= {"peak_gib": peak, "model_gib": round(peak - figures.pop("before_gib"), 2)}
            line(f"GSERec step by number of users ({name})", "simulated", figures)
            found.append(figures)
        line(f"GSERec growth with users ({name})", "simulated", growth(found))


def simulated_steps(side: str, users: int, threads: int) -> dict[str, Any]:
    """Median seconds of a training step over random codes and short random histories of so many users."""
    torch.set_num_threads(threads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rng = np.random.default_rng(0)
    codes = random_codes(users)
    step = our_steps(rng, codes) if side == "ours" else reference_steps(rng, codes)
    taken = [seconds(step) for _ in range(WARM_UP + SCALE_STEPS)][WARM_UP:]
    return {
        "users": users,
        "step_s": round(statistics.median(taken), 4),
        "before_gib": round(before, 2),
        "batch": BATCH,
    }


def growth(found: list[dict[str, Any]]) -> dict[str, float]:
    """Exponents in users^x, over all sizes and between the two largest, and what a million users more cost."""
    users = np.array([figures["users"] for figures in found], dtype=np.float64)
    out: dict[str, float] = {}
    for name, unit in (("step_s", "s"), ("model_gib", "gib")):
        values = np.array([figures[name] for figures in found])
        out[f"{name}_exponent"] = round(float(np.polyfit(np.log(users), np.log(values), 1)[0]), 2)
        out[f"{name}_exponent_at_end"] = round(
            float(np.log(values[-1] / values[-2]) / np.log(users[-1] / users[-2])), 2
        )
        out[f"{unit}_per_million_users"] = round(float(np.polyfit(users / 1e6, values, 1)[0]), 3)
    return out


def our_steps(rng: np.random.Generator, codes: NDArray[np.int16]) -> Callable[[], None]:
    """One training step of searec at a call, on a new batch each time."""
    users = len(codes) - 1
    model = our_model(Sizes(users, ITEMS, QUERIES, VOCABULARY, 1), codes)
    optimizer = our_adam(model)
    batches = iter([simulated_batch(rng, users) for _ in range(WARM_UP + SCALE_STEPS)])
    return lambda: learn(model, optimizer, [next(batches)])


def reference_steps(rng: np.random.Generator, codes: NDArray[np.int16]) -> Callable[[], object]:
    """One training step of the reference at a call, on batches like those of `our_steps`."""
    users = len(codes) - 1
    batches = []
    sessions, clicks = [torch.zeros(1, dtype=torch.int64)], [torch.zeros(1, CLICKS, dtype=torch.int64)]
    for _ in range(WARM_UP + SCALE_STEPS):
        batch = simulated_batch(rng, users)
        here = batch.search_query != 0
        ids = torch.zeros_like(batch.search_query, dtype=torch.int64)
        ids[here] = torch.arange(int(here.sum())) + sum(len(part) for part in sessions)
        sessions.append(batch.search_query[here].long())
        clicks.append(batch.search_click[here].long())
        assert batch.candidates is not None
        rows = {"user": batch.user, "feed": batch.feed_item, "searches": ids, "candidates": batch.candidates}
        batches.append({name: values.long() for name, values in rows.items()})
    words = simulated_words(np.random.default_rng(1), QUERIES + 1).long()
    tables = Sessions(torch.cat(sessions), torch.cat(clicks), words)
    reference = ReferenceGSERec(
        codes, tables, items=ITEMS, words=VOCABULARY, size=CODES, width=WIDTH, feed=REC, searches=SRC, layers=LAYERS
    )
    optimizer, left = adam(reference, LR, WEIGHT_DECAY), iter(batches)
    return lambda: train_steps(reference, [next(left)], 1, optimizer)


def simulated_batch(rng: np.random.Generator, users: int) -> Batch:
    """A training batch of random users with short random histories; queries are rows of a table of all `QUERIES`."""

    def history(limit: int, of: int) -> NDArray[np.int32]:
        length = np.minimum(rng.geometric(0.25, size=(BATCH, 1)) - 1, limit)
        ids = rng.integers(1, of + 1, size=(BATCH, limit), dtype=np.int32)
        return np.where(np.arange(limit) < length, ids, 0).astype(np.int32)

    query = history(SRC, QUERIES)
    click = rng.integers(1, ITEMS + 1, size=(BATCH, SRC, CLICKS), dtype=np.int32)
    click *= (np.arange(CLICKS) < rng.integers(0, CLICKS + 1, size=(BATCH, SRC, 1))) & (query != 0)[:, :, None]
    distinct, row = np.unique(query, return_inverse=True)  # 0 is among them: histories are short
    candidates = rng.integers(1, ITEMS + 1, size=(BATCH, 1 + NEGATIVES), dtype=np.int32)
    times = torch.zeros(BATCH, 1, dtype=torch.int64)
    return Batch(
        task="recommend",
        user=torch.from_numpy(rng.integers(1, users + 1, size=BATCH, dtype=np.int32)),
        time=times[:, 0],
        feed_item=torch.from_numpy(history(REC, ITEMS)),
        feed_time=times.expand(-1, REC),
        feed_weight=torch.ones(BATCH, REC),
        search_query=torch.from_numpy(row.reshape(query.shape).astype(np.int32)),
        search_click=torch.from_numpy(click),
        search_time=times.expand(-1, SRC),
        click_item=times.int(),
        click_time=times,
        query=times[:, 0].int(),
        words=simulated_words(rng, len(distinct)),
        query_id=torch.from_numpy(distinct),
        target=torch.from_numpy(candidates[:, 0].copy()),
        candidates=torch.from_numpy(candidates),
    )


def simulated_words(rng: np.random.Generator, rows: int) -> Tensor:
    """[rows, WORDS] word ids of queries of one to `WORDS` words; row 0 is empty."""
    words = rng.integers(1, VOCABULARY + 1, size=(rows, WORDS), dtype=np.int32)
    words *= np.arange(WORDS) < rng.integers(1, WORDS + 1, size=(rows, 1))
    words[0] = 0
    return torch.from_numpy(words)


def random_codes(users: int) -> NDArray[np.int16]:
    """[U + 1, 2, L] uniform codes on both sides; the arithmetic is that of trained ones."""
    codes = np.random.default_rng(0).integers(0, CODES, size=(users + 1, 2, LEVELS), dtype=np.int16)
    codes[0] = -1
    return codes


def our_model(sizes: Sizes, codes: NDArray[np.int16]) -> GSERecPaper:
    """searec's model at the benchmark's settings, in training mode."""
    torch.manual_seed(0)
    model = GSERecPaper(
        GSERecPaper.Config(
            width=WIDTH,
            inner=WIDTH,
            feed=REC,
            searches=SRC,
            search_clicks=CLICKS,
            words=WORDS,
            negatives=NEGATIVES,
            levels=LEVELS,
            codes=CODES,
            layers=LAYERS,
            dropout=DROPOUT,
            attention_dropout=DROPOUT,
        ),
        sizes,
    )
    model.load_artifacts(UserCodes(codes, CODES), torch.arange(len(codes)) > 0)
    return model.train()


def our_adam(model: GSERecPaper) -> torch.optim.Optimizer:
    """As in searec's training loop."""
    return torch.optim.Adam(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=True)


def reference_model(dataset: Dataset, codes: NDArray[np.int16]) -> ReferenceGSERec:
    """The reference at the same settings."""
    torch.manual_seed(0)
    sessions = Sessions.of(read_arrays(dataset.folder), CLICKS, WORDS)
    items, words = dataset.sizes.items, dataset.sizes.words
    return ReferenceGSERec(
        codes,
        sessions,
        items=items,
        words=words,
        size=CODES,
        width=WIDTH,
        feed=REC,
        searches=SRC,
        layers=LAYERS,
        dropout=DROPOUT,
    )


def learn(model: GSERecPaper, optimizer: torch.optim.Optimizer, batches: Iterable[Batch]) -> None:
    """Training steps of searec."""
    for batch in batches:
        torch.autograd.backward(model.loss(batch).total)
        optimizer.step()
        optimizer.zero_grad()


def ahead(make: Callable[[int], Batch], steps: int) -> Iterable[Batch]:
    """The batches of an epoch; the next one is made while this one is learned from, as in searec's training loop."""
    with ThreadPoolExecutor(1) as helper:
        coming = helper.submit(make, 0)
        for step in range(1, steps + 1):
            batch = coming.result()
            if step < steps:
                coming = helper.submit(make, step)
            yield batch


def rates(figures: dict[str, float], count: dict[str, int]) -> dict[str, float]:
    """Examples a second of both sides and their ratio, from the seconds of unlike numbers of examples."""
    ours, theirs = (count[side] / figures[f"{side}_s"] for side in SIDES)
    ratio = figures["ratio"] * count["ours"] / count["theirs"]
    return {"ours_per_s": round(ours), "theirs_per_s": round(theirs), "ratio": round(ratio, 2)}
