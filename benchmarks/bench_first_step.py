"""From the call to the first training step of `train sasrec` on the packaged sample, beside plain PyTorch.

python benchmarks/bench_first_step.py

Each side is a process of its own that starts Python, imports what it needs, and stops after its first optimizer step:
ours reads and checks the dataset folder, makes requests and looks for leaks; theirs reads nothing and learns one batch
of random items with a model of the same size.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from searec.data.synthetic.simulate import sample_folder
from timing import line

ROUNDS = 3
OURS = """
import os, sys, time
import searec
started = time.perf_counter()
import searec.training.loop as loop
step = loop._Loop._step
def first(self, batch):
    step(self, batch)
    print(time.perf_counter() - started, flush=True)
    os._exit(0)
loop._Loop._step = first
searec.train("sasrec", searec.load(sys.argv[1]), sys.argv[2])
"""
THEIRS = """
import os, time
started = time.perf_counter()
import torch
from torch import nn
WIDTH, HEADS, LAYERS, LENGTH, BATCH, ITEMS = 64, 2, 2, 50, 256, 400
class SASRec(nn.Module):
    def __init__(self):
        super().__init__()
        self.item, self.place = nn.Embedding(ITEMS + 1, WIDTH, padding_idx=0), nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, WIDTH, 0.2, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
    def forward(self, items):
        mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
        states = self.layers(self.item(items) + self.place.weight, mask=mask, is_causal=True)
        return states @ self.item.weight.T
model = SASRec()
adam = torch.optim.Adam(model.parameters(), lr=1e-3)
items = torch.randint(1, ITEMS + 1, (BATCH, LENGTH + 1))
loss = nn.functional.cross_entropy(model(items[:, :-1]).flatten(0, 1), items[:, 1:].flatten())
loss.backward()
adam.step()
print(time.perf_counter() - started, flush=True)
os._exit(0)
"""


def run() -> None:
    """Print the seconds of both sides, in turn: of the whole process, and within Python."""
    with tempfile.TemporaryDirectory() as room:
        environment = {**os.environ, "SEAREC_CACHE": str(Path(room) / "cache"), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)

        def seconds(program: str, *arguments: str) -> tuple[float, float]:
            started = time.perf_counter()
            command = [sys.executable, "-c", program, *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            return time.perf_counter() - started, float(done.stdout.splitlines()[-1])

        folders = (str(Path(room) / f"run-{number}") for number in range(ROUNDS + 1))
        cold, _ = seconds(OURS, str(sample_folder()), next(folders))
        seconds(THEIRS)
        pairs = [(seconds(OURS, str(sample_folder()), next(folders)), seconds(THEIRS)) for _ in range(ROUNDS)]
    figures = {
        "cold_s": round(cold, 2),
        "ours_s": round(statistics.median(ours[0] for ours, _ in pairs), 2),
        "theirs_s": round(statistics.median(theirs[0] for _, theirs in pairs), 2),
        "ratio": round(statistics.median(theirs[0] / ours[0] for ours, theirs in pairs), 2),
    }
    line("first-step", sample_folder(), figures)


if __name__ == "__main__":
    run()
