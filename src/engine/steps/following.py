"""Callbacks that follow a metric."""

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from engine.steps.callback import StepCallback


class FollowsMetric(StepCallback):
    """Is told each value of a metric once, after the validation or the epoch that logged it.

    A Trainer keeps the last value of each metric. While a validation ends, what training logs at
    the end of an epoch is still the value of the epoch before.
    """

    monitor: str  # the metric
    _before: Tensor | None = None  # the value that a validation found as it began
    _told: Tensor | None = None

    def on_value(self, trainer: Trainer, module: LightningModule, value: Tensor) -> None:
        """Runs for each value of the metric.

        Args:
            trainer: the run's.
            module: the one that is trained, with the weights that the value is of.
            value: of this process.
        """

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._before = trainer.callback_metrics.get(self.monitor)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            value = trainer.callback_metrics.get(self.monitor)
            if value is not self._before:  # each value is a tensor of its own
                self._tell_once(trainer, module, value)

    def on_epoch_done(self, trainer: Trainer, module: LightningModule) -> None:
        self._tell_once(trainer, module, trainer.callback_metrics.get(self.monitor))

    def _tell_once(self, trainer: Trainer, module: LightningModule, value: Tensor | None) -> None:
        if value is not None and value is not self._told:
            self._told = value
            self.on_value(trainer, module, value)
