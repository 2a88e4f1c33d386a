"""Ways to train, each of which has to survive a kill: a small model and small data."""

import json
import random
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateFinder
from sklearn.datasets import load_iris
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)
from torchmetrics.classification import MulticlassAccuracy

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


class Doubles(Points):
    """Has its points in 64 bits, as NumPy makes them."""

    def load(self) -> dict[str, Split]:
        splits = super().load()
        return {
            name: Split(own.inputs.double(), own.targets.double()) for name, own in splits.items()
        }


class Centred(Points):
    """Has the mean of the training samples taken away.

    Args:
        shift: of the training samples alone.
    """

    fitted = ("mean",)

    def __init__(self, shift: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.shift = shift

    def load(self) -> dict[str, Split]:
        loaded = super().load()
        train = Split(loaded["train"].inputs + self.shift, loaded["train"].targets)
        return {**loaded, "train": train}

    @cached_property
    def mean(self) -> Tensor:
        return self.splits["train"].inputs.mean(0)

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return inputs - self.mean


class Forgets(Centred):
    """Does not say that its mean is of the training samples."""

    fitted = ()


class Broken(Points):
    """Has data of its own for each seed, and a feature that is no number for the seed 3."""

    def load(self) -> dict[str, Split]:
        splits = super().load()
        splits["train"].inputs[3, 2] = torch.nan if self.seed == 3 else self.seed
        return splits


class OddPoints(Points):
    """Has an odd number of points for validation and test, and one in the last batch of 4."""

    def load(self) -> dict[str, Split]:
        splits = super().load()
        odd = {name: splits[name] for name in ("val", "test")}
        for name, split in odd.items():
            splits[name] = Split(split.inputs[:17], split.targets[:17])
        return splits


class LogsItself(LightningModule):
    """Logs means of its batches over all processes, as Lightning's documents do it.

    Its arguments are those of `Small`.
    """

    def __init__(
        self,
        in_features: int = 0,
        out_features: int = 0,
        bias: bool = False,
        optimizer: Any = None,
        init: Any = None,
        scheduler: Any = None,
        augment: Any = None,
    ) -> None:
        super().__init__()
        self.network = nn.Linear(3, 1)
        self.optimizer = optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss("train", batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._loss("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._loss("test", batch)

    def _loss(self, split: str, batch: Any) -> Tensor:
        loss = F.mse_loss(self.network(batch[0]), batch[1])
        self.log(f"{split}/loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.parameters())


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


class LogsHyperparameters(Small):
    """Logs hyper-parameters with a metric, as Lightning's documents show it."""

    def on_train_start(self) -> None:
        logger: Any = self.logger
        logger.log_hyperparams({"depth": 2}, {"hp/acc": 0})


class Normalised(Small):
    """Normalises its batches, and has the statistics of all of them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.network.insert(1, nn.BatchNorm1d(8))  # type: ignore[operator]


class SavesItsOwn(Small):
    """Adds to checkpoints, as Lightning's documents do it: without a word to its base class."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["of_its_own"] = 1

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        assert checkpoint["of_its_own"] == 1


class CyclesOnce(Small):
    """Has one cycle of learning rates, as long as the training."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Slows(LRScheduler):
    """Lowers a rate down to a tenth, and leaves it there."""

    def __init__(self, optimizer: Optimizer, total_steps: int | None) -> None:
        self.total_steps = total_steps  # that of Lightning's cycle is an end
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        share = max(0.1, 1 - self.last_epoch / (self.total_steps or 1))
        return [rate * share for rate in self.base_lrs]


class SlowsDown(Small):
    """Has a schedule of its own, which has no end."""

    def __init__(self, total_steps: int | None, **options: Any) -> None:
        super().__init__(**options)
        self.total_steps = total_steps

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = Slows(optimizer, self.total_steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class CyclesOnceAndStays(CyclesOnce):
    """Leaves its rate as it is after the cycle."""

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        if scheduler.last_epoch < scheduler.total_steps:
            scheduler.step()


class LogsItsRate(Small):
    """Logs in each validation the rate of its schedule."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        schedule: Any = self.lr_schedulers()
        self.log("val/rate", schedule.get_last_lr()[0])


class ValidatesInTraining(Small):
    """Cannot be validated beside a training."""

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if self.trainer.state.fn == "validate":
            raise ValueError("no training goes on")


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


class FollowsClosely(Small):
    """Has a rate that follows a validation after each epoch."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        scheduler = ReduceLROnPlateau(optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"},
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


class AsksForSteps(Small):
    """Asks how long training is, which loads the data before a checkpoint is read."""

    def configure_optimizers(self) -> Any:
        _ = self.trainer.estimated_stepping_batches
        return super().configure_optimizers()


class HasARate(AsksForSteps):
    """Has the attribute that a search for a learning rate sets, and warms up to it.

    The warm-up is that of Lightning's documents.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lr = 1e-6

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        optimizer.step(closure=optimizer_closure)
        for group in optimizer.param_groups:
            group["lr"] = min(1.0, (self.trainer.global_step + 1) / 20) * self.lr


class SearchesForARate(HasARate):
    """Brings the callback that searches for the rate."""

    def configure_callbacks(self) -> Any:
        return LearningRateFinder(num_training_steps=20)


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


class DropsAll(Ordinary):
    """Has batches larger than the data, and drops the last one."""

    def train_dataloader(self) -> DataLoader[Any]:
        samples: Any = super().train_dataloader()
        return DataLoader(samples.dataset, 64, drop_last=True)


class Nothing(IterableDataset[Any]):
    """Gives no sample, and does not say so."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class GivesNothing(Ordinary):
    """Has no batch for training."""

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Nothing())


class Grows(Ordinary):
    """Has more samples in each epoch."""

    def train_dataloader(self) -> Any:
        trainer: Any = self.trainer
        known = range(30 + 10 * min(2, trainer.current_epoch))
        return DataLoader(Subset(Noisy(self.points["train"]), known), self.batch_size, shuffle=True)


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
