"""Modules, losses, optimisers and schedules of which a stack would know too little."""

import random
from collections.abc import Callable, Iterable
from functools import partialmethod
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, LRScheduler
from torchmetrics import MeanMetric, MetricCollection

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


class Waits:
    """Changes nothing, and has all methods of a scheduler, but not torch's class."""

    def __init__(self, optimizer: Optimizer, rates: Callable[..., int]) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        """Leaves the rate as it is."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads nothing."""


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
    return {
        "scheduler": LambdaLR(optimizer, lambda n: 0.5 + (random.random() if n else 0)),
        "interval": "step",
    }


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


class Least(MeanMetric):
    """Means predictions, and gives the least mean so far."""

    def __init__(self) -> None:
        super().__init__()
        self.means: list[Tensor] = []

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        super().update(predictions)

    def compute(self) -> Tensor:
        self.means.append(super().compute())
        return min(self.means)


class HasLeast(CurveMLP):
    """Has a metric that keeps more than its states."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.val_metrics = MetricCollection({"least": Least()}, prefix="val/")


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


class Bounded(nn.Module):
    """Computes a weight within ±1 of one without bounds."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.tanh()


def bounded(network: Any) -> nn.Module:
    """Computes the first weight from another one, by a parametrisation of PyTorch's."""
    register_parametrization(network.linear1, "weight", Bounded())
    return network


class WeightedMLP(CurveMLP):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.loss = Weighted()
        self.loss.weight = 1.0
