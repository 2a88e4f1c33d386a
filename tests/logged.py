"""Modules that log in each way that Lightning and torchmetrics have: see ways.py."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import (
    MaxMetric,
    MeanAbsoluteError,
    MetricCollection,
    MetricTracker,
    MinMaxMetric,
    MinMetric,
    RunningMean,
)
from torchmetrics.classification import BinaryCohenKappa, BinaryJaccardIndex

from ways import Small


class LogsRunning(Small):
    """Logs metrics that keep more than their states, that make metrics, and that share states."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.running = RunningMean(window=5)
        self.between = MinMaxMetric(MeanAbsoluteError())
        self.tracked = MetricTracker(MetricCollection([MeanAbsoluteError()]), maximize=False)
        self.shared = MetricCollection([BinaryJaccardIndex(), BinaryCohenKappa()])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.running.update(loss.detach())
        self.log("train/running", self.running.compute())
        self.shared.update((self(batch[0]) > 1).flatten(), (batch[1] > 1).flatten().long())
        return loss

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log_dict(self.shared.compute())
        self.shared.reset()

    def on_validation_epoch_start(self) -> None:
        self.tracked.increment()
        self.between.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.tracked.update(self(batch[0]), batch[1])
        self.between.update(self(batch[0]), batch[1])
        return super().validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        best: Any = self.tracked.best_metric()
        self.log("val/best", best["MeanAbsoluteError"])
        self.log_dict({f"val/{name}": value for name, value in self.between.compute().items()})


class LogsMeans(Small):
    """Logs means over the epoch, of a number and by torchmetrics, and the best of all epochs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.largest = MaxMetric()
        self.lowest = MinMetric()
        self.error = MeanAbsoluteError()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        inputs, targets = batch
        self.error(self(inputs), targets)
        self.largest(loss.detach())
        options: Any = {"on_step": False, "on_epoch": True, "batch_size": len(inputs)}
        self.log("mean/loss", loss.detach(), **options)
        self.log("mean/error", self.error, **options)
        self.log("mean/largest", self.largest, **options)
        return loss

    def on_validation_epoch_end(self) -> None:
        self.lowest(self.trainer.callback_metrics.get("train/loss", torch.tensor(9.0)))
        self.log("val/lowest", self.lowest.compute())


class LogsNowAndThen(LogsMeans):
    """Logs at the start, at an epoch's start, and in its fourth batch, by torchmetrics, too.

    What the Trainer says was logged last is among it. So are, before each batch, the gradient of
    the batch before, and a number that it keeps on the Trainer.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.fourth = MeanAbsoluteError()

    def on_train_start(self) -> None:
        super().on_train_start()
        self.log("started", float(self.current_epoch))

    def on_train_epoch_start(self) -> None:
        self.log("begun", self.trainer.logged_metrics.get("fourth/now_step", torch.tensor(0.0)))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        trainer: Any = self.trainer
        trainer.begun = getattr(trainer, "begun", 0) + 1
        self.log("begun/batches", float(trainer.begun))
        gradient = self.network[0].weight.grad
        self.log("begun/gradient", 0.0 if gradient is None else gradient.norm())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if batch_idx == 3:
            inputs, targets = batch
            self.fourth(self(inputs), targets)
            both: Any = {"on_step": True, "on_epoch": True, "batch_size": 5}
            self.log("fourth/error", self.fourth, **both)
            self.log("fourth/now", loss.detach(), **both)
            self.log("fourth/most", loss.detach(), **both, reduce_fx=max)
            self.log("fourth/sum", loss.detach(), on_epoch=True, reduce_fx="sum")
        self.log("step/sum", loss.detach(), on_step=False, on_epoch=True, reduce_fx=sum)
        return loss


class SkipsTheRest(LogsMeans):
    """Ends its second epoch after six batches."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if (self.current_epoch, batch_idx) == (1, 6) else None


class LogsInValidation(Small):
    """Logs in each batch of a validation: Lightning counts these from the first validation on."""

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val/seen", float(batch_idx + self.global_step), on_step=True, batch_size=5)
        return super().validation_step(batch, batch_idx)
