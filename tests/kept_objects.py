"""A module with objects in attributes, as tests of what checkpoints have of them take it."""

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from engine import SupervisedModule
from fitting import plain_trainer


class Inner:
    """An object of a user's class."""

    def __init__(self) -> None:
        self.last = deque([1, 2], maxlen=2)
        self.known = {1}
        self.array = np.zeros(2)
        self.path = Path("a")

    def go_on(self) -> None:
        self.last.append(3)
        self.known.add(2)


class Net(nn.Module):
    """A layer with a buffer that no checkpoint has, and one that all have."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("passing", torch.zeros(2), persistent=False)
        self.register_buffer("lasting", torch.zeros(2))


class Module(SupervisedModule):
    """Keeps numbers, tensors and an object."""

    def __init__(self) -> None:
        super().__init__(Net(), nn.MSELoss())
        self._count = 0
        self.same = [1.0, float("nan")]
        self.state: dict[str, Any] = {"a": (1, "word"), "b": torch.zeros(1)}
        self.inner = Inner()

    def go_on(self) -> None:
        self._count += 1
        self.state["b"] += 1
        self.network.dropout.p = 0.1  # of a class that is not the user's
        self.network.passing += 1
        self.network.lasting += 1
        self.inner.go_on()


class Counts(Callback):
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def setting(self) -> int:
        return self.count

    @setting.setter
    def setting(self, value: int) -> None:
        self.count = value


def trainer_of(folder: Path, module: Module) -> Trainer:
    trainer = plain_trainer(folder, callbacks=[Counts(), Counts()], logger=False)
    trainer.strategy.connect(module)
    return trainer


def numbers(generator: Any) -> list[float]:
    if isinstance(generator, torch.Generator):
        return torch.rand(3, generator=generator).tolist()
    return [float(generator.random()) for _ in range(3)]


class Meter:
    """Counts, in a way that a generator does, too."""

    def __init__(self) -> None:
        self.count = 0

    def random(self) -> float:
        self.count += 1
        return self.count
