"""Training examples a second of RecBole's own SASRec; run by the Python of .venv-recbole (see recbole_env.sh).

Dataset, loader, sampler, model and training loop are RecBole's (`Trainer._train_epoch`), its leave-one-out split too.
Only the number of batches is ours: some to warm up, then `--steps` under the clock. Reading the file, RecBole's
augmentation and building the model come before the clock starts. An example is one (history -> next item) pair,
which is one row of RecBole's augmented data. Prints one JSON line.

One of RecBole's model files (sine.py) turns on PyTorch's anomaly detection for whoever imports a sequential model,
SASRec
too. That is a debugging aid that costs about a third of the time, so it is switched off here again; `--as-shipped`
leaves it on.

    .venv-recbole/bin/python benchmarks/recbole_sasrec.py --data OUT --loss CE     with OUT from recbole_input.py
"""

import argparse
import itertools
import json
import logging
import math
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pandas
import torch


class SomeBatches:
    """The next `steps` batches of RecBole's loader, starting a new epoch wherever one ends.

    Counts what it hands over.
    """

    def __init__(self, batches: Iterator[Any], steps: int) -> None:
        self.batches, self.steps, self.examples, self.real, self.padded = batches, steps, 0, 0, 0

    def __iter__(self) -> Iterator[Any]:
        for batch in itertools.islice(self.batches, self.steps):
            self.examples += len(batch)
            self.real += int(batch["item_length"].sum())
            self.padded += batch["item_id_list"].numel()
            yield batch


def endless(loader: Any) -> Iterator[Any]:
    """Epoch after epoch of a loader."""
    while True:
        yield from loader


def settings_of(options: argparse.Namespace, folder: Path, scratch: str) -> dict[str, Any]:
    """RecBole's settings; whatever is not named here is its default."""
    return {
        "data_path": str(folder.parent),
        "checkpoint_dir": scratch,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "train_neg_sample_args": None if options.loss == "CE" else {"distribution": "uniform", "sample_num": 1},
        "MAX_ITEM_LIST_LENGTH": options.length,
        "hidden_size": options.hidden,
        "inner_size": options.inner,
        "n_layers": options.layers,
        "n_heads": options.heads,
        "hidden_dropout_prob": options.dropout,
        "attn_dropout_prob": options.dropout,
        "loss_type": options.loss,
        "train_batch_size": options.batch,
        "learning_rate": options.learning_rate,
        "use_gpu": options.gpu,
        "seed": options.seed,
        "show_progress": False,
        "state": "ERROR",
    }


def measure(options: argparse.Namespace, scratch: str) -> dict[str, Any]:
    """Build RecBole's parts, warm up, train `options.steps` batches under the clock."""
    import recbole
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.sequential_recommender import SASRec
    from recbole.trainer import Trainer
    from recbole.utils import init_logger, init_seed

    began = time.perf_counter()
    folder = options.data
    sys.argv = sys.argv[:1]  # RecBole's Config reads the command line too
    config = Config(model="SASRec", dataset=folder.name, config_dict=settings_of(options, folder, scratch))
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    logging.getLogger().setLevel(logging.ERROR)
    torch.set_num_threads(options.threads)
    dataset = create_dataset(config)
    loader, _, _ = data_preparation(config, dataset)
    torch.autograd.set_detect_anomaly(options.as_shipped)
    init_seed(config["seed"], config["reproducibility"])
    model = SASRec(config, loader.dataset).to(config["device"])
    trainer = Trainer(config, model)
    set_up = time.perf_counter() - began

    on_gpu = config["device"].type == "cuda"
    batches = endless(loader)
    trainer._train_epoch(SomeBatches(batches, options.warmup), 0)
    clocked = SomeBatches(batches, options.steps)
    if on_gpu:
        torch.cuda.synchronize()
    began, busy = time.perf_counter(), time.process_time()
    loss = trainer._train_epoch(clocked, 1)
    if on_gpu:
        torch.cuda.synchronize()
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    return {
        "what": "sasrec training, RecBole",
        "examples_per_second": round(clocked.examples / seconds, 1),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(busy, 3),
        "examples": clocked.examples,
        "steps": options.steps,
        "warmup_steps": options.warmup,
        "set_up_seconds": round(set_up, 2),
        "mean_loss": round(loss / options.steps, 4),
        "share_not_padding": round(clocked.real / clocked.padded, 4),
        "rows": len(loader.dataset),
        "items": dataset.item_num - 1,
        "users": dataset.user_num - 1,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "settings": {
            "loss": options.loss,
            "batch": config["train_batch_size"],
            "hidden": options.hidden,
            "inner": options.inner,
            "layers": options.layers,
            "heads": options.heads,
            "length": options.length,
            "dropout": options.dropout,
            "learning_rate": options.learning_rate,
            "negatives": 0 if options.loss == "CE" else 1,
            "seed": options.seed,
            "threads": torch.get_num_threads(),
            "device": str(config["device"]),
            "anomaly_detection": torch.is_anomaly_enabled(),
        },
        "versions": {
            "recbole": recbole.__version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "pandas": pandas.__version__,
            "python": platform.python_version(),
        },
    }


def fit(options: argparse.Namespace, scratch: str) -> dict[str, Any]:
    """Train to RecBole's best validation with its own early stopping, and measure that on the requests given.

    A request is {"user", "target", "excluded"}: the target's rank is that among the whole catalogue without the
    excluded items, which is searec's full protocol. RecBole stops by its own NDCG@10, which leaves out nothing.
    """
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.sequential_recommender import SASRec
    from recbole.trainer import Trainer
    from recbole.utils import init_logger, init_seed

    folder = options.data
    sys.argv = sys.argv[:1]
    settings = settings_of(options, folder, scratch) | {"valid_metric": "NDCG@10", "epochs": 300, "stopping_step": 5}
    config = Config(model="SASRec", dataset=folder.name, config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    logging.getLogger().setLevel(logging.ERROR)
    torch.set_num_threads(options.threads)
    dataset = create_dataset(config)
    train, valid, _ = data_preparation(config, dataset)
    torch.autograd.set_detect_anomaly(False)
    model = SASRec(config, train.dataset).to(config["device"])
    trainer = Trainer(config, model)
    began, curve = time.perf_counter(), []
    trainer.fit(
        train, valid, verbose=False, callback_fn=lambda _, score: curve.append((time.perf_counter() - began, score))
    )
    seconds, best = max(curve, key=lambda point: point[1])
    model.load_state_dict(torch.load(trainer.saved_model_file, weights_only=False)["state_dict"])
    return {
        "seconds": round(seconds, 2),
        "epochs": 1 + [score for _, score in curve].index(best),
        "own_ndcg@10": round(float(best), 4),
        **ndcg_of_requests(model, dataset, valid.dataset.inter_feat, json.loads(options.requests.read_text())),
    }


@torch.no_grad()
def ndcg_of_requests(model: Any, dataset: Any, rows: Any, requests: list[dict[str, Any]]) -> dict[str, Any]:
    """NDCG@10 of the requests that RecBole validates too, and how many those are."""
    model.eval()
    row_of = {user: row for row, user in enumerate(rows["user_id"].tolist())}
    users, items = dataset.field2token_id["user_id"], dataset.field2token_id["item_id"]
    gains = []
    for request in requests:
        row = row_of.get(users.get(request["user"], -1), -1)
        target = items.get(request["target"], -1)
        if row < 0 or int(rows["item_id"][row]) != target:
            continue
        scores = model.full_sort_predict(rows[[row]])[0]
        best = float(scores[target])
        scores[0] = scores[target] = -torch.inf
        scores[[items[item] for item in request["excluded"] if item in items]] = -torch.inf
        rank = 1 + int((scores > best).sum())
        gains.append(1 / math.log2(1 + rank) if rank <= 10 else 0.0)
    return {"ndcg@10": round(sum(gains) / max(1, len(gains)), 4), "requests": len(gains)}


def main() -> None:
    """Read the arguments, measure in a scratch folder (RecBole writes beside itself), print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with <its name>.inter")
    parser.add_argument("--requests", type=Path, help="JSON file; train to the best validation and measure on these")
    parser.add_argument("--loss", choices=("CE", "BPR"), default="CE")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--inner", type=int, default=256)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--length", type=int, default=50, help="longest history")
    parser.add_argument("--dropout", type=float, default=0.5, help="hidden and attention")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--steps", type=int, default=10, help="batches under the clock")
    parser.add_argument("--warmup", type=int, default=3, help="batches before the clock")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--as-shipped", action="store_true", help="leave RecBole's accidental anomaly detection on")
    options = parser.parse_args()
    options.data = options.data.resolve()
    options.requests = options.requests and options.requests.resolve()
    if not (options.data / f"{options.data.name}.inter").is_file():
        parser.error(f"{options.data} holds no {options.data.name}.inter; recbole_input.py writes one")
    warnings.simplefilter("ignore", FutureWarning)
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            figures = fit(options, scratch) if options.requests else measure(options, scratch)
        finally:
            os.chdir(home)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
