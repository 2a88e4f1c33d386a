"""What a run has in memory, and Lightning does not put into a checkpoint."""

from typing import Any

from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from torchmetrics import Metric

from engine import processes, seeds
from engine.fence.lightning import is_within_epoch, restore_metrics, results_of_training


def so_far(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """Returns what a resumed run needs beside Lightning's own checkpoint.

    That is whether training was stopped; the metrics that callbacks and learning rates follow; and
    of each process the states of Python's and NumPy's generators, what the module has logged of the
    current epoch, and the module's torchmetrics.
    """
    within = is_within_epoch(trainer)
    metrics = _metrics(module).items() if within else ()
    own = {
        "random": seeds.plain_states(),
        "logged": results_of_training(trainer).state() if within else {},
        "metrics": {name: metric.metric_state for name, metric in metrics if metric.update_count},
    }
    return {
        "stopped": trainer.should_stop,
        "metrics": dict(trainer.callback_metrics),
        "processes": processes.gathered(own),
    }


def resume(trainer: Trainer, module: LightningModule, saved: dict[str, Any]) -> None:
    """Goes on with what `so_far` returned, when training starts."""
    restore_metrics(trainer, saved["metrics"])
    trainer.should_stop = trainer.should_stop or saved["stopped"]
    if own := processes.own(saved["processes"]):
        own = move_data_to_device(own, trainer.strategy.root_device)
        seeds.restore_plain_states(own["random"])
        results_of_training(trainer).resume(own["logged"])
        metrics = _metrics(module)
        for name, state in own["metrics"].items():
            for key, value in state.items():
                setattr(metrics[name], key, value)


def _metrics(module: LightningModule) -> dict[str, Metric]:
    return {name: part for name, part in module.named_modules() if isinstance(part, Metric)}
