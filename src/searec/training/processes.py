"""The processes and devices a training runs on, by Accelerate."""

import os
from datetime import timedelta

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs
from accelerate.state import AcceleratorState, is_initialized

from searec.errors import SettingsError
from searec.training.train_config import TrainConfig

_PATIENT = timedelta(hours=12)  # the other processes wait while the first one validates
_LAUNCHES = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.MULTI_XPU)


def first_process() -> bool:
    """Return whether this is the process that writes and prints; true where there is only one."""
    return int(os.environ.get("RANK", "0")) == 0


def accelerate_for(settings: TrainConfig) -> Accelerator:
    """Return an Accelerator of the settings' precision and device.

    Raises:
        SettingsError: a precision that the device lacks, or a launcher that shards the model.
    """
    cpu = settings.device == "cpu" or not torch.accelerator.is_available()
    if cpu and settings.precision == "fp16":  # Accelerate would go on in full precision without a word
        raise SettingsError(
            "fp16 needs an accelerator", where="precision", got="fp16 on the CPU", expected="no or bf16"
        )
    # Accelerate keeps one state for the interpreter, but two trainings of a notebook may differ in it.
    if is_initialized() and (
        AcceleratorState().mixed_precision != settings.precision or (AcceleratorState().device.type == "cpu") != cpu
    ):
        AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    # A batch of one task may leave the parts of a model for the other task unused.
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True), InitProcessGroupKwargs(timeout=_PATIENT)]
    try:
        accelerator = Accelerator(mixed_precision=settings.precision, cpu=cpu, kwargs_handlers=handlers)
    except ValueError as error:
        raise SettingsError(
            "cannot train with these settings on this machine", where="precision, device", got=str(error)
        ) from error
    if accelerator.distributed_type not in _LAUNCHES:
        launch = accelerator.distributed_type.value
        raise SettingsError(
            "this kind of launch is not supported",
            got=launch,
            expected="torchrun, or accelerate launch without plugins",
        )
    return accelerator
