"""Saves and restores what a run has in memory and Lightning leaves out of a checkpoint."""

from collections.abc import Mapping
from typing import Any

from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from torchmetrics import Metric

from engine import processes, seeds
from engine.data.exact_loader import same
from engine.fence import torchmetrics as metrics
from engine.fence.lightning import is_within_epoch, restore_metrics, results_of_training


def so_far(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """Returns what a resumed run needs beside Lightning's own checkpoint.

    That is whether training was stopped, how many steps a row covers, and which parameters and
    layers a callback has frozen; and of each process the metrics that callbacks and learning rates
    follow, the states of the generators of random numbers, what the module has logged of the
    current epoch, and the module's torchmetrics.
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
        "frozen": [name for name, own in module.named_parameters() if not own.requires_grad],
        "evaluating": [name for name, part in module.named_modules() if not part.training],
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
    for name, parameter in module.named_parameters():
        if parameter.requires_grad == (name in saved["frozen"]):
            parameter.requires_grad_(not parameter.requires_grad)
    for name, part in module.named_modules():
        if part.training == (name in saved["evaluating"]):
            part.training = not part.training
    if own := processes.own(saved["processes"]):
        seeds.restore_generators(own["generators"])
        device = trainer.strategy.root_device
        results_of_training(trainer).resume(move_data_to_device(own["logged"], device))
        parts = _metrics(module)
        for name, state in own["metrics"].items():
            metrics.resume(parts[name], move_data_to_device(state, device))


def changed(trainer: Trainer, module: LightningModule, saved: Mapping[str, Any]) -> list[str]:
    """Names the weights and optimisers that are not as a checkpoint has them.

    Training has begun, and takes its first step next. So a hook that runs at each start has changed
    them: it ran when the training began, too, and its work was in the checkpoint already.

    Args:
        trainer: the run's.
        module: the one that is trained.
        saved: the checkpoint, as all that took their states from it have left it.
    """
    states = map(trainer.strategy.optimizer_state, trainer.optimizers)
    own = {f"optimiser {number}": state for number, state in enumerate(states)}
    then = {f"optimiser {number}": one for number, one in enumerate(saved["optimizer_states"])}
    own |= module.state_dict()
    then |= saved.get("current_model_state", saved["state_dict"])  # that may be a running mean
    now = move_data_to_device({name: own[name] for name in own if name in then}, "cpu")
    return [name for name in now if not same(now[name], then[name])]


def _metrics(module: LightningModule) -> dict[str, Metric]:
    return {name: part for name, part in module.named_modules() if isinstance(part, Metric)}
