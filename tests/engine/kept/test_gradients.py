"""Whose code reads gradients of weights."""

import gc
import sys
import weakref
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import grad_norm
from torch import nn

from engine.kept import gradients


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


class Clips(Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 1e9)


class ClipsByAnImport(Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        from torch.nn.utils.clip_grad import clip_grad_value_

        clip_grad_value_(module.parameters(), 1e9)


class ReadsByName(Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.found = [getattr(own, "grad", None) for own in module.parameters()]


class ReadsByAGetter(Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.found = [*map(attrgetter("grad"), module.parameters())]


class Stats:
    def lengths(self, module: nn.Module) -> list[float]:
        return [own.grad.norm().item() for own in module.parameters() if own.grad is not None]

    def sizes(self, module: nn.Module) -> list[int]:
        return [own.numel() for own in module.parameters()]


class Inner:
    def __init__(self) -> None:
        self.stats = [Stats()]

    def sum(self, module: nn.Module) -> float:
        return sum(self.stats[0].lengths(module))


class AsksItsObject(Callback):
    def __init__(self) -> None:
        self.stats = Stats()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.norms = self.stats.lengths(module)


class AsksForSizes(Callback):
    """Has such an object, and asks it for something else."""

    def __init__(self) -> None:
        self.stats = Stats()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.sizes = self.stats.sizes(module)


class AsksThroughAnother(Callback):
    def __init__(self) -> None:
        self.inner = {"first": Inner()}

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.found = self.inner["first"].sum(module)


class AsksItsClass(Callback):
    stats = Stats()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.found = self.stats.lengths(module)


class AsksANewObject(Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.found = Stats().lengths(module)


class AsksAFunction(Callback):
    def __init__(self, measure: Any = by_another) -> None:
        self.measure = partial(measure)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.found = self.measure(module)


def told(method: Any) -> Any:
    return lambda *args: method(*args)


class IsDecorated(Callback):
    @told
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.found = norms(module)


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
        (Clips, True),
        (ClipsByAnImport, True),
        (ReadsByName, True),
        (ReadsByAGetter, True),
        (AsksItsObject, True),
        (AsksThroughAnother, True),
        (AsksItsClass, True),
        (AsksANewObject, True),
        (AsksAFunction, True),
        (IsDecorated, True),
        (AsksForSizes, False),
        (Computes, False),
        (Clears, False),
        (Callback, False),
    ],
)
def test_who_reads_gradients_of_weights(kind: type, reads: bool) -> None:
    """What else a file has is for others: a helper of another class spoilt its compiled steps."""
    assert gradients.reads_gradients(kind()) == reads


class Exp:
    inverse: Any = None

    def back(self, x: Any) -> Any:
        return self.inverse().back(x), Exp, Log


class Log:
    inverse = Exp

    def back(self, x: Any) -> Any:
        return self.inverse().back(x), Exp, Log


Exp.inverse = Log


class AttrDict(dict[str, Any]):
    """Has its keys as attributes, and raises a KeyError for any other."""

    __getattr__ = dict.__getitem__


SCALES = AttrDict(scale=2.0)


class HoldsOddThings(nn.Module):
    """Holds classes that name each other, an array without axes, and what raises odd errors."""

    def __init__(self) -> None:
        super().__init__()
        scales = SCALES
        self.log, self.exp, self.mean = Log(), Exp(), np.array(0.5)
        self.scales, self.scaled = scales, lambda x: x * scales.scale

    def forward(self, x: torch.Tensor) -> Any:
        import not_installed  # type: ignore[import-not-found]

        return not_installed, self.log.back(x), torch.ops.aten.relu(x) * SCALES.scale


def test_objects_that_do_what_they_like_are_asked_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it happened: a run ended at its first checkpoint, or stood still."""
    monkeypatch.setitem(sys.modules, "not_installed", None)
    assert not gradients.reads_gradients(HoldsOddThings())


def test_who_is_asked_is_not_kept() -> None:
    """A cache of what an object's functions do would keep the networks of all jobs."""

    def asked() -> weakref.ref[nn.Module]:
        owner = HoldsOddThings()
        owner.scaled = lambda x: owner.mean * x
        assert not gradients.reads_gradients(owner)
        return weakref.ref(owner)

    found = asked()
    gc.collect()
    assert found() is None
