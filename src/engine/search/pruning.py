"""Tells a study how a trial goes, and stops a trial that promises too little."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from optuna.trial import FrozenTrial, Trial
from torch import Tensor

from engine.errors import Pruned
from engine.fence.lightning import has_validation
from engine.fence.optuna import trial_of
from engine.run.summaries import training_loss
from engine.search import study as studies
from engine.steps.following import FollowsMetric
from engine.steps.length import steps_of

log = logging.getLogger(__name__)


class Pruning(FollowsMetric):
    """Reports a metric to a trial of an Optuna study, and ends the run if the pruner says so.

    It reports at each validation or epoch that logs the metric; without validation, the training
    loss at the end of each epoch and, where there is a pruner, at each row of training metrics.

    A step of the study is an optimiser step. The run ends by an exception: no checkpoint, row or
    end of an epoch is made of the pruned state, so that another process can go on with the run. A
    resumed run reports nothing twice.

    Args:
        storage: of the study.
        study: its name.
        number: of the trial.
        pruner: arguments of `engine.search.study.pruner`; None for a trial that is never pruned.
        monitor: the metric, in a run with validation; None: val/loss.

    Raises:
        Pruned: in every process of the run.
    """

    def __init__(
        self,
        storage: str,
        study: str,
        number: int,
        pruner: Mapping[str, Any] | None,
        monitor: str | None,
    ) -> None:
        self.storage = storage
        self.study = study
        self.number = number
        self.pruner = pruner
        self.monitor = monitor or "val/loss"
        self._trial: Trial | None = None
        self._frozen: FrozenTrial  # the trial as it was when this process began
        self._next = 0  # the first step that is still to be judged
        self._has_validation = False
        self._end = math.inf  # steps of the whole training

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        # Before the first validation, the Trainer does not tell.
        self._has_validation = has_validation(trainer)
        self._end = steps_of(trainer)
        if not trainer.is_global_zero:
            return
        try:
            study = studies.load(self.storage, self.study, self.pruner)
        except KeyError:
            log.warning("not pruned: %s has no study %s", self.storage, self.study)
            return
        self._frozen = study.get_trials(deepcopy=False)[self.number]
        if not self._frozen.state.is_finished():
            self._trial = trial_of(study, self._frozen)
            self._next = max(self._frozen.intermediate_values, default=0)

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        row = self.pruner and (batch_idx + 1) % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        return bool(row and not self._has_validation)

    def on_value(self, trainer: Trainer, module: LightningModule, value: Tensor) -> None:
        if self._has_validation:
            self._report(trainer, self.monitor)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.watches(trainer, trainer.global_step, batch_idx):
            self._report(trainer, training_loss(trainer.callback_metrics))

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._has_validation:
            self._report(trainer, training_loss(trainer.callback_metrics))

    def _report(self, trainer: Trainer, metric: str | None) -> None:
        value = trainer.callback_metrics.get(metric) if metric else None
        is_pruned = value is not None and self._judge(trainer, float(value))
        if trainer.strategy.broadcast(is_pruned):
            log.info("pruned at step %d: %s is %g", trainer.global_step, metric, value)
            raise Pruned

    def _judge(self, trainer: Trainer, value: float) -> bool:
        """Reports a value and asks the pruner, unless the run has come to its end."""
        step = trainer.global_step
        if self._trial is None or step < self._next or not math.isfinite(value):
            return False
        self._next = step + 1
        if step not in self._frozen.intermediate_values:
            self._trial.report(value, step)
        if step >= self._end:
            return False
        is_pruned = step == self._frozen.user_attrs.get("pruned_at") or self._trial.should_prune()
        if is_pruned:
            # The halving pruner would not say so twice.
            self._trial.set_user_attr("pruned_at", step)
        return is_pruned
