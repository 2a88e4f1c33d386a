"""Modules, optimisers, schedules and callbacks of which a stack would know too little."""

import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property, partial, partialmethod
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, LRScheduler
from torchmetrics import MeanMetric, MetricCollection

from engine import Split, StepCallback
from engine.steps.callback import EACH_JOB
from engine.vectorized.eligible import CALLED
from project.datamodules.parabola import ParabolaDataModule
from project.modules.curve_mlp import CurveMLP


def matrices(params: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """Trains no biases."""
    return SGD([p for p in params if p.ndim > 1], lr=lr)


def reverse(params: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """Has the parameters in another order."""
    return SGD([*params][::-1], lr=lr)


def clipped(params: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """Clips gradients within its step, which is set on the object."""
    made = SGD(list(params), lr=lr)
    step = made.step

    def clip_and_step(closure: Any = None) -> Any:
        nn.utils.clip_grad_norm_(made.param_groups[0]["params"], 0.01)
        return step(closure)

    made.step = clip_and_step  # type: ignore[method-assign]
    return made


def by_rate(params: Iterable[nn.Parameter], lr: float, what: str) -> Optimizer:
    """Is otherwise for large rates: of another class, with another option, or with two groups."""
    own, is_large = list(params), lr > 0.05
    match what:
        case "class":
            return (Adam if is_large else AdamW)(own, lr=lr, weight_decay=0.5)
        case "momentum":
            return SGD(own, lr=lr, momentum=0.9, nesterov=is_large)
        case "maximize":
            return SGD(own, lr=lr, maximize=is_large)
        case "centered":
            return RMSprop(own, lr=lr, centered=is_large)
    groups: Any = [{"params": own[:2]}, {"params": own[2:], "lr": 0.0}] if is_large else own
    return SGD(groups, lr=lr)


class Raises(LRScheduler):
    """Raises the weight decay from 0."""

    def get_lr(self) -> list[float]:
        self.optimizer.param_groups[0]["weight_decay"] = 0.1 * self.last_epoch
        return [group["lr"] for group in self.optimizer.param_groups]


def raises(optimizer: Optimizer, rates: Callable[..., int]) -> dict[str, Any]:
    return {"scheduler": Raises(optimizer), "interval": "step"}


def halves(optimizer: Optimizer, rates: Callable[..., int], each: str = "step") -> dict[str, Any]:
    """Halves the rate at each step, or each epoch, by a key that is no `interval`."""
    return {"scheduler": LambdaLR(optimizer, lambda n: 0.5**n), "interval": each}


def bare(optimizer: Optimizer, rates: Callable[..., int], gamma: float) -> LRScheduler:
    """Returns a scheduler without a config, as Lightning takes it, too."""
    return ExponentialLR(optimizer, gamma)


def of_optimizer(optimizer: Optimizer) -> LRScheduler:
    return ExponentialLR(optimizer, 0.5)


class FollowsLoss(LRScheduler):
    """Has the rate of the loss that it is given; Lightning gives it to schedulers of any class."""

    def get_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self, metric: float | None = None) -> None:  # type: ignore[override]
        super().step()
        if metric is not None:
            self.optimizer.param_groups[0]["lr"] = 0.1 * float(metric)


def follows(optimizer: Optimizer, rates: Callable[..., int]) -> dict[str, Any]:
    config = {"scheduler": FollowsLoss(optimizer), "interval": "epoch", "monitor": "train/loss"}
    return {**config, "reduce_on_plateau": True}


def noisy(optimizer: Optimizer, rates: Callable[..., int]) -> dict[str, Any]:
    """Draws the rate of each step."""
    return {"scheduler": LambdaLR(optimizer, lambda n: 0.5 + random.random()), "interval": "step"}


class Lot(MeanMetric):
    """Draws what it means, or what it adds to it.

    Args:
        adds: whether it draws at its end only.
    """

    def __init__(self, adds: bool) -> None:
        super().__init__()
        self.adds = adds

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        super().update(float(self.adds) or torch.rand(()))

    def compute(self) -> Tensor:
        return super().compute() + (torch.rand(()) if self.adds else 0)


class HasLots(CurveMLP):
    """Has a metric that draws.

    Args:
        adds: the metric's.
        splits: those that have it.
        options: of the usual module.
    """

    def __init__(self, adds: bool, splits: str, **options: Any) -> None:
        super().__init__(**options)
        for split in splits.split("+"):
            lots = MetricCollection({"lot": Lot(adds)}, prefix=f"{split}/", compute_groups=False)
            setattr(self, f"{split}_metrics", lots)


class SetsLoss(CurveMLP):
    """Sets a loss of its own on the object."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        usual = self.compute_loss

        def doubled(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            loss, predictions = usual(inputs, targets)
            return 2 * loss, predictions

        self.compute_loss = doubled  # type: ignore[method-assign]


class HasHook(CurveMLP):
    """Doubles what it predicts, by a hook on the module itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_forward_hook(lambda module, inputs, output: 2 * output)


class Weighted(nn.MSELoss):
    """Weights the loss by a number that each job draws."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = float(torch.rand(()))

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.weight * super().forward(predictions, targets)
        return loss


class Penalised(nn.MSELoss):
    """Adds the weights' absolute values.

    Args:
        network: has the weights.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        penalty: Any = sum(own.abs().sum() for own in self.network.parameters())
        return super().forward(predictions, targets) + 0.1 * penalty


class SeesWeights(Penalised):
    """Adds the weights' absolute values, with no gradient."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        usual: Tensor = nn.functional.mse_loss(predictions, targets)
        return usual + (super().forward(predictions, targets) - usual).detach()


class Noisy(nn.MSELoss):
    """Draws noise for the targets."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return super().forward(predictions, targets + 0.01 * torch.randn(targets.shape))


class NoNumber(nn.MSELoss):
    """Is no number."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return super().forward(predictions, targets) + 0 * torch.log(predictions - 1e3).sum()


class CountsInBuffer(nn.MSELoss):
    """Counts its calls in training; the third and later ones weigh more."""

    steps: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        if self.training:
            self.steps.add_(1)
        return super().forward(predictions, targets) * (1 + (self.steps - 3).clamp(min=0))


class Centred(nn.MSELoss):
    """Looks at differences from the mean only, so that the last bias has no gradient."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return super().forward(predictions - predictions.mean(), targets - targets.mean())


class Shrinks(nn.MSELoss):
    """Works in place on the targets."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return super().forward(predictions, targets.mul_(0.9))


class HasLoss(CurveMLP):
    """Has another loss.

    Args:
        kind: of the loss.
        options: of the usual module.
    """

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(**options)
        self.loss = globals()[kind](self.network)


class Warms(nn.Module):
    """Multiplies what a layer or a loss gives by a factor that rises with the steps.

    Args:
        part: the layer or the loss.
        module: knows the number of the step.
    """

    def __init__(self, part: nn.Module, module: LightningModule) -> None:
        super().__init__()
        self.part, self.step = part, lambda: module.global_step

    def forward(self, *tensors: Tensor) -> Tensor:
        y: Tensor = self.part(*tensors) * min(1.0, (self.step() + 1) / 100)
        return y


class WarmsUp(CurveMLP):
    """Has a loss or a network that is warmed up.

    Args:
        part: `loss` or `network`.
        options: of the usual module.
    """

    def __init__(self, part: str, **options: Any) -> None:
        super().__init__(**options)
        setattr(self, part, Warms(getattr(self, part), self))


class HasProperty(CurveMLP):
    """Has another loss from the second epoch on."""

    @property
    def loss(self) -> nn.Module:  # type: ignore[override]
        return nn.L1Loss() if self.current_epoch else nn.MSELoss()

    @loss.setter
    def loss(self, loss: nn.Module) -> None:
        """Leaves the losses as they are."""


def weighted(self: Any, predictions: Tensor, targets: Tensor, weight: float) -> Tensor:
    return weight * (predictions - targets).abs().mean()


class HasClassMethod(CurveMLP):
    """Has a loss that is a method of the class."""

    @classmethod
    def _loss(cls, predictions: Tensor, targets: Tensor) -> Tensor:  # type: ignore[override]
        return weighted(cls, predictions, targets, 2.0)


class HasPartialMethod(CurveMLP):
    """Has a loss with a number that is filled in."""

    _loss = partialmethod(weighted, weight=2.0)  # type: ignore[assignment]


class Tied(CurveMLP):
    """Has a layer twice."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        layer = nn.Linear(5, 5)
        inputs, outputs = nn.Linear(1, 5), nn.Linear(5, 1)
        self.network = nn.Sequential(inputs, layer, nn.Tanh(), layer, outputs)


class LossOfAFunction(CurveMLP):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        del self.loss
        vars(self)["loss"] = nn.functional.mse_loss


class DrawsLoss(CurveMLP):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.loss = Weighted()


def halved(network: nn.Module, freezes: bool = False) -> None:
    """Freezes the first layer of some of the jobs."""
    first = next(network.parameters())
    first.requires_grad_(not freezes)


class Wrapped(nn.Module):
    """Does something to predictions or inputs of a network.

    Args:
        network: any.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class OfTheBatch(Wrapped):
    """Subtracts half of the batch's mean where it is evaluated."""

    def forward(self, x: Tensor) -> Tensor:
        predictions: Tensor = self.network(x)
        return predictions if self.training else predictions - 0.5 * predictions.mean(0)


class Skips(Wrapped):
    """Skips its layers now and then, by Python's random numbers."""

    def forward(self, x: Tensor) -> Tensor:
        predictions: Tensor = self.network(x)
        return predictions if random.random() > 1e-3 else 0 * predictions


class Scales(Wrapped):
    """Scales predictions by a number that it learns."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        predictions: Tensor = self.network(x) * self.log_scale.exp()
        return predictions


class Weighs(Wrapped):
    """Weights predictions by a number that each job draws, in a function that it makes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        weight = float(torch.rand(()))
        self.weigh = lambda predictions: weight * predictions

    def forward(self, x: Tensor) -> Tensor:
        predictions: Tensor = self.weigh(self.network(x))
        return predictions


class Counts(Wrapped):
    """Counts its calls in training, and predicts less after a hundred."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        predictions: Tensor = self.network(x) / max(1, self.calls / 100)
        return predictions


class Has(CurveMLP):
    """Has a network around the usual one; a class of this name with it.

    Args:
        kind: the class of that network.
        options: of the usual module.
    """

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(**options)
        self.network = globals()[kind](self.network)


class HalfAsManySeeds(ParabolaDataModule):
    """Draws noise that is the same for each two seeds."""

    def load(self) -> dict[str, Split]:
        noise = torch.Generator().manual_seed(self.seed // 2)
        return {
            name: Split(own.inputs, own.targets + torch.rand(own.targets.shape, generator=noise))
            for name, own in super().load().items()
        }


class OtherBySeed(ParabolaDataModule):
    """Has no validation for each other seed, or another number or type of samples, or classes."""

    def __init__(self, what: str, **options: Any) -> None:
        super().__init__(**options)
        self.what, self.is_other = what, self.seed % 2 > 0
        if self.is_other and what == "classes":
            self.class_names = ["one"]

    def load(self) -> dict[str, Split]:
        train = super().load()["train"]
        inputs, targets = train.inputs, train.targets
        if not self.is_other:
            return {"train": train, "val": train}
        match self.what:
            case "splits":
                return {"train": train}
            case "sizes":
                return {"train": train, "val": Split(inputs[:50], targets[:50])}
            case "types":
                return {"train": train, "val": Split(inputs, targets.half())}
        return {"train": train, "val": train}


class PreparedBySeed(ParabolaDataModule):
    """Makes the larger inputs larger by the seed: no sample of the first batch."""

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return torch.where(inputs > 0.5, inputs * (1 + self.seed), inputs)


class ClampedBySeed(ParabolaDataModule):
    """Clamps inputs to the largest of its training samples, which depends on the seed.

    The first and the last samples are small, so that only batches in between show it.
    """

    @cached_property
    def largest(self) -> float:
        return float(self.splits["train"].inputs.max())

    def load(self) -> dict[str, Split]:
        inputs = super().load()["train"].inputs.roll(self.samples // 2)  # from 0 to 1, from -1 to 0
        own = inputs * (1 - 0.1 * (self.seed % 2))
        return {"train": Split(own, own**2), "val": Split(inputs, inputs**2)}

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return inputs.clamp(max=self.largest)


class MovesItsFactor(ParabolaDataModule):
    """Makes a copy of its factor in each batch, as if the inputs were on another device."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.factor = torch.tensor(0.5)

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        self.factor = self.factor.clone()
        return self.factor * inputs


class DrawsAsItLoads(ParabolaDataModule):
    """Draws noise from the generators of all, as it is made and as it loads."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.more = random.random()

    def load(self) -> dict[str, Split]:
        return {
            name: Split(own.inputs, own.targets + self.more * torch.rand(own.targets.shape))
            for name, own in super().load().items()
        }


class DrawsAsItPrepares(ParabolaDataModule):
    """Draws from the generators of all when its data are prepared."""

    slope = 0.0

    def prepare_data(self) -> None:
        self.slope = random.random()
        super().prepare_data()


class GrowsByEpoch(ParabolaDataModule):
    """Makes inputs larger from epoch to epoch."""

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        trainer = self.trainer
        return inputs * (1 + 0.1 * (trainer.current_epoch if trainer else 0))


class GrowsElsewhere(ParabolaDataModule):
    """Makes inputs larger from epoch to epoch, by a factor that a method of another name asks."""

    @property
    def factor(self) -> float:
        return 1 + 0.1 * (self.trainer.current_epoch if self.trainer else 0)

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return inputs * self.factor


class NeedsTrainer(ParabolaDataModule):
    """Makes inputs larger from epoch to epoch, and knows no time before there is a Trainer."""

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        trainer: Any = self.trainer
        return inputs * (1 + 0.1 * trainer.current_epoch)


class ThreeSplits(ParabolaDataModule):
    """Has the training samples for validation and test, too."""

    def load(self) -> dict[str, Split]:
        return dict.fromkeys(("train", "val", "test"), super().load()["train"])


class Notes(StepCallback):
    """Is told when the hooks that a stack calls are called: see `noting`."""

    in_a_stack = EACH_JOB

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return True


def noting() -> set[str]:
    """Returns a set that gets the names of the hooks of `Notes` that are called from now on.

    Nothing puts it back at the end of a run, as it is in no file and no class.
    """
    called: set[str] = set()

    def note(hook: str) -> Callable[..., None]:
        return lambda self, *_: called.add(hook)

    for hook in CALLED:
        setattr(Notes, hook, note(hook))
    return called


class Follows(StepCallback):
    """Writes down the step at which its job's loss is below a bound, and watches until then."""

    in_a_stack = EACH_JOB

    def __init__(self, bound: float) -> None:
        self.bound, self.is_below = bound, False

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return not self.is_below

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if not self.is_below and trainer.callback_metrics["train/loss"] < self.bound:
            self.is_below = True
            (Path(trainer.default_root_dir) / "below.txt").write_text(str(trainer.global_step))


class Misspelt(StepCallback):
    in_a_stack = "each_job"


class Tallies(StepCallback):
    """Counts the epochs of all jobs in its class."""

    in_a_stack = EACH_JOB
    epochs = 0

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        Tallies.epochs += 1


class HalvesGradients(StepCallback):
    in_a_stack = EACH_JOB

    def on_after_backward(self, trainer: Trainer, module: LightningModule) -> None:
        for parameter in module.parameters():
            assert parameter.grad is not None
            parameter.grad *= 0.5


class LogsAtTheEnd(StepCallback):
    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        module.log("train/one", torch.ones(()))


class LogsByHand(StepCallback):
    """Logs by the Trainer's logger, and by one that it keeps, and notes in the run's folder."""

    in_a_stack = EACH_JOB
    said = ""
    logger: Any = None

    def setup(self, trainer: Any, module: LightningModule, stage: str) -> None:
        self.said += stage
        Path(trainer.log_dir, "said.txt").write_text(self.said)

    def on_train_start(self, trainer: Any, module: LightningModule) -> None:
        self.logger = trainer.logger

    def on_train_epoch_end(self, trainer: Any, module: LightningModule) -> None:
        assert [trainer.logger, module.logger, self.logger] == [trainer.loggers[0]] * 3
        trainer.logger.log_metrics({"by_hand": trainer.current_epoch + 0.5}, trainer.global_step)

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.logger.log_metrics({"begins": 1.0}, trainer.global_step)  # after the row of training


class LogsOtherwise(StepCallback):
    """Logs a value that no logger is to have."""

    in_a_stack = EACH_JOB

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        module.log("val/one", torch.ones(()), logger=False)


class Limits(StepCallback):
    """Sets an option of the Trainer on the way."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        trainer.limit_val_batches = 1


class AsksForLoader(StepCallback):
    """Looks at the samples of the first batch, if it gets one."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Any, module: LightningModule) -> None:
        with suppress(Exception):
            next(iter(trainer.train_dataloader))


class Lengthens(StepCallback):
    """Lets training go on for longer."""

    in_a_stack = EACH_JOB

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        trainer.fit_loop.max_epochs += 1  # type: ignore[operator]


class Draws(StepCallback):
    """Draws a number at the end of an epoch."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        random.random()


class StopsOne(StepCallback):
    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Any, module: LightningModule) -> None:
        trainer.should_stop = str(trainer.default_root_dir).count("seed=1") > 0


class Tires(StepCallback):
    """Stops its job after two epochs, which it counts in an attribute, or fails; notes each one.

    Args:
        fails: whether it fails in place of stopping the job where jobs train together.
    """

    in_a_stack = EACH_JOB

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.epochs = 0

    def on_train_epoch_end(self, trainer: Any, module: LightningModule) -> None:
        self.epochs += 1
        with open(Path(trainer.default_root_dir) / "epochs.txt", "a", encoding="utf-8") as file:
            file.write(f"{self.epochs}\n")
        if self.epochs == 2 and self.fails and not isinstance(trainer, Trainer):
            raise ValueError("no Trainer of Lightning's")
        trainer.should_stop = self.epochs == 2


class SetsRate(StepCallback):
    """Halves the learning rate at the end of an epoch."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Any, module: LightningModule) -> None:
        trainer.optimizers[0].param_groups[0]["lr"] *= 0.5


class SetsRateAtFirst(StepCallback):
    """Halves the learning rate at the beginning."""

    in_a_stack = EACH_JOB

    def on_train_start(self, trainer: Any, module: LightningModule) -> None:
        trainer.optimizers[0].param_groups[0]["lr"] *= 0.5


class DropsRate(StepCallback):
    """Makes the learning rate much smaller within the first epoch."""

    in_a_stack = EACH_JOB

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step == 1

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 2:
            trainer.optimizers[0].param_groups[0]["lr"] *= 0.01


class Clips(Callback):
    """Clips the weights after each step, as an ordinary callback of Lightning's."""

    in_a_stack = EACH_JOB

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        for parameter in module.parameters():
            parameter.data.clamp_(-0.5, 0.5)


class AddsNoise(StepCallback):
    """Changes the samples, which jobs with one seed for their data share."""

    in_a_stack = EACH_JOB

    def setup(self, trainer: Any, module: LightningModule, stage: str) -> None:
        trainer.datamodule.splits["train"].targets.add_(0.5)


class AnnealsSome(StepCallback):
    """Lets a number of the loss grow in the second job."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        if "seed=1" in str(trainer.default_root_dir):
            module.loss.weight *= 2


class Freezes(StepCallback):
    """Freezes the first layer after the first epoch."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        next(module.parameters()).requires_grad_(False)


class Replaces(StepCallback):
    """Replaces a tensor of weights by another."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        first = next(module.parameters())
        first.data = 0.5 * first.data


class PutsBack(StepCallback):
    """Changes something within an epoch, and puts it back before the epoch ends.

    Args:
        what: to change.
    """

    in_a_stack = EACH_JOB

    def __init__(self, what: str) -> None:
        self.what = what
        self.own: Any = None

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step in (0, 1)

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        (group,) = trainer.optimizers[0].param_groups
        if self.what == "rate" and trainer.global_step < 3:
            self.own = self.own or group["lr"]
            group["lr"] = self.own if trainer.global_step == 2 else 0.1 * self.own

    def on_validation_epoch_start(self, trainer: Trainer, module: Any) -> None:
        if self.what == "weights":
            self.own = [own.data for own in module.parameters()]
            for own in module.parameters():
                own.data = 0.5 * own.data

    def on_validation_epoch_end(self, trainer: Trainer, module: Any) -> None:
        for own, data in zip(module.parameters(), self.own or (), strict=False):
            own.data = data


class SetsUp(StepCallback):
    """Changes in `setup` what training is made of.

    Args:
        what: to change.
    """

    in_a_stack = EACH_JOB

    def __init__(self, what: str) -> None:
        self.what = what

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        match self.what:
            case "optimizer":
                module.optimizer = partial(SGD, lr=0.5)
            case "batch_size":
                trainer.datamodule.batch_size = 7


class Meddles(StepCallback):
    """Does something at the end of each epoch that a stack would not follow."""

    in_a_stack = EACH_JOB

    def __init__(self, what: str) -> None:
        self.what = what

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        optimizer: Any = trainer.optimizers[0]
        match self.what:
            case "clears":
                optimizer.state.clear()
            case "asks":
                module.optimizers().state.clear()
            case "writes":
                for tensors in optimizer.state.values():
                    tensors["exp_avg"].zero_()
            case "counts":
                assert len(optimizer.state)
            case "loss":
                module.loss = nn.L1Loss()
            case "optimiser":
                trainer.optimizers[0] = SGD(module.parameters(), lr=0.001)
            case "sums":
                module.averages_loss = False
            case "evaluates":
                module.network.eval()
            case "maximises":
                optimizer.param_groups[0]["maximize"] = True
            case "reorders":
                optimizer.param_groups[0]["params"].reverse()


class LooksAtBatch(StepCallback):
    """Looks at the samples of some steps, or of a validation, if there are such."""

    in_a_stack = EACH_JOB

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step == 1

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if isinstance(batch, tuple | list):
            assert len(batch) == 2


class LogsGradients(StepCallback):
    """Logs the sum of the gradients after some steps."""

    in_a_stack = EACH_JOB

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step % 2 == 0

    def on_train_batch_end(self, trainer: Any, module: LightningModule, *_: Any) -> None:
        if trainer.global_step % 2:
            gradients: Any = [parameter.grad for parameter in module.parameters()]
            total = sum(float(own.sum()) for own in gradients)
            trainer.logger.log_metrics({"gradients": total}, trainer.global_step - 1)


class Anneals(StepCallback):
    """Lets a number of the loss grow from epoch to epoch."""

    in_a_stack = EACH_JOB

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        module.loss.weight *= 2


class WeightedMLP(CurveMLP):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.loss = Weighted()
        self.loss.weight = 1.0
