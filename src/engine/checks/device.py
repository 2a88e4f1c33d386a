"""Checks that the machine has what the Trainer is to use."""

import importlib.util
from collections.abc import Iterable

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import DeviceStatsMonitor

from engine.config.resolved import Config
from engine.errors import UserError


def check_options(config: Config) -> None:
    """Refuses options of the Trainer that exclude each other, and a GPU where there is none."""
    wanted = config.get("trainer.accelerator")
    precision = str(config.get("trainer.precision"))
    clip = config.get("trainer.gradient_clip_val")
    if precision.endswith("mixed") and clip and config.get("optimizer.fused"):
        raise UserError(
            f"trainer.gradient_clip_val={clip} with trainer.precision={precision} needs "
            "optimizer.fused=false: a fused optimiser unscales the gradients itself, after they "
            "would be clipped."
        )
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if wanted in ("gpu", "cuda") and not has_gpu:
        raise UserError(
            f"accelerator={wanted}: PyTorch {torch.__version__} sees no GPU; "
            "use accelerator=cpu or accelerator=auto."
        )


def check_statistics(trainer: Trainer, callbacks: Iterable[Callback]) -> None:
    """Refuses to watch a CPU without the package that reads it."""
    on_cpu = trainer.strategy.root_device.type == "cpu"
    watches = any(isinstance(callback, DeviceStatsMonitor) for callback in callbacks)
    if watches and on_cpu and importlib.util.find_spec("psutil") is None:
        raise UserError("DeviceStatsMonitor: reads a CPU by psutil. Run: pip install psutil")
