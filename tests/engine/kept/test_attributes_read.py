"""Whose code reads gradients of weights."""

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import grad_norm
from torch import nn

from engine.kept import attributes


def norms(module: nn.Module) -> list[float]:
    return [float(own.grad.norm()) for own in module.parameters() if own.grad is not None]


def by_another(module: nn.Module) -> float:
    return sum(norms(module))


def sensitivity(module: nn.Module, inputs: torch.Tensor) -> Any:
    """Of the inputs: no gradient of a weight is read."""
    return torch.autograd.grad(module(inputs).sum(), inputs)


class ReadsHere(Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.norms = [own.grad.norm() for own in module.parameters()]


class ReadsByOthers(Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.norm = by_another(module)


class ReadsByLightning(Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.norms = grad_norm(module, 2)


class Inherits(ReadsHere):
    """Has what its base has."""


class Computes(Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.slope = torch.func.grad(torch.sin)(torch.ones(()))
        self.slopes = sensitivity(module, module.example_input_array)


class Clears(Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        module.network.weight.grad = None


@pytest.mark.parametrize(
    ("kind", "reads"),
    [
        (ReadsHere, True),
        (ReadsByOthers, True),
        (ReadsByLightning, True),
        (Inherits, True),
        (Computes, False),
        (Clears, False),
        (Callback, False),
    ],
)
def test_who_reads_gradients_of_weights(kind: type, reads: bool) -> None:
    """What else a file has is for others: a helper of another class spoilt its compiled steps."""
    assert attributes.reads_gradients(kind) == reads
