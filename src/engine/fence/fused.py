"""PyTorch's fused optimisers: what their kernels refuse, or take wrongly, goes another way."""

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW

FUSED: tuple[Any, ...] = (SGD, Adam, AdamW, Adagrad)
Gather = Callable[..., Any]


class _Patched:
    """Holds what this process has patched: several trainings may be within it at once."""

    lock = threading.Lock()
    contexts = 0
    ours: ClassVar[dict[Any, Gather]] = {}  # by class; empty outside of all contexts
    before: ClassVar[dict[Any, Gather | None]] = {}  # of each class its own, if it has one


@contextmanager
def any_fused_steps() -> Iterator[None]:
    """Has fused optimisers train within this context what torch's other ones train.

    The kernels refuse complex numbers, sparse gradients, and parameters without momentum beside
    others that have theirs: those of a layer that thaws, or that some steps leave out. They take
    numbers in their order in memory, so that a parameter gets a wrong update where it, its gradient
    or its state lies otherwise than the kernels suppose. A step of none of these is torch's own,
    bit by bit.
    """
    with _Patched.lock:
        _Patched.contexts += 1
        if _Patched.contexts == 1:
            _Patched.before = {kind: vars(kind).get("_init_group") for kind in FUSED}
            _Patched.ours = {kind: _gathering(kind) for kind in FUSED}
            for kind, ours in _Patched.ours.items():
                kind._init_group = ours
    try:
        yield
    finally:
        with _Patched.lock:
            _Patched.contexts -= 1
            if not _Patched.contexts:
                _take_back()


def _take_back() -> None:
    for kind, ours in _Patched.ours.items():
        # PyTorch's compiler wraps what it finds when it is imported, and for good.
        if vars(kind)["_init_group"] is ours:
            del kind._init_group
            if before := _Patched.before[kind]:
                kind._init_group = before
    _Patched.ours = {}


def _gathering(kind: Any) -> Gather:
    """Returns what gathers a group's tensors for the kernel, and takes all other steps first."""
    gather, step = kind._init_group, inspect.unwrap(kind.step)
    signature = inspect.signature(gather)
    names = [*signature.parameters][2:]  # behind the optimiser and the group
    numbers = slice(names.index("state_steps") if "state_steps" in names else len(names))

    def gathered(optimizer: Any, group: Any, *given: list[Any], **named: list[Any]) -> Any:
        if not group.get("fused") or _Patched.ours.get(kind) is not gathered:
            return gather(optimizer, group, *given, **named)
        lists = [*given, *(named[name] for name in names if name in named)]
        types = {one.dtype for one in group["params"]}
        if not any(own.is_complex for own in types):
            found = gather(optimizer, group, *lists)
            if _fits(found, group, *lists[numbers]):
                return found
            for own in lists:
                own.clear()
        group = {**group, "params": _remaining(step, optimizer, group)}
        for parameter in group["params"]:
            _lay_out(optimizer.state.get(parameter, {}), parameter)
        found = gather(optimizer, group, *lists)
        lists[1][:] = map(_laid_out, *lists[:2])
        return found

    gathered.__signature__ = signature  # type: ignore[attr-defined]  # for one around this one
    return gathered


def _fits(found: Any, group: Any, params: Any, *others: Any) -> bool:
    """Tells whether the kernel takes all that was gathered: mostly, so it has to be fast."""
    if any(found) if isinstance(found, tuple) else found:  # complex or sparse
        return False
    if group.get("momentum") and (new := sum(one is None for one in others[1])):
        if new < len(params):
            return False
        others = others[:1]
    if all(map(Tensor.is_contiguous, chain(params, *others))):
        return True
    strides = [*map(Tensor.stride, params)]
    return all(map(_is_dense, params)) and all(
        not own or [*map(Tensor.stride, own)] == strides for own in others
    )


def _remaining(step: Callable[[Any], Any], optimizer: Any, group: Any) -> list[Any]:
    """Takes the steps that are not for the kernel at once with others, and returns the others."""
    trained = [one for one in group["params"] if one.grad is not None]
    others = [one for one in trained if not _has_kernel(one)]
    if others:
        _take(step, optimizer, group, others, fused=None)
    fit = [one for one in trained if _has_kernel(one)]
    without = [one for one in fit if optimizer.state.get(one, {}).get("momentum_buffer") is None]
    if not group.get("momentum") or len(without) in (0, len(fit)):
        return fit
    _take(step, optimizer, group, without, fused=True)
    taken = set(without)
    return [one for one in fit if one not in taken]


def _has_kernel(parameter: Any) -> bool:
    gradient = parameter.grad
    return not (gradient.is_sparse or gradient.is_complex()) and _is_dense(parameter)


def _is_dense(parameter: Tensor) -> bool:
    """Tells whether a parameter's numbers lie side by side, in whatever order."""
    return _lies_as(torch.empty_like(parameter), parameter)


def _lies_as(tensor: Tensor, other: Tensor) -> bool:
    """Tells whether two tensors of one shape have their numbers in one order in memory."""
    each = zip(tensor.stride(), other.stride(), other.shape, strict=True)
    return all(own == its or size == 1 for own, its, size in each)


def _laid_out(parameter: Tensor, tensor: Tensor) -> Tensor:
    if _lies_as(tensor, parameter):
        return tensor
    return torch.empty_like(parameter).copy_(tensor)


def _lay_out(state: dict[str, Any], parameter: Tensor) -> None:
    """Lays a parameter's state as the parameter lies now, for this step and the next ones."""
    for name, value in state.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            state[name] = _laid_out(parameter, value)


def _take(
    step: Callable[[Any], Any], optimizer: Any, group: Any, params: list[Any], fused: bool | None
) -> None:
    """Takes the step of some parameters by themselves, with the optimiser's state."""
    part = object.__new__(type(optimizer))
    vars(part).update(vars(optimizer))
    part.param_groups = [{**group, "params": params, "fused": fused}]
    if not fused:  # of mixed precision, by which the kernel divides, or does nothing
        scale = getattr(optimizer, "grad_scale", None)
        if getattr(optimizer, "found_inf", None):
            return
        for parameter in params if scale is not None else ():
            parameter.grad.div_(scale)
        part.grad_scale = part.found_inf = None
    step(part)
