"""The progress bar: epoch, step, loss and speed; and a line that stays, in the log, after each epoch."""

import logging
import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from engine.config.ranges import Count, NotNegative
from engine.fence.lightning import ProgressBar, batch_of_epoch
from engine.steps.callback import ONCE, StepCallback

log = logging.getLogger(__name__)


class StepProgressBar(StepCallback, ProgressBar):
    """Lightning's bar, drawn by the clock instead of every so many steps, and only in a terminal.

    Args:
        refresh_seconds: least time between two drawings.
        line_every_n_steps: steps between two lines in the log, besides the one at the end of each epoch.
    """

    in_a_stack = ONCE

    def __init__(
        self, refresh_seconds: NotNegative = 0.2, line_every_n_steps: Count | None = None
    ) -> None:
        super().__init__(refresh_rate=1)
        self.refresh_seconds, self.line_every_n_steps = refresh_seconds, line_every_n_steps
        self._drawn_at = 0.0
        if not sys.stdout.isatty():
            self.disable()

    def enable(self) -> None:
        """Lightning enables the bar of the first process; without a terminal it stays off."""
        if sys.stdout.isatty():
            super().enable()

    def get_metrics(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, module)
        metrics.pop("v_num", None)
        return {"step": str(trainer.global_step), **metrics}

    def on_train_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_start(trainer, *args)
        self.on_train_epoch_start(
            trainer, *args
        )  # Lightning leaves it out where a run resumes within an epoch

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(self._epoch(trainer), refresh=False)
        self._began = time.monotonic(), trainer.global_step

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return bool(self.line_every_n_steps) and (step + 1) % (self.line_every_n_steps or 1) == 0

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        last = batch_of_epoch(trainer)  # of a block
        super().on_train_batch_end(trainer, module, outputs, batch, last)
        if self.line_every_n_steps and trainer.global_step % self.line_every_n_steps == 0:
            self._line(trainer)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, module)
        if not self.line_every_n_steps:
            self._line(trainer)

    def _line(self, trainer: Trainer) -> None:
        """Log where training stands: `epoch 1/5, step 12,500: train/loss 1.72, train/acc 0.37 (830 steps/s)`."""
        seconds, first = self._began
        speed = (trainer.global_step - first) / max(time.monotonic() - seconds, 1e-9)
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.count("/") == 1}
        values = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        with self.train_progress_bar.external_write_mode(file=sys.stdout):
            log.info(
                "%s, step %s: %s (%.0f steps/s)",
                self._epoch(trainer),
                f"{trainer.global_step:,}",
                values,
                speed,
            )

    @staticmethod
    def _epoch(trainer: Trainer) -> str:
        last = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        return f"epoch {trainer.current_epoch + 1}{last}"

    def is_due(self, current: int, total: int) -> bool:
        now = time.monotonic()
        if current != total and now - self._drawn_at < self.refresh_seconds:
            return False
        self._drawn_at = now
        return True
