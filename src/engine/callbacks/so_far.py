"""Saves and restores what a run has in memory and Lightning leaves out of a checkpoint."""

from typing import Any

from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from torchmetrics import Metric

from engine import processes, seeds
from engine.fence import torchmetrics as metrics
from engine.fence.lightning import is_within_epoch, restore_metrics, results_of_training


def so_far(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """Returns what a resumed run needs beside Lightning's own checkpoint.

    That is whether training was stopped, and how many steps a row covers; and of each process the
    metrics that callbacks and learning rates follow, the states of the generators of random
    numbers, what the module has logged of the current epoch, and the module's torchmetrics.
    """
    parts = _metrics(module).items()
    own = {
        "generators": seeds.generator_states(),
        "followed": dict(trainer.callback_metrics),
        "logged": results_of_training(trainer).state() if is_within_epoch(trainer) else {},
        "metrics": {name: metrics.state_of(part) for name, part in parts if part.update_count},
    }
    return {
        "stopped": bool(trainer.should_stop),
        "log_every_n_steps": trainer.log_every_n_steps,  # type: ignore[attr-defined]
        "processes": processes.gathered(move_data_to_device(own, "cpu")),
    }


def follow(trainer: Trainer, saved: dict[str, Any]) -> None:
    """Gives a Trainer the metrics that callbacks and learning rates follow, as `so_far` has them.

    A run that has no step left needs them, too. Rows go on with the steps that they had: a run that
    is made longer would have longer rows.
    """
    current: Any = trainer
    current.log_every_n_steps = saved.get("log_every_n_steps", current.log_every_n_steps)
    if own := processes.own(saved["processes"]):
        restore_metrics(trainer, move_data_to_device(own["followed"], trainer.strategy.root_device))


def resume(trainer: Trainer, module: LightningModule, saved: dict[str, Any]) -> None:
    """Goes on with what `so_far` returned, when training has begun."""
    trainer.should_stop = trainer.should_stop or saved["stopped"]
    if own := processes.own(saved["processes"]):
        seeds.restore_generators(own["generators"])
        device = trainer.strategy.root_device
        results_of_training(trainer).resume(move_data_to_device(own["logged"], device))
        parts = _metrics(module)
        for name, state in own["metrics"].items():
            metrics.resume(parts[name], move_data_to_device(state, device))


def _metrics(module: LightningModule) -> dict[str, Metric]:
    return {name: part for name, part in module.named_modules() if isinstance(part, Metric)}
