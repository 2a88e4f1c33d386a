"""Which hooks an object has of its own."""

import functools
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback

from engine.steps.callback import overrides

HOOKS = ["on_train_start", "on_train_end", "on_fit_start"]


def counted(hook: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(hook)
    def call(*arguments: Any) -> None:
        hook(*arguments)

    return call


class Calls:
    """A hook that is no function."""

    def __call__(self, trainer: Any, module: Any) -> None:
        pass


class Decorated(Callback):
    @counted
    def on_train_start(self, trainer: Any, module: Any) -> None:
        pass

    on_train_end: Any = Calls()


def test_hooks_are_overridden_by_whatever_can_be_called() -> None:
    assert overrides(Decorated(), Callback, HOOKS) == ["on_train_start", "on_train_end"]
    assert overrides(Callback(), Callback, HOOKS) == []
    assert overrides(Callback(), Callback, ["no_hook"]) == []


def test_an_object_may_have_a_hook_of_its_own() -> None:
    own = Callback()
    own.on_fit_start = lambda trainer, module: None  # type: ignore[method-assign]
    assert overrides(own, Callback, HOOKS) == ["on_fit_start"]
