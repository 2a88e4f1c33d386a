"""PyTorch's fused optimisers: what their kernels refuse, or take wrongly, goes another way."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam

FUSED: tuple[Any, ...] = (SGD, Adam, Adagrad)  # AdamW is an Adam
Gather = Callable[..., Any]


@contextmanager
def any_fused_steps() -> Iterator[None]:
    """Has fused optimisers train within this context what torch's other ones train.

    The kernels refuse complex numbers, sparse gradients, and parameters without momentum beside
    others that have theirs: those of a layer that thaws, or that some steps leave out. They take
    numbers in their order in memory, so that a gradient, or a parameter, that lies otherwise than
    the kernels suppose gets a wrong update. A step of none of these is torch's own, bit by bit.
    """
    before = {kind: kind._init_group for kind in FUSED}
    for kind, gather in before.items():
        kind._init_group = _gathering(gather, inspect.unwrap(kind.step))
    try:
        yield
    finally:
        for kind, gather in before.items():
            kind._init_group = gather


def _gathering(gather: Gather, step: Callable[[Any], Any]) -> Gather:
    """Returns what gathers a group's tensors for the kernel, and takes all other steps first."""

    def gathered(optimizer: Any, group: Any, *lists: list[Any]) -> Any:
        kinds = {one.dtype for one in group["params"]}
        if group.get("fused") and not any(kind.is_complex for kind in kinds):
            found = gather(optimizer, group, *lists)
            if _fits(found, group, *lists):
                return found
            for gathered in lists:
                gathered.clear()
        if group.get("fused"):
            group = {**group, "params": _remaining(step, optimizer, group)}
        found = gather(optimizer, group, *lists)
        if group.get("fused"):
            lists[1][:] = map(_laid_out, *lists[:2])
        return found

    return gathered


def _fits(found: Any, group: Any, params: Any, grads: Any, *states: Any) -> bool:
    """Tells whether the kernel takes all that was gathered: mostly, so it has to be fast."""
    has_more = any(found) if isinstance(found, tuple) else found  # complex or sparse
    if has_more or [*map(Tensor.stride, params)] != [*map(Tensor.stride, grads)]:
        return False
    return not group.get("momentum") or sum(one is None for one in states[0]) in (0, len(params))


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
    return not (gradient.is_sparse or gradient.is_complex()) and (
        _lies_as(gradient, parameter) or _lies_as(torch.empty_like(parameter), parameter)
    )


def _lies_as(tensor: Tensor, other: Tensor) -> bool:
    """Tells whether two tensors of one shape have their numbers in one order in memory."""
    each = zip(tensor.stride(), other.stride(), other.shape, strict=True)
    return all(own == its or size == 1 for own, its, size in each)


def _laid_out(parameter: Tensor, gradient: Tensor) -> Tensor:
    if _lies_as(gradient, parameter):
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _take(
    step: Callable[[Any], Any], optimizer: Any, group: Any, params: list[Any], fused: bool | None
) -> None:
    """Takes the step of some parameters by themselves, with the optimiser's state."""
    part = object.__new__(type(optimizer))
    vars(part).update(vars(optimizer))
    part.param_groups = [{**group, "params": params, "fused": fused}]
    scale = getattr(optimizer, "grad_scale", None)
    if not fused and scale is not None:  # of mixed precision, by which the kernel divides
        if optimizer.found_inf:
            return
        for parameter in params:
            parameter.grad.div_(scale)
        part.grad_scale = part.found_inf = None
    step(part)
