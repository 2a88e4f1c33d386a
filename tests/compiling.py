"""Gives torch.compile another backend, which makes no code in C++: that takes seconds a step."""

import functools
from collections.abc import Callable
from typing import Any

import torch


def by(backend: Any) -> Callable[..., Any]:
    """Returns a torch.compile for steps: when one is compiled anew, and for what, is the same."""
    compile_ = torch.compile

    @functools.wraps(compile_)
    def compile_step(step: Any, options: dict[str, Any] | None = None, **given: Any) -> Any:
        if options is None:  # that is asked for another backend
            return compile_(step, **given)
        guards = {name: own for name, own in options.items() if name == "guard_filter_fn"}
        return compile_(step, backend=backend, options=guards, **given)

    return compile_step
