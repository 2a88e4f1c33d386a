"""Stops training when the loss is no longer a number, and names weights that are not trained."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor
from torch.nn.parameter import is_lazy

from engine.fence.lightning import batch_of_epoch
from engine.run.checkpoint.file import some
from engine.run.summaries import training_loss
from engine.steps.callback import EACH_JOB, StepCallback
from engine.supervised import SupervisedModule

log = logging.getLogger(__name__)

RETURNED = "the loss"  # of the last step, in a message
MOST = 2**20  # numbers of a weight that is copied
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class StopOnDivergence(StepCallback):
    """Stops training at the first row of metrics whose loss is NaN or infinite.

    The loss is what the module logs as its training loss, and what its `training_step` returns. It
    is looked at every `log_every_n_steps` batches and at the end of an epoch, since a look at each
    step would make the CPU wait for a GPU. Of a module that neither logs nor returns a loss, the
    weights are looked at, at the end of an epoch. Labels that are all ignored have no loss. A run
    that diverged stays stopped when it is resumed.

    Weights that no step of the first epoch has changed are named: a layer may be left out of
    `forward` or of the optimiser, or get gradients of zero from the layers behind it.
    """

    in_a_stack = EACH_JOB
    diverged = False
    cause = ""  # in words, once training has diverged
    _returned: Any = None  # by the last training_step
    _first: Mapping[str, Tensor] = {}  # the weights before the first epoch

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.diverged
        # Strategies that share a weight out have it elsewhere.
        is_whole = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
        if is_whole and trainer.global_step == 0:
            self._first = {
                name: _noted(own)
                for name, own in module.named_parameters()
                if own.requires_grad and not is_lazy(own)
                if own.layout is torch.strided and own.numel()
            }

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._returned = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (batch_of_epoch(trainer) + 1) % every == 0:
            self._check(trainer, module, self._losses(trainer))

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        losses = self._losses(trainer)
        self._check(trainer, module, losses or {"a weight": _not_finite(module)})

    # What the module's own on_train_epoch_end changes is changed by then.
    def on_epoch_done(self, trainer: Trainer, module: LightningModule) -> None:
        first, self._first = self._first, {}  # the names of weights alone would cost a sweep time
        named = module.named_parameters() if first else ()
        same = [name for name, own in named if _is_same(first.get(name), own)]
        if same:
            has_loss = self._returned is not None or not module.automatic_optimization
            log.warning(
                "not trained: no step of the first epoch has changed %d of %d weights: %s%s",
                len(same),
                len(first),
                some(same),
                "" if has_loss else "\nIts training_step returns no loss.",
            )

    def _losses(self, trainer: Trainer) -> dict[str, Any]:
        """Returns the losses that there are, by what the log calls them."""
        metrics = trainer.callback_metrics
        name = training_loss(metrics)
        losses = {name: metrics[name]} if name else {}
        if self._returned is not None:
            losses[RETURNED] = self._returned
        return losses

    def _check(self, trainer: Trainer, module: LightningModule, values: Mapping[str, Any]) -> None:
        means = [(name, _mean(torch.as_tensor(value))) for name, value in values.items()]
        wrong = [(name, mean) for name, mean in means if not math.isfinite(mean)]
        counts = not wrong or not isinstance(module, SupervisedModule) or module.weight_of_last_step
        if not counts:  # it is a mean over no label
            wrong = [one for one in wrong if one[0] != RETURNED]
        # One process decides for all, as they have losses of their own.
        found = trainer.strategy.reduce_boolean_decision(bool(wrong), all=False)
        if found and not self.diverged:
            self.diverged = True
            trainer.should_stop = True
            name, value = wrong[0] if wrong else ("the loss of another process", math.nan)
            self.cause = f"{name} is {value} at step {trainer.global_step - 1}"
            log.warning("%s: diverged", self.cause)

    def state_dict(self) -> dict[str, Any]:
        return {"diverged": self.diverged, "cause": self.cause}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.diverged = state["diverged"]
        self.cause = state.get("cause", "")  # checkpoints of before have none


def _mean(value: Tensor) -> float:
    return value.item() if value.numel() == 1 else float(value.mean())


def _noted(own: Tensor) -> Tensor:
    """Returns a copy of a weight; of a large one, the sum of its bits."""
    values = own.detach()
    if values.numel() <= MOST or values.element_size() not in BITS:
        return values.clone()
    return values.view(BITS[values.element_size()]).sum()


def _is_same(first: Tensor | None, own: Tensor) -> bool:
    return first is not None and torch.equal(first, _noted(own))


def _not_finite(module: LightningModule) -> Tensor | float:
    """Returns a weight that is NaN or infinite; 0 if all are finite."""
    for parameter in module.parameters():
        wrong = parameter.detach()[~torch.isfinite(parameter.detach())]
        if len(wrong):
            return wrong[0]
    return 0.0
