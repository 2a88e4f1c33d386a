"""Tells whether jobs are what a stack takes them for: alike, but for weights and numbers.

A stack has one forward pass, one loss and one rule of updates, those of the first job. What a
constructor or an init makes otherwise in another job, and what is set on an object instead of being
in its class, would be left out without a word. So all the jobs are looked at.
"""

import copy
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import nn

from engine.data.datamodule import TensorDataModule
from engine.fence.torch import has_gradient_hooks, hooks_of
from engine.kept import values
from engine.kept.attributes import kept_by
from engine.steps.callback import overrides
from engine.vectorized import optimizer
from engine.vectorized.job import Member

PLAIN = frozenset(vars(nn.Module()))  # what each layer has, and no rule of a stack reads
OWN = {"log", "optimizers"}  # that a stack sets on modules


def why_unlike(members: Sequence[Member]) -> str | None:
    """Says in what a job is not as the stack takes it; None if all are."""
    first = members[0]
    for layer in (*first.module.network.modules(), *first.module.loss.modules()):
        kind: Any = type(layer)
        if names := kept_by(kind):  # a stack calls one of them for all jobs, and saves none
            return f"{kind.__name__} keeps {names[0]} in an attribute"
    known, splits = _described(first), _described_data(first.data)
    switches = optimizer.switches(first.optimizer)
    prepares = overrides(first.data, TensorDataModule, ["prepare_inputs"])
    knowledge = _knowledge(first.data) if prepares else None
    for member in members:
        module, name = member.module, type(member.module).__name__
        parts = [module, *module.network.modules(), *module.loss.modules()]
        for part in (*parts, member.optimizer, member.data):
            if method := replaced(part):
                return f"{type(part).__name__} has a {method} of its own, set on the object"
        if reason := optimizer.why_not_stacked(member.optimizer):
            return reason
        (group,) = member.optimizer.param_groups
        if list(map(id, group["params"])) != list(map(id, module.network.parameters())):
            return "an optimiser with some of the parameters, or in another order"
        if optimizer.switches(member.optimizer) != switches:
            return "the jobs' optimisers are of other classes, or differ in more than numbers"
        if has_gradient_hooks(module.network, member.optimizer):
            return f"{name} has hooks on gradients"
        if hooks_of(module):
            return f"{name} has hooks of its own"
        if _described(member) != known:
            return f"{name} is not the same network and loss in each job"
        if _described_data(member.data) != splits:
            return f"{type(member.data).__name__} has other splits, shapes or classes in some jobs"
        if not prepares or member is first:
            continue
        is_known = knowledge is not None and _knowledge(member.data) == knowledge
        if not _prepares_alike(member.data, first.data, is_known):
            return f"{type(member.data).__name__} prepares the same inputs otherwise for each job"
    return None


def _described_data(data: TensorDataModule) -> list[Any]:
    """Returns what a stack, which has the first job's loaders, takes to be alike for all jobs."""
    shapes = {
        name: [(part.shape, part.dtype) for part in (split.inputs, split.targets)]
        for name, split in data.splits.items()
    }
    sizes = data.batch_size, data.eval_batch_size, data.steps_per_epoch
    return [shapes, data.test_split, data.class_names, sizes]


def _knowledge(data: TensorDataModule) -> dict[str, Any] | None:
    """Returns marks of what a data module prepares inputs by; None if not only by attributes.

    By what it makes of its samples, it prepares them only once it has an attribute of that.
    """
    inputs = data.splits["train"].inputs[:1]
    data.prepare_inputs(inputs.clone())
    blind = copy.copy(data)
    vars(blind).update(splits=None)
    del blind.seed
    try:
        blind.prepare_inputs(inputs.clone())
    except Exception:  # whatever it says where there are no samples
        return None
    return {name: values.mark(own) for name, own in vars(blind).items()}


def _prepares_alike(data: TensorDataModule, first: TensorDataModule, is_known: bool) -> bool:
    """Tells whether the first job's data module prepares a job's samples as that job's own does.

    It is the first one that prepares those of all jobs.

    Args:
        data: the job's.
        first: the first job's.
        is_known: whether both prepare inputs by attributes that are equal: then the first and the
            last batch of each split stand for all samples.
    """
    for split in data.splits.values():
        size = data.batch_size
        ends = split.inputs[:size], split.inputs[-size:]
        for inputs in ends if is_known else torch.split(split.inputs, data.eval_batch_size):
            own, others = (one.prepare_inputs(inputs.clone()) for one in (data, first))
            if not torch.equal(own.nan_to_num(), others.nan_to_num()):
                return False
    return True


def replaced(part: Any) -> str | None:
    """Names a method that is set on an object, in place of that of its class."""
    kind = type(part)
    names = (name for name in vars(part) if name not in OWN)
    return next((name for name in names if callable(getattr(kind, name, None))), None)


def _described(member: Member) -> list[Any]:
    """Returns what is equal for jobs with the same layers and loss, but for the weights."""
    parts = [*member.module.network.named_modules(), *member.module.loss.named_modules()]
    return [
        (
            name,
            type(part),
            [parameter.requires_grad for parameter in part.parameters(recurse=False)],
            len(hooks_of(part)),
            [values.mark(buffer) for buffer in part.buffers(recurse=False)],
            attributes(part, member.module),
        )
        for name, part in parts
    ]


def attributes(part: nn.Module, module: nn.Module) -> dict[str, Any]:
    """Returns marks of a layer's own attributes, which are equal for equal values.

    Args:
        part: the layer.
        module: the one that has it.
    """
    own = {key: value for key, value in vars(part).items() if key not in PLAIN}
    return {
        key: _described_function(value, _places(module))
        if isinstance(value, FunctionType)
        else values.mark(value)
        for key, value in own.items()
    }


def _places(module: nn.Module) -> dict[int, str]:
    """Returns the names of a module's layers and weights, which are compared elsewhere, by id."""
    named = (*module.named_modules(), *module.named_parameters())
    return {id(one): name for name, one in named}


def _described_function(function: FunctionType, places: Mapping[int, str]) -> tuple[Any, list[Any]]:
    """Returns what is equal for functions of the same code that keep the same.

    What a constructor makes is another object in each job, and may keep what it drew.
    """
    places = {**places, id(function): "itself"}
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    kept = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *cells]
    return function.__code__, [_mark(one, places) for one in kept]


def _mark(value: Any, places: Mapping[int, str]) -> Any:
    if id(value) in places:
        return places[id(value)]
    is_function = isinstance(value, FunctionType)
    return _described_function(value, places) if is_function else values.mark(value)
