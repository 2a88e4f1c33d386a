"""Defines modules, callbacks and loggers as users bring them; each is odd in one way."""

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau, StepLR
from torchmetrics import MeanSquaredError
from torchmetrics.classification import BinaryConfusionMatrix

from engine import SupervisedModule
from ways import Ordinary, Small


class Plain(LightningModule):
    """Fits the points of ways.py, and logs under the names of Lightning's documents.

    Args:
        lr: of SGD.
        optimizer: unused, as are the next: options of the model whose place this one takes.
        init: unused.
        in_features: unused.
        out_features: unused.
        bias: unused.
    """

    def __init__(
        self,
        lr: float = 0.05,
        optimizer: Any = None,
        init: Any = None,
        scheduler: Any = None,
        augment: Any = None,
        in_features: int = 0,
        out_features: int = 0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.net = nn.Linear(3, 1)
        self.lr = lr

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.net(inputs)
        return outputs

    def _loss(self, batch: Any) -> Tensor:
        return F.mse_loss(self(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self._loss(batch)
        self.log("train_loss", loss.detach())
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Tested(Plain):
    """Has a test."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self._loss(batch))


class MakesItsLoaders(Tested):
    """Makes its loaders itself, as an agent does that plays for its data; none for a test."""

    def setup(self, stage: str) -> None:
        self.data = Ordinary(batch_size=5)

    def train_dataloader(self) -> Any:
        return self.data.train_dataloader()

    def val_dataloader(self) -> Any:
        return self.data.val_dataloader()


class MakesItsTest(MakesItsLoaders):
    """Makes a loader for the test, too."""

    def test_dataloader(self) -> Any:
        return self.data.test_dataloader()


class SilentTest(Plain):
    """Has a test that logs nothing."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._loss(batch)


class EmptyTest(Ordinary):
    """Has no sample for its test."""

    def test_dataloader(self) -> Any:
        return []


class DividesForTraining(Ordinary):
    """Has data for a validation once `setup` has divided them for training."""

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.held = super().val_dataloader()

    def val_dataloader(self) -> Any:
        return self.held


class TestedOnTwo(Plain):
    """Has a test on two loaders."""

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        self.log("test_loss", self._loss(batch))


class ThreeOfEach(Ordinary):
    """Has the same three loaders for validation and for the test, in another order."""

    def val_dataloader(self) -> Any:
        return [self._loader("val"), self._loader("train"), self._loader("test")]

    def test_dataloader(self) -> Any:
        return self.val_dataloader()[::-1]


class TwoTests(Ordinary):
    """Has two loaders for the test: its samples, and those of validation."""

    def test_dataloader(self) -> Any:
        return [super().test_dataloader(), self.val_dataloader()]


class ScoresNowAndThen(Tested):
    """Logs a score in every second validation only."""

    def on_validation_epoch_end(self) -> None:
        if self.current_epoch % 2:
            self.log("score", float(self.current_epoch))


class ScoresItsTraining(Tested):
    """Logs scores of each epoch of its training, in several ways: 3, 1, 2."""

    scores = (3.0, 1.0, 2.0)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        score = self.scores[self.current_epoch]
        self.log("mean", score, on_step=False, on_epoch=True)
        self.log("least", score + batch_idx, on_step=False, on_epoch=True, reduce_fx="min")
        self.log("both", score, on_step=True, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self.log("hook", self.scores[self.current_epoch])


class ScoresInfinity(ScoresItsTraining):
    """Has an infinite score in its first epoch."""

    scores = (float("inf"), 1.0, 2.0)


class DeletesItsBackbone(Tested):
    """Deletes frozen layers from its checkpoints, whose running statistics change all the same."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.strict_loading = False
        self.backbone = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.net(torch.tanh(self.backbone(inputs)))
        return outputs

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name in [name for name in checkpoint["state_dict"] if name.startswith("backbone")]:
            del checkpoint["state_dict"][name]


class MakesItsHead(Tested):
    """Makes its head in `setup`, as one does for the classes of the data."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.net = None  # type: ignore[assignment]
        self.backbone = nn.Linear(3, 3)

    def setup(self, stage: str) -> None:
        if self.net is None:
            self.net = nn.Linear(3, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.net(torch.tanh(self.backbone(inputs)))
        return outputs


class ConfiguresItsModel(Tested):
    """Makes its only layer in `configure_model`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.net = None  # type: ignore[assignment]

    def configure_model(self) -> None:
        if self.net is None:
            self.net = nn.Linear(3, 1)


class TakesTwoBatches(Tested):
    """Takes two batches for each step, from Lightning's iterator."""

    def training_step(self, dataloader_iter: Any) -> Any:  # type: ignore[override]
        (first, *_), (second, *_) = next(dataloader_iter), next(dataloader_iter)
        return self._loss(first) + self._loss(second)


class SavesItsThreshold(Tested):
    """Has a threshold in the checkpoint of the best weights, and another one at the end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.threshold = 0.0

    def on_validation_epoch_end(self) -> None:
        self.threshold = float(self.current_epoch + 1)
        self.log("score", abs(self.current_epoch - 1.0))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["threshold"] = self.threshold

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.threshold = checkpoint["threshold"]

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/threshold", self.threshold)


class Lazy(Tested):
    """Has a layer whose inputs are counted at the first batch."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.net = nn.LazyLinear(1)


class Follows(Plain):
    """Has a learning rate that follows a metric which it does not log."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = {"scheduler": ReduceLROnPlateau(optimizer), "monitor": "val/loss"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class LogsNothing(Plain):
    """Logs no metric."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self._loss(batch)}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass


class LogsMeans(Plain):
    """Logs its loss for steps and for epochs."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self._loss(batch)
        self.log("train_loss", loss.detach(), on_step=True, on_epoch=True)
        return loss


class TrainsNot(Plain):
    """Has no training step."""

    training_step = LightningModule.training_step


class ByHand(LogsNothing):
    """Trains by manual optimisation, and returns no loss."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self._loss(batch))
        optimizer.step()


class OwnExample(Small):
    """Says itself what its network takes: two samples."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.example_input_array = torch.ones(2, 3)


class LogsMatrix(Tested):
    """Logs a metric that is no scalar."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.matrix = BinaryConfusionMatrix()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.matrix(self(batch[0]), (batch[1] > 0.5).int())
        self.log("val_matrix", self.matrix)


class WithMatrix(SupervisedModule):
    """Has a metric that is no scalar.

    Args:
        step: options of the step; the others are unused.
    """

    def __init__(
        self, in_features: int = 0, out_features: int = 0, bias: bool = False, **step: Any
    ) -> None:
        metrics = {"error": MeanSquaredError(), "matrix": ConfusionMatrix()}
        super().__init__(nn.Linear(3, 1), nn.MSELoss(), metrics, **step)


class ConfusionMatrix(BinaryConfusionMatrix):
    """Counts how often points are above 0.5, and said to be."""

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        super().update(predictions.sigmoid(), (targets > 0.5).int())


class DrawsItself(Tested):
    """Adds histograms to TensorBoard by `self.logger.experiment`, as TensorBoard's users do."""

    def on_validation_epoch_end(self) -> None:
        self.logger.experiment.add_histogram("weights", self.net.weight, self.global_step)

    def on_test_epoch_end(self) -> None:
        self.logger.experiment.add_histogram("weights", self.net.weight, self.global_step)


class Compiles(Tested):
    """Compiles its network when it trains, as the best-known template does."""

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.net = torch.compile(self.net, backend="eager")


class NamesOfOurs(Tested):
    """Has attributes with names that mean something in our own classes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.train_metrics = self.test_metrics = nn.ModuleList([MeanSquaredError()])

    def optimizer(self) -> Any:
        """Returns what a method of ours would not."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class OrdinaryWithNamesOfOurs(Ordinary):
    """Has attributes with names that mean something in our own classes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.splits = (0.5, 0.25, 0.25)
        self.example = torch.ones(1, 3)


class ValidatesToNaN(Plain):
    """Divides by zero in the validation, and trains well."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch) * math.nan)


class SavesAll(Tested):
    """Saves hyper-parameters of all kinds."""

    def __init__(self, logger: bool = False, **options: Any) -> None:
        super().__init__(**options)
        net, optimizer = nn.Linear(3, 1), partial(torch.optim.SGD, lr=0.1)
        given = {
            "net": net,
            "optimizer": optimizer,
            "root": Path("/data"),
            "rate": np.float32(0.5),
            "count": np.int64(3),
            "config": OmegaConf.create({"a": 1, "b": "${a}", "c": [1, 2]}),
            "nested": {"net": net, "width": 8},
            "layers": [net, 1],
            "words": ("a", None, True),
            "lr": 0.05,
        }
        self.save_hyperparameters(given, logger=logger)


class WithState(Callback):
    """Has a state that a checkpoint cannot have."""

    def state_dict(self) -> dict[str, Any]:
        return {"seen": 3, "best": {"model": Path("/x")}}


class LosesBest(Callback):
    """Loses the best weights before they are tested."""

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        Path(trainer.default_root_dir, "checkpoints/best.ckpt").unlink()


class WithEntry(Callback):
    """Adds to checkpoints what they cannot have."""

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["mine"] = {"network": copy.deepcopy(module)}


class AddsEntry(Tested):
    """Adds to checkpoints what they cannot have."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["extra"] = np.arange(3)


class Warmup(LRScheduler):
    """Keeps another scheduler, as its state does."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.after = StepLR(optimizer, 10)
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        return self.after.get_last_lr()


class WarmsUp(Tested):
    """Has a scheduler whose state a checkpoint cannot have."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [Warmup(optimizer)]


class KeepsObjects(torch.optim.SGD):
    """Keeps an object for each parameter, once it has stepped."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["by"] = self
        return loss


class StepsOddly(Tested):
    """Has an optimiser whose state a checkpoint cannot have, after a step."""

    def configure_optimizers(self) -> Any:
        return KeepsObjects(self.parameters(), lr=0.05)


class Untested(Ordinary):
    """Has no test."""

    test_dataloader = LightningDataModule.test_dataloader


class OrdinaryWithState(Ordinary):
    """Has a state that a checkpoint cannot have."""

    def state_dict(self) -> dict[str, Any]:
        return {"order": range(3)}


class ForeignLogger(Logger):
    """Keeps rows in a file of its own, as a service would.

    Args:
        save_dir: where it lies.
    """

    name = "foreign"
    version = "0"

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self.path = Path(save_dir) / "foreign.txt"

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{step} {sorted(metrics)}\n")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{sorted(params)}\n")
