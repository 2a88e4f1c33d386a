"""Parts of runs that go by how many of them were made before, or by what they draw as they are."""

import random
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler

from engine import Split
from project import init
from project.datamodules.parabola import ParabolaDataModule
from project.modules.curve_mlp import CurveMLP

optimizers = 0
filled = 0
loaded: dict[str, Split] = {}
tables: dict[object, float] = {}
is_ready = False


def wider(network: nn.Module, seed: int, gain: float = 0.1) -> None:
    """Draws weights with a gain that grows with each network."""
    global filled
    filled += 1
    init.he(network, seed, gain * filled)


def slower(params: Iterable[nn.Parameter], lr: float, **options: Any) -> Optimizer:
    """Has half the rate the second time, a third the third time, and so on."""
    global optimizers
    optimizers += 1
    return SGD(params, lr=lr / optimizers, **options)


def drawn(params: Iterable[nn.Parameter], lr: float, **options: Any) -> Optimizer:
    """Draws its rate, below the one that it is given."""
    share = float(torch.rand(())) * random.random() * np.random.rand()
    return SGD(params, lr=lr * share, **options)


class Falls(LRScheduler):
    """Has half the rate where it is the second one that is made, and so on."""

    made: ClassVar[int] = 0

    def __init__(self, optimizer: Optimizer) -> None:
        Falls.made += 1
        self.factor = 1 / Falls.made
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        return [rate * self.factor for rate in self.base_lrs]


def falls(optimizer: Optimizer, rates: Callable[..., float]) -> LRScheduler:
    return Falls(optimizer)


def falls_by_chance(optimizer: Optimizer, rates: Callable[..., float]) -> LRScheduler:
    return ExponentialLR(optimizer, 0.3 + 0.6 * random.random())


def falls_by_a_table(optimizer: Optimizer, rates: Callable[..., float]) -> LRScheduler:
    """Has half the rate after each epoch, by a table that is made once."""
    make_ready()
    return ExponentialLR(optimizer, tables["once"])


def make_ready() -> None:
    global is_ready
    if not is_ready:
        tables["once"] = 0.5
        is_ready = True


class AddsOnce(nn.Linear):
    """Adds a half, of a table that is made once."""

    def forward(self, inputs: Tensor) -> Tensor:
        make_ready()
        return super().forward(inputs) + tables["once"]


class AddsOwn(nn.Linear):
    """Adds a half, by a key to a table that it makes and remembers in its first pass."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.keys: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.keys:
            self.keys.append(len(tables))
            tables[self.keys[0]] = 0.5
        return super().forward(inputs) + tables[self.keys[0]]


class Tires(nn.Linear):
    """Gives less with each call of any such layer."""

    calls: ClassVar[int] = 0

    def forward(self, inputs: Tensor) -> Tensor:
        Tires.calls += 1
        return super().forward(inputs) / Tires.calls


class Shrinks(CurveMLP):
    """Has smaller weights the later it is made."""

    made: ClassVar[int] = 0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        Shrinks.made += 1
        with torch.no_grad():
            for weights in self.parameters():
                weights.div_(Shrinks.made)


class AddsAny(nn.Linear):
    """Adds a half, of a table that the first pass of any such layer fills."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + tables.setdefault("any", 0.5)


class Fills(CurveMLP):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.network = AddsAny(1, 1)


class LoadsOnce(ParabolaDataModule):
    """Loads samples once, and has them from then on, whatever its seed."""

    def load(self) -> dict[str, Split]:
        loaded.update(loaded or super().load())
        return loaded
