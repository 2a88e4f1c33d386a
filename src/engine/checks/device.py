"""Checks that the machine has what the Trainer is to use."""

import importlib.util
from collections.abc import Iterable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import DeviceStatsMonitor

from engine.config.keys import STRATEGY, TARGET
from engine.config.resolved import Config
from engine.data.datamodule import TensorDataModule
from engine.errors import UserError
from engine.fence.lightning import trains_in_copies
from engine.steps.callback import overrides
from engine.supervised import SupervisedModule


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


def check_strategy(trainer: Trainer, config: Config) -> None:
    """Refuses a strategy that trains in copies of this process, which would have nothing of it."""
    if trains_in_copies(trainer):
        own = config.get(STRATEGY)
        name = f": {own[TARGET]}" if isinstance(own, dict) else f"={own}"
        raise UserError(
            f"{STRATEGY}{name}: trains in processes that end before the run records anything. "
            f"Use {STRATEGY}=ddp (of an object: start_method=popen)."
        )


def check_shares(trainer: Trainer, module: LightningModule, data: object) -> str | None:
    """Returns what to say where processes have unequal shares of a batch of our data.

    The step of `SupervisedModule` weighs the shares; processes with another one average gradients.

    Raises:
        UserError: if a process of another module has no sample of a batch.
    """
    processes = trainer.world_size
    of_ours = isinstance(module, SupervisedModule)
    is_weighed = of_ours and not overrides(module, SupervisedModule, ["training_step"])
    if processes == 1 or is_weighed or not isinstance(data, TensorDataModule):
        return None
    size, batch_size = len(data.splits["train"]), data.batch_size
    sizes = {min(size, batch_size), size % min(size, batch_size)} - {0}
    name = type(module).__name__
    if min(sizes) < processes:
        raise UserError(
            f"datamodule.batch_size={batch_size}: of {size:,} training samples, the last batch has "
            f"{min(sizes)}, and {name} needs one for each of {processes} processes."
        )
    uneven = [str(one) for one in sorted(sizes) if one % processes]
    if not uneven:
        return None
    return (
        f"{processes} processes have unequal shares of a batch of {' and of '.join(uneven)}, and "
        f"average the gradients of {name}: these are not those of one process."
    )


def check_statistics(trainer: Trainer, callbacks: Iterable[Callback]) -> None:
    """Refuses to watch a CPU without the package that reads it."""
    on_cpu = trainer.strategy.root_device.type == "cpu"
    watches = any(isinstance(callback, DeviceStatsMonitor) for callback in callbacks)
    if watches and on_cpu and importlib.util.find_spec("psutil") is None:
        raise UserError("DeviceStatsMonitor: reads a CPU by psutil. Run: pip install psutil")
