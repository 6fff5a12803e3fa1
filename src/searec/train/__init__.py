"""Training: one loop for every model that has `loss`, its checkpoint, its log."""

from searec.train.environment import environment
from searec.train.loop import Examples, TrainReport, train
from searec.train.plan import TrainSettings
from searec.train.processes import first_process

__all__ = ["Examples", "TrainReport", "TrainSettings", "environment", "first_process", "train"]
