"""Started by torchrun: one process of a training; it leaves its weights beside the run folder."""

import os
import signal
import sys
from pathlib import Path

import torch.distributed
from safetensors.torch import save_file
from toy_training import Toy, ToyConfig, ToyExamples, accuracy

from searec.training import TrainConfig, train
from searec.training.checkpoint import apart


class Stopped(Toy):
    """Asks the second process alone to stop, in step 6."""

    left = 6

    def loss(self, batch):
        self.left -= 1
        if self.left == 0 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        return super().loss(batch)


if __name__ == "__main__":
    folder, asked = Path(sys.argv[1]), sys.argv[2:]
    model = (Stopped if "stop" in asked else Toy)(ToyConfig(dropout=0.0))
    settings = TrainConfig(epochs=3, lr=0.02, clip=1.0, device="cpu")
    train(model, ToyExamples(), accuracy, folder, settings, resume="resume" in asked)
    save_file(apart(model.state()), folder.parent / f"weights{torch.distributed.get_rank()}.safetensors")
    torch.distributed.barrier()  # one that leaves first takes the store that the other ends by
    torch.distributed.destroy_process_group()
