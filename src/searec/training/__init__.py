"""Training: one loop for every model that has `loss`, its checkpoint, its log."""

from searec.training.environment import environment
from searec.training.loop import Examples, train
from searec.training.loop_state import TrainReport
from searec.training.processes import first_process
from searec.training.train_config import TrainConfig

__all__ = ["Examples", "TrainConfig", "TrainReport", "environment", "first_process", "train"]
