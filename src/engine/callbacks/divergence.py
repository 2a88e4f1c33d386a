"""Stops training when the loss is no longer a number."""

import logging
import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from engine.fence.lightning import batch_of_epoch
from engine.steps.callback import EACH_JOB, StepCallback

log = logging.getLogger(__name__)


class StopOnDivergence(StepCallback):
    """Stops training at the first row of metrics whose loss is NaN or infinite.

    A run that diverged stays stopped when it is resumed.
    """

    in_a_stack = EACH_JOB
    diverged = False

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.diverged

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (batch_of_epoch(trainer) + 1) % every == 0:
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None and not math.isfinite(loss) and not self.diverged:
            self.diverged = trainer.should_stop = True
            log.warning(
                "train/loss is %s at step %d: diverged", float(loss), trainer.global_step - 1
            )

    def state_dict(self) -> dict[str, Any]:
        return {"diverged": self.diverged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.diverged = state["diverged"]
