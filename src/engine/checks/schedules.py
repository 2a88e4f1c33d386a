"""Looks whether learning rates that were made for a shorter training last for a longer one."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch.optim.lr_scheduler import OneCycleLR

from engine.errors import UserError
from engine.fence.torch import schedules_within
from engine.steps.callback import overrides
from engine.steps.length import rates_of

log = logging.getLogger(__name__)


def check_schedules(trainer: Trainer, shorter: Path) -> None:
    """Says of a longer run's learning rates that they go on as they were made.

    Args:
        trainer: its schedules have the states of the shorter run.
        shorter: the folder of the run that is made longer.

    Raises:
        UserError: if one would come to its end before the training does.
    """
    module: Any = trainer.lightning_module
    steps_itself = not module.automatic_optimization or overrides(
        module, LightningModule, ("lr_scheduler_step",)
    )
    for schedule in trainer.lr_scheduler_configs:
        if schedule.reduce_on_plateau:
            continue
        whole: Any = schedule.scheduler
        kind = type(whole).__name__
        interval: Any = schedule.interval
        rates = rates_of(trainer, interval, schedule.frequency)
        for own, number in schedules_within(whole, rates):
            # Others' go on after that number of theirs.
            if isinstance(own, OneCycleLR) and number > own.total_steps and not steps_itself:
                place = "" if own is whole else f" in {kind}"
                raise UserError(
                    f"{type(own).__name__}{place}: goes on as it was made, and ends after "
                    f"total_steps={own.total_steps}: this training has {number:,}.\n"
                    f"Begin a new schedule from the weights: init_from={shorter}"
                )
        log.warning("%s goes on as it was made: it may know the shorter length", kind)
