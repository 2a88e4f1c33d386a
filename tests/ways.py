"""Ways to train, each of which has to survive a kill: a small model and small data."""

import json
import random
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from sklearn.datasets import load_iris
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)
from torchmetrics import (
    MaxMetric,
    MeanAbsoluteError,
    MeanMetric,
    MetricCollection,
    MetricTracker,
    MinMaxMetric,
    MinMetric,
    RunningMean,
)
from torchmetrics.classification import (
    BinaryCohenKappa,
    BinaryJaccardIndex,
    MulticlassAccuracy,
)

from engine import Split, StepCallback, SupervisedModule, TensorDataModule


class Points(TensorDataModule):
    """Has 50 points for training, 20 for validation and 20 for test.

    Args:
        samples: unused, as is the next: options of the data module whose place this one takes.
        slope: unused.
        order: of the batches.
    """

    def __init__(self, samples: int = 0, slope: float = 0, **order: Any) -> None:
        super().__init__(**order)

    def load(self) -> dict[str, Split]:
        numbers = torch.Generator().manual_seed(1)
        splits = {}
        for name, size in (("train", 50), ("val", 20), ("test", 20)):
            x = torch.rand(size, 3, generator=numbers)
            noise = torch.randn(size, 1, generator=numbers)
            splits[name] = Split(x, (x**2).sum(1, keepdim=True) + 0.3 * noise)
        return splits


class Broken(Points):
    """Has data of its own for each seed, and a feature that is no number for the seed 3."""

    def load(self) -> dict[str, Split]:
        splits = super().load()
        splits["train"].inputs[3, 2] = torch.nan if self.seed == 3 else self.seed
        return splits


class Iris(TensorDataModule):
    """Serves 150 flowers of three species, with four features (Anderson 1935, Fisher 1936).

    Its arguments are those of `Points`.
    """

    class_names = ["setosa", "versicolor", "virginica"]

    def __init__(self, samples: int = 0, slope: float = 0, **order: Any) -> None:
        super().__init__(**order)

    def load(self) -> dict[str, Split]:
        features, species = load_iris(return_X_y=True)
        x = torch.tensor(features, dtype=torch.float32)  # (150, 4)
        y = torch.tensor(species)  # (150,)
        parts = {"train": (0, 1, 2), "val": (3,), "test": (4,)}  # of every five flowers
        number = torch.arange(150) % 5
        chosen = {name: torch.isin(number, torch.tensor(part)) for name, part in parts.items()}
        return {name: Split(x[rows], y[rows]) for name, rows in chosen.items()}


class Flowers(SupervisedModule):
    """Tells three species apart by four features. Its arguments are those of `Small`."""

    def __init__(
        self, in_features: int = 0, out_features: int = 0, bias: bool = False, **step: Any
    ) -> None:
        accuracy = MulticlassAccuracy(3, average="micro")
        super().__init__(nn.Linear(4, 3), nn.CrossEntropyLoss(), {"acc": accuracy}, **step)


class Small(SupervisedModule):
    """A network of 3 inputs and one output, with dropout.

    Args:
        in_features: unused, as are the next: options of the model whose place this one takes.
        out_features: unused.
        bias: unused.
        step: options of the step.
    """

    def __init__(
        self, in_features: int = 0, out_features: int = 0, bias: bool = False, **step: Any
    ) -> None:
        network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
        super().__init__(network, nn.MSELoss(), **step)


class Normalised(Small):
    """Normalises its batches, and has the statistics of all of them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.network.insert(1, nn.BatchNorm1d(8))  # type: ignore[operator]


class FollowsValidation(Small):
    """Divides its learning rate by two where the validation's loss is no better."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        scheduler = ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=0.3)
        return {
            "optimizer": optimizer,
            # Not strict: the first epoch may have no validation.
            "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss", "strict": False},
        }


class FollowsEachStep(Small):
    """Multiplies its learning rate by 0.9 where a step's loss is no better than the best."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("now", loss.detach(), batch_size=5)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        scheduler = ReduceLROnPlateau(optimizer, patience=1, factor=0.9)
        followed = {"scheduler": scheduler, "monitor": "now", "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": followed}


class HasARate(Small):
    """Has the attribute that a search for a learning rate sets."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lr = 0.01


class AsksForSteps(Small):
    """Asks how long training is, which loads the data before a checkpoint is read."""

    def configure_optimizers(self) -> Any:
        _ = self.trainer.estimated_stepping_batches
        return super().configure_optimizers()


class Averages(Small):
    """Keeps a mean of its weights, in a hook that comes after the callbacks'."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("mean", torch.zeros(8))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.mean.mul_(0.9).add_(self.network[0].bias.detach(), alpha=0.1)


class Stops(Small):
    """Stops training within the third epoch."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.global_step == 24:
            self.trainer.should_stop = True


class StopsAtAnEnd(Small):
    """Stops training after the third epoch."""

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if self.current_epoch == 2:
            self.trainer.should_stop = True


class CountsEpochs(StepCallback):
    """Divides the learning rate at each epoch's start: to do so twice would show."""

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] *= 0.7


class Thaws(Callback):
    """Freezes a layer until the second epoch, and the batch statistics from then on.

    It logs by hand, under the number of steps that are done, which is that of the next row.
    """

    def setup(self, trainer: Trainer, module: Any, stage: str) -> None:
        module.network[0].requires_grad_(False)

    def on_train_epoch_start(self, trainer: Trainer, module: Any) -> None:
        if trainer.current_epoch == 1:
            module.network[0].requires_grad_(True)
            module.network[1].eval()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({"by hand": trainer.global_step}, step=trainer.global_step)


class FreezesAtAStart(Callback):
    """Freezes a layer whenever a training starts."""

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        module.network[0].requires_grad_(False)


class NoiseAtAStart(Callback):
    """Changes the weights whenever a training starts, also one that goes on."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        next(module.parameters()).data += 0.1


class FailsAtOnce(Callback):
    """Fails before the first step, and looks like a callback of a user's."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        raise ValueError("no such thing")


class FailsOnColumns(StepCallback):
    """Fails at the end of training where inputs have more than one column."""

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if (columns := data.splits["train"].inputs.shape[1]) > 1:
            raise RuntimeError(f"{columns} columns")


class TwoOptimizers(LightningModule):
    """Trains two layers by optimisers of their own, by hand, as a GAN does.

    Its arguments are those of the model whose place this one takes. All but one are unused.
    """

    def __init__(
        self,
        in_features: int = 0,
        out_features: int = 0,
        bias: bool = False,
        optimizer: Any = torch.optim.SGD,
        init: Any = None,
        scheduler: Any = None,
        augment: Any = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.optimizer = optimizer
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.second(torch.tanh(self.first(inputs)))
        return outputs

    def configure_optimizers(self) -> Any:
        first = torch.optim.Adam(self.first.parameters(), lr=0.01)
        return [first, self.optimizer(self.second.parameters())]

    def _loss(self, batch: Any) -> Tensor:
        return F.mse_loss(self(F.dropout(batch[0], 0.1)), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizers: Any = self.optimizers()
        for optimizer in optimizers:
            loss = self._loss(batch)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.log("train/loss", loss.detach(), on_step=True, on_epoch=True, batch_size=5)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", F.mse_loss(self(batch[0]), batch[1]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/loss", F.mse_loss(self(batch[0]), batch[1]))


class Gathers(TwoOptimizers):
    """Takes a step of the first layer's optimiser for each four batches, by hand."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        first, second = self.optimizers()  # type: ignore[misc]
        loss = self._loss(batch)
        self.manual_backward(loss)
        second.step()
        second.zero_grad()
        if (batch_idx + 1) % 4 == 0:
            first.step()
            first.zero_grad()
        self.log("train/loss", loss.detach(), on_step=True, on_epoch=True, batch_size=5)


class Memory:
    """Keeps the last batches."""

    def __init__(self) -> None:
        self.batches: deque[Any] = deque(maxlen=3)
        self.seen = {"batches": 0}

    def add(self, batch: Any) -> None:
        self.batches.append(tuple(batch))
        self.seen["batches"] += 1


class Recalls(Small):
    """Keeps in attributes what its loss depends on: samples, a state, rates, a passing buffer."""

    mean: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.memory = Memory()
        self._weight = 0.0
        self.hidden: Tensor | None = None
        self.register_buffer("mean", torch.zeros(3), persistent=False)

    def on_train_epoch_start(self) -> None:
        self._weight = 0.1 * self.current_epoch
        self.network[2].p = 0.1 * (self.current_epoch + 1)  # type: ignore[index,union-attr]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, targets = batch
        self.mean.lerp_(inputs.mean(0), 0.1)
        hidden = torch.zeros(()) if self.hidden is None else self.hidden
        loss = super().training_step((inputs - self.mean, targets), batch_idx)
        for old, wanted in self.memory.batches:
            loss = loss + self._weight * F.mse_loss(self(old), wanted + hidden)
        self.hidden = 0.9 * hidden + 0.01 * loss.detach()
        self.memory.add((inputs, targets))
        return loss + self.memory.seen["batches"] * 1e-3 * self(inputs).mean()


class Decays(Callback):
    """Counts batches, and makes the weights smaller and the samples noisier now and then."""

    def __init__(self) -> None:
        self.count = 0

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        data: Any = trainer.train_dataloader
        data.dataset.level = 1 + trainer.current_epoch

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        self.count += 1
        if self.count % 7 == 0:
            module.network[0].weight.data *= 0.9


class Keeps(Callback):
    """Keeps a generator, a metric, and a layer with an optimiser, which all change the weights."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)
        self.mean = MeanMetric()
        self.layer = nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.layer.parameters(), lr=0.01, momentum=0.9)

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self.mean.update(outputs["loss"])
        with torch.enable_grad():
            F.mse_loss(self.layer(batch[0]), batch[1]).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        noise = self.mean.compute().item() * self.rng.normal()
        module.network[0].weight.data.add_(self.layer.weight.data, alpha=0.01 * noise)


class Mines(Callback):
    """Draws samples with a large number more often, and adds samples after each epoch."""

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        loader: Any = trainer.train_dataloader
        loader.sampler.weights = loader.sampler.weights * torch.linspace(
            0.9, 1.1, len(loader.dataset)
        )

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        data.samples.rows += data.samples.rows[:5]


class LikesItsStart(Recalls):
    """Stays near its first weights, with a weight of its own in `hparams` that grows."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.hparams["near"] = 0.1

    def on_train_start(self) -> None:
        super().on_train_start()
        self.start = [weight.detach().clone() for weight in self.parameters()]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.hparams["near"] *= 1.1
        for weight, first in zip(self.parameters(), self.start, strict=True):
            loss = loss + self.hparams["near"] * (weight - first).square().sum()
        return loss


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
    """Logs at an epoch's start, and in its fourth batch, by torchmetrics, too.

    What the Trainer says was logged last is among it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.fourth = MeanAbsoluteError()

    def on_train_epoch_start(self) -> None:
        self.log("begun", self.trainer.logged_metrics.get("fourth/now_step", torch.tensor(0.0)))

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


class TrainsItsHead(Small):
    """Gives its optimiser the last layer."""

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.network[3].parameters())  # type: ignore[index,operator]


class AddsLayers(Callback):
    """Gives the optimiser the first layer's weight in the second epoch, and its bias soon after."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (optimizer,), first = trainer.optimizers, pl_module.network[0]  # type: ignore[index]
        if trainer.current_epoch == 1:
            optimizer.add_param_group({"params": [first.weight], "lr": 0.01})
        elif trainer.current_epoch == 2:
            optimizer.param_groups[0]["params"].append(first.bias)


class LogsInValidation(Small):
    """Logs in each batch of a validation: Lightning counts these from the first validation on."""

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val/seen", float(batch_idx + self.global_step), on_step=True, batch_size=5)
        return super().validation_step(batch, batch_idx)


class DrawsPlain(Small):
    """Adds numbers of Python's and NumPy's generators to the loss, and to a metric of the test."""

    def _loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return super()._loss(predictions, targets) * (0.5 + random.random() + np.random.rand())

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("test/drawn", random.random() + np.random.rand() + torch.rand(()).item())
        return super().test_step(batch, batch_idx)


class Noise(nn.Module):
    """Adds noise of Python's, NumPy's and torch's generators to inputs; more at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        noise = random.random() + np.random.rand() + torch.rand(len(inputs), 1)
        return inputs + 0.1 * noise * (1 + 0.01 * self.calls)


class Noisy(Dataset[Any]):
    """Samples with noise of Python's, NumPy's and torch's generators, as random transforms draw it.

    Args:
        points: the samples.
    """

    def __init__(self, points: Split) -> None:
        self.points = points
        self.level = 1

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = random.random() + np.random.rand() + torch.rand(3)
        return self.points.inputs[index] + 0.1 * self.level * noise, self.points.targets[index]

    def __len__(self) -> int:
        return len(self.points)


class Ordinary(LightningDataModule):
    """The same points, by DataLoaders as Lightning's own documents write them.

    Args:
        batch_size: of each loader.
        num_workers: of the loader of training.
        seed: unused, as are the next: options of the data module whose place this one takes.
        samples: unused.
        slope: unused.
        steps_per_epoch: unused.
        folds: unused.
        fold: unused.
    """

    def __init__(
        self,
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
        samples: int = 0,
        slope: float = 0,
        steps_per_epoch: int | None = None,
        folds: int | None = None,
        fold: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.workers = num_workers
        self.points = Points(seed=0, batch_size=batch_size).splits

    def _loader(self, split: str) -> DataLoader[Any]:
        points = TensorDataset(self.points[split].inputs, self.points[split].targets)
        return DataLoader(points, self.batch_size)

    def train_dataloader(self) -> Any:
        workers = {"num_workers": self.workers, "persistent_workers": self.workers > 0}
        noisy = Noisy(self.points["train"])
        return DataLoader(noisy, self.batch_size, shuffle=True, **workers)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader("test")


class Grows(Ordinary):
    """Has more samples in each epoch."""

    def train_dataloader(self) -> Any:
        trainer: Any = self.trainer
        known = range(30 + 10 * min(2, trainer.current_epoch))
        return DataLoader(Subset(Noisy(self.points["train"]), known), self.batch_size, shuffle=True)


class Listed(Dataset[Any]):
    """Has a list of samples, to which a callback may add."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.rows = list(zip(inputs, targets, strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


class Grown(Ordinary):
    """Draws from a list of samples by their weights."""

    def setup(self, stage: str) -> None:
        self.samples = Listed(self.points["train"].inputs, self.points["train"].targets)

    def train_dataloader(self) -> Any:
        weights = WeightedRandomSampler(torch.ones(len(self.samples)), len(self.samples))
        return DataLoader(self.samples, self.batch_size, sampler=weights)


class TwoLoaders(Ordinary):
    """Two loaders at once, the shorter one begins anew: see `TrainsOnTwo`. Validation is random."""

    def train_dataloader(self) -> Any:
        weights = WeightedRandomSampler([1.0] * 20, 15)
        shorter = DataLoader(Noisy(self.points["val"]), self.batch_size, sampler=weights)
        return {"long": super().train_dataloader(), "short": shorter}

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Noisy(self.points["val"]), self.batch_size)


class TrainsOnTwo(Small):
    """Trains on the batches of two loaders together."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, targets = (
            torch.cat(parts) for parts in zip(batch["long"], batch["short"], strict=True)
        )
        return super().training_step((inputs, targets), batch_idx)


class Stream(IterableDataset[Any]):
    """The samples one after the other, with noise, and no length."""

    def __init__(self, noisy: Noisy) -> None:
        self.noisy = noisy

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        share = (worker.id, worker.num_workers) if worker else (0, 1)
        return (self.noisy[index] for index in range(share[0], len(self.noisy), share[1]))


class Streams(Ordinary):
    """A stream of samples, whose place in an epoch nobody knows."""

    def train_dataloader(self) -> Any:
        stream = Stream(Noisy(self.points["train"]))
        workers = {"num_workers": self.workers, "persistent_workers": self.workers > 0}
        return DataLoader(stream, self.batch_size, **workers)


class Remembers:
    """A loader that knows its place in an epoch: what torchdata's StatefulDataLoader does.

    Args:
        points: the samples.
        batch_size: of each batch.
    """

    def __init__(self, points: Split, batch_size: int) -> None:
        self.points = points
        self.batch_size = batch_size
        self.first = 0

    def __iter__(self) -> Iterator[Any]:
        while self.first < len(self.points):
            self.first += self.batch_size
            yield self.points[torch.arange(self.first - self.batch_size, self.first)]
        self.first = 0

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first = state["first"]


class HasState(Ordinary):
    """A loader with a state of its own."""

    def train_dataloader(self) -> Any:
        return Remembers(self.points["train"], self.batch_size)


class Records(Small):
    """Writes down which samples it has trained on, a file for each process.

    The targets are the numbers of the samples.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen += [int(number) for number in batch[1]]
        return super().training_step((batch[0], batch[1] / 300), batch_idx)

    def on_train_end(self) -> None:
        folder = Path(self.trainer.default_root_dir)
        seen = json.dumps(self.seen)
        (folder / f"seen_{self.trainer.global_rank}.json").write_text(seen)


class Numbered(Ordinary):
    """300 samples with random transforms, whose targets are their numbers."""

    def train_dataloader(self) -> Any:
        numbers = torch.arange(300.0)[:, None]
        return DataLoader(Noisy(Split(numbers[:, [0, 0, 0]] / 300, numbers)), 16, shuffle=True)


class IgnoresItsOptimizer(Small):
    """Takes an optimiser, as a model has to, and makes another one."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)
