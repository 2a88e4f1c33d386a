"""Callbacks that follow a metric."""

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from engine.fence.lightning import logged_of_epoch
from engine.steps.callback import StepCallback


class FollowsMetric(StepCallback):
    """Is told the values of a metric, each after the validation or the epoch that logged it.

    A Trainer keeps the last value of each metric. While a validation ends, what training logs at
    the end of an epoch is still the value of the epoch before. A metric that validations log is
    told after these only, whatever training logs by that name. One that training logs at steps only
    is told at the end of an epoch with a validation, and of each epoch where there is none at all.
    """

    monitor: str  # the metric
    _before: Tensor | None = None  # the value that a validation found as it began
    _has_validated = False  # since the last epoch
    _is_of_validation = _is_of_epoch = False

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
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self._has_validated = True
        value = trainer.callback_metrics.get(self.monitor)
        # What a validation logs is another tensor each time, and what it does not log is the same.
        if value is not None and value is not self._before:
            self._is_of_validation = True
            self.on_value(trainer, module, value)

    def on_epoch_done(self, trainer: Trainer, module: LightningModule) -> None:
        has_validated, self._has_validated = self._has_validated, False
        # Of jobs that train together, training logs rows only.
        logged = logged_of_epoch(trainer) if isinstance(trainer, Trainer) else ()
        is_logged = self.monitor in logged
        self._is_of_epoch = self._is_of_epoch or is_logged
        value = trainer.callback_metrics.get(self.monitor)
        if value is None or self._is_of_validation:
            return
        comes_now = has_validated or not may_validate(trainer)
        if is_logged or (comes_now and not self._is_of_epoch):
            self.on_value(trainer, module, value)


def may_validate(trainer: Trainer) -> bool:
    """Tells whether a training may validate, now or later; another's Trainer does not say."""
    return bool(getattr(trainer, "has_validation", True))
