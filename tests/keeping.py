"""Modules, callbacks and data that keep in attributes what training depends on: see ways.py."""

import multiprocessing
import random
from array import array
from collections import UserDict, deque
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim.lr_scheduler import ExponentialLR
from torch.utils.data import (
    DataLoader,
    Dataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)
from torchmetrics import MeanMetric, SumMetric
from torchmetrics.wrappers import Running

from ways import Noisy, Ordinary, Points, Small


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


class CountsEpochs(Points):
    """Has an attribute that the module writes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.epochs = 0


class IsMeasuredSo(Recalls):
    """Is measured with what it keeps: a mean of what it has seen, its state and counts."""

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        data.epochs += 1

    def _measured(self, batch: Any) -> Tensor:
        inputs, targets = batch
        assert self.hidden is not None
        error = F.mse_loss(self(inputs - self.mean) + self.hidden, targets)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        return error + self.memory.seen["batches"] + 100 * data.epochs

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self._measured(batch))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/loss", self._measured(batch))


class Sums(Small):
    """Logs metrics that Lightning resets: a sum, and a sum within a wrapper."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sum, self.running = SumMetric(), Running(SumMetric(), window=9)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._measure("test", batch)

    def _measure(self, split: str, batch: Any) -> None:
        inputs, targets = batch
        errors = (self(inputs) - targets).abs()
        self.sum(errors)
        self.running.update(errors)
        self.log(f"{split}/loss", self.sum)
        self.log(f"{split}/running", self.running)


class Divides(Ordinary):
    """Divides its points at random each time that it is set up, with noise that it draws first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.noise = random.random() + float(np.random.rand())

    def setup(self, stage: str) -> None:
        inputs = torch.linspace(0, 1, 270).view(90, 3)
        points = TensorDataset(inputs, inputs.sum(1, keepdim=True) + self.noise)
        self.parts = random_split(points, [50, 20, 20])

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts[0], self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts[1], self.batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts[2], self.batch_size)


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


class Prunes(Small):
    """Prunes a layer as its second epoch starts: the layer has other weights then."""

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            prune.l1_unstructured(self.network[0], "weight", amount=0.5)


class Tally:
    """Counts in a slot."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps = 0


tallied = 0
TALLY = {"batches": 0}


class Hoards(Callback):
    """Keeps what changes the weights where it is hard to find.

    It is in slots, in the class, in the file, in shared memory, in objects of Python's library and
    of NumPy, in attributes of any name, and in one that is deleted.
    """

    batches: ClassVar[int] = 0

    def __init__(self) -> None:
        self.tally = Tally()
        self.shared: Any = multiprocessing.Value("d", 0.0)
        self.numbers = array("d", [0.0])
        self.words: UserDict[str, float] = UserDict(rate=1.0)
        self.seeds = np.random.SeedSequence(1)
        self.early = True
        for name in ("first", "last"):
            setattr(self, f"rate_{name}", 0.0)

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: Any) -> None:
        global tallied
        tallied += 1
        TALLY["batches"] += 1
        Hoards.batches += 1
        self.tally.steps += 1
        self.shared.value += 0.1
        self.numbers[0] += 0.1
        self.words["rate"] *= 0.99
        for name in ("first", "last"):
            setattr(self, f"rate_{name}", getattr(self, f"rate_{name}") + 0.1)
        if self.tally.steps == 12:
            del self.early
        numbers = np.random.default_rng(*self.seeds.spawn(1))
        of_the_file = (tallied % 7, TALLY["batches"] % 4)
        kept = (
            *of_the_file,
            Hoards.batches % 10,
            self.shared.value,
            self.numbers[0],
            self.words["rate"],
        )
        rates = (getattr(self, f"rate_{name}") for name in ("first", "last"))
        scale = sum((*kept, *rates), self.tally.steps if hasattr(self, "early") else 0.0)
        module.network[0].weight.data *= 1 - 1e-3 * scale * numbers.random()


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


class DrawsParts(Ordinary):
    """Draws by a generator of its own which samples each of its loaders has."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rng = np.random.default_rng(1)

    def _loader(self, split: str) -> DataLoader[Any]:
        points = self.points[split]
        chosen = self.rng.choice(len(points), 10, replace=False)
        own = points.select(torch.from_numpy(chosen))
        return DataLoader(TensorDataset(*own), self.batch_size)

    def train_dataloader(self) -> Any:
        return self._loader("train")


class DrawsAnew(Ordinary):
    """Draws by NumPy's and torch's generators which samples each of its loaders has."""

    def train_dataloader(self) -> Any:
        chosen = np.random.choice(50, 48, replace=False)
        return DataLoader(
            Subset(Noisy(self.points["train"]), chosen.tolist()), self.batch_size, shuffle=True
        )

    def val_dataloader(self) -> DataLoader[Any]:
        chosen = torch.randperm(20)[:10].tolist()
        return DataLoader(Subset(Noisy(self.points["val"]), chosen), self.batch_size)


class CentresByABuffer(Small):
    """Subtracts a mean of its inputs that is in no checkpoint of Lightning's."""

    mean: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("mean", torch.zeros(3), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.mean.lerp_(inputs.detach().mean(0), 0.1)
        outputs: Tensor = self.network(inputs - self.mean)
        return outputs


class InWorkers(Ordinary):
    """Has workers, some of which go on from one pass to the next: all draw."""

    def setup(self, stage: str) -> None:
        self.noisy = Noisy(self.points["train"])

    def train_dataloader(self) -> Any:
        workers = {"num_workers": self.workers, "persistent_workers": self.workers > 0}
        return DataLoader(self.noisy, self.batch_size, shuffle=True, **workers)

    def val_dataloader(self) -> Any:
        noisy = Noisy(self.points["val"])
        own = {"generator": torch.Generator().manual_seed(3), "shuffle": True}
        persistent = DataLoader(noisy, self.batch_size, num_workers=1, persistent_workers=True)
        return [persistent, DataLoader(noisy, self.batch_size, num_workers=1, **own)]


class ValidatesOnTwo(Small):
    """Validates on two loaders, and follows the first."""

    def validation_step(  # type: ignore[override]
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        name = ("val/loss", "val/other")[dataloader_idx]
        self.log(name, F.mse_loss(self(batch[0]), batch[1]), add_dataloader_idx=False)


class NaNInValidation(Small):
    """Validates with a loss that is no number."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", torch.tensor(float("nan")))


class Gathers(Small):
    """Gathers the gradients of two batches in Lightning's hooks, and not by its option."""

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        optimizer_closure()
        if batch_idx % 2:
            optimizer.step()

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        if batch_idx % 2 == 0:
            optimizer.zero_grad()


class LooksAhead(torch.optim.Optimizer):
    """Lets another optimiser take its steps, and averages the weights: Zhang et al., 2019.

    It has the other one's list of groups, as most of those in use.
    """

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.base, self.steps = base, 0
        super().__init__(base.param_groups, {})
        self.param_groups = base.param_groups
        self.slow = [own.detach().clone() for own in base.param_groups[0]["params"]]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = self.base.step(closure)
        self.steps += 1
        for slow, own in zip(self.slow, self.param_groups[0]["params"], strict=True):
            if self.steps % 3 == 0:
                own.copy_(slow.lerp_(own, 0.5))
        return loss


class HandsDown(torch.optim.Optimizer):
    """Has another optimiser within it, with its dicts of groups in another list, and its state.

    The mean of the gradients is damped after each step, less and less.
    """

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})
        self.base = torch.optim.Adam(self.param_groups)
        self.state = self.base.state

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = self.base.step(closure)
        for own in self.base.state.values():
            own["seen"] = own.get("seen", 0) + 1
        for own in self.state.values():
            own["exp_avg"].mul_(1 - 1 / (1 + own["seen"]))
        return loss


class WrapsItsOptimizer(Small):
    """Has an optimiser within an optimiser within an optimiser, and rates that fall."""

    def configure_optimizers(self) -> Any:
        optimizer = LooksAhead(HandsDown(self.parameters(), lr=0.05))
        return [optimizer], [ExponentialLR(optimizer, 0.7)]


class Banks(Small):
    """Keeps samples in a buffer that grows, and the last batch in one that is None at first."""

    bank: Tensor
    last: Tensor | None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("bank", torch.zeros(0, 3))
        self.register_buffer("last", None)
        self.register_buffer("best", torch.ones(1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if self.last is not None:
            loss = loss + 0.1 * self(self.bank).mean() * self.last.mean()
        self.bank = torch.cat([self.bank, batch[0][:1].detach()])[-22:]
        self.last = batch[1].half()
        self.best = torch.minimum(self.best.double(), loss.detach())
        return loss

    def test_step(self, batch: Any, batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        self.log("test/bank", self.bank.sum() + self.best.sum())


class FreezesStatistics(BaseFinetuning):
    """Freezes a layer with its running statistics, for the first epoch."""

    def freeze_before_training(self, module: LightningModule) -> None:
        self.freeze(module.get_submodule("network.1"), train_bn=False)

    def finetune_function(self, module: LightningModule, epoch: int, optimizer: Any) -> None:
        if epoch == 1:
            self.make_trainable(module.get_submodule("network.1"))


class SetsPrecision(Callback):
    """Sets the precision of all tensors that are made from then on.

    Args:
        bits: of a number.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def setup(self, trainer: Trainer, module: Any, stage: str) -> None:
        torch.set_default_dtype(torch.float64 if self.bits == 64 else torch.get_default_dtype())
