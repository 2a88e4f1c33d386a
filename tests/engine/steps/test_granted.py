"""Whatever a function reads, wherever it is: a change of it is another number."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.steps.granted import Granted

Change = Callable[[], object]
X = torch.ones(3)


class Slots:
    """Has a number in a slot."""

    __slots__ = ("factor",)

    def __init__(self) -> None:
        self.factor = 1.0


class Scales:
    """Is called, and has a number."""

    factor = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.factor


class Layer(nn.Module):
    """Has numbers in many places."""

    shared = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.slots, self.many, self.deep = 1.0, Slots(), [1.0] * 2000, [[[[[[1.0]]]]]]
        self.scales, self.dropout = Scales(), nn.Dropout(0.5)
        self.partial = functools.partial(torch.mul, other=1.0)
        self.unread, self.mask = 1.0, torch.ones(3)

    @property
    def factor(self) -> float:
        return self.plain


factor, table = 1.0, {"factor": SimpleNamespace(inner=1.0)}


def of_a_layer(
    read: Callable[[Layer, Tensor], Tensor], change: Callable[[Layer], object]
) -> tuple[Callable[[Tensor], Tensor], Change]:
    layer = Layer()
    return lambda x: read(layer, x), lambda: change(layer)


def of_this_file() -> tuple[Callable[[Tensor], Tensor], Change]:
    return lambda x: x * factor, lambda: globals().update(factor=factor + 1)


def of_a_table() -> tuple[Callable[[Tensor], Tensor], Change]:
    def change() -> None:
        table["factor"].inner += 1

    return lambda x: x * table["factor"].inner, change


def of_a_closure() -> tuple[Callable[[Tensor], Tensor], Change]:
    own = 1.0

    def change() -> None:
        nonlocal own
        own = 2.0

    return lambda x: x * own, change


def of_a_class() -> tuple[Callable[[Tensor], Tensor], Change]:
    kind = type("Kind", (Layer,), {})
    layer = kind()
    return lambda x: x * layer.shared, lambda: setattr(kind, "shared", 2.0)


def set_deep(layer: Layer) -> None:
    layer.deep[0][0][0][0][0][0] = 2.0


READ = {
    "a file": of_this_file,
    "a table of a file": of_a_table,
    "a closure": of_a_closure,
    "a class": of_a_class,
    "an attribute": lambda: of_a_layer(
        lambda layer, x: x * layer.plain, lambda layer: setattr(layer, "plain", 2.0)
    ),
    "a property": lambda: of_a_layer(
        lambda layer, x: x * layer.factor, lambda layer: setattr(layer, "plain", 2.0)
    ),
    "a slot": lambda: of_a_layer(
        lambda layer, x: x * layer.slots.factor, lambda layer: setattr(layer.slots, "factor", 2.0)
    ),
    "a long list": lambda: of_a_layer(
        lambda layer, x: x * layer.many[1500], lambda layer: layer.many.__setitem__(1500, 2.0)
    ),
    "a deep list": lambda: of_a_layer(lambda layer, x: x * layer.deep[0][0][0][0][0][0], set_deep),
    "an object that is called": lambda: of_a_layer(
        lambda layer, x: layer.scales(x), lambda layer: setattr(layer.scales, "factor", 2.0)
    ),
    "a partial function": lambda: of_a_layer(
        lambda layer, x: layer.partial(x), lambda layer: layer.partial.keywords.update(other=2.0)
    ),
    "the mode of a layer": lambda: of_a_layer(
        lambda layer, x: layer.dropout(x), lambda layer: layer.eval()
    ),
    "a rate of a layer": lambda: of_a_layer(
        lambda layer, x: layer.dropout(x), lambda layer: setattr(layer.dropout, "p", 0.1)
    ),
}


@pytest.mark.parametrize("place", READ)
def test_a_change_of_what_is_read_is_another_number(place: str) -> None:
    function, change = READ[place]()
    granted = Granted(function)
    first = granted(X)
    assert granted(X) == first
    change()
    second = granted(X)
    assert second != first
    assert granted(X) == second


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer, "unread", 2.0),
        lambda layer: layer.mask.mul_(2),  # the numbers of tensors are read in each call
        lambda layer: setattr(layer, "mask", torch.zeros(3)),
    ],
    ids=["unread", "numbers of a tensor", "another tensor"],
)
def test_what_is_read_anew_in_each_call_is_not_taken_for_granted(
    change: Callable[[Layer], object],
) -> None:
    function, act = of_a_layer(lambda layer, x: x * layer.mask * layer.plain, change)
    granted = Granted(function)
    first = granted(X)
    act()
    assert granted(X) == first


def test_the_addresses_are_those_of_all_tensors_that_are_read() -> None:
    """A captured graph reads them there."""
    layer = Layer()
    granted = Granted(lambda x: x * layer.mask)
    granted(X)
    assert set(granted.addresses) == {X.data_ptr(), layer.mask.data_ptr()}
    layer.mask, before = torch.zeros(3), layer.mask
    granted(X)
    assert set(granted.addresses) == {X.data_ptr(), layer.mask.data_ptr()}
    assert before.data_ptr() not in granted.addresses


class Reverses(torch.autograd.Function):
    """Has a gradient that goes by a number of this file."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient * table["factor"].inner


def test_what_a_gradient_goes_by_is_taken_for_granted_too() -> None:
    granted, x = Granted(lambda x: Reverses.apply(x).sum()), X.clone().requires_grad_()
    first = granted(x)
    assert granted(x) == first
    table["factor"].inner += 1
    assert granted(x) != first


def test_the_function_never_runs() -> None:
    calls = SimpleNamespace(number=0)

    def counts(x: Tensor) -> Tensor:
        calls.number += 1
        return x.add_(1)

    granted, x = Granted(counts), torch.zeros(3)
    assert granted(x) == granted(x)
    assert calls.number == 0
    assert torch.equal(x, torch.zeros(3))


def test_functions_of_one_code_are_told_apart() -> None:
    made: list[Any] = [Granted(lambda x, own=own: x * own) for own in (1.0, 2.0)]
    assert [granted(X) for granted in made] == [granted(X) for granted in made]
    assert [granted._traced for granted in made] == [1, 1]  # none is traced for the other


def test_what_cannot_be_traced_raises_its_error() -> None:
    def prints(x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x

    with pytest.raises(torch._dynamo.exc.Unsupported):
        Granted(prints)(X)
