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
from torch.nn.utils.parametrize import is_parametrized

from engine.data.datamodule import TensorDataModule, class_names_of
from engine.fence.torch import has_gradient_hooks, has_hooks_of_all, hooks_of, version_of
from engine.kept import values
from engine.kept.attributes import kept_by
from engine.steps.callback import overrides
from engine.steps.compiled import own_attributes
from engine.vectorized import first_of, optimizer
from engine.vectorized.job import Member

OWN = {"log", "optimizers"}  # that a stack sets on modules
GROUPS = (dict, list, set)


def why_unlike(members: Sequence[Member]) -> str | None:
    """Says in what a job is not as the stack takes it; None if all are."""
    first = members[0]
    for layer in (*first.module.network.modules(), *first.module.loss.modules()):
        kind: Any = type(layer)
        if names := kept_by(kind):  # a stack calls one of them for all jobs, and saves none
            return f"{kind.__name__} keeps {names[0]} in an attribute"
    if has_hooks_of_all():
        return "there are hooks for all modules or all optimisers"
    known, splits = _described(first), _described_data(first.data)
    switches = optimizer.switches(first.optimizer)
    prepares = overrides(first.data, TensorDataModule, ["prepare_inputs"])
    for member in members:
        module, name = member.module, type(member.module).__name__
        parts = [module, *module.network.modules(), *module.loss.modules()]
        for part in (*parts, member.optimizer, member.data):
            if method := replaced(part):
                return f"{type(part).__name__} has a {method} of its own, set on the object"
        if reason := optimizer.why_not_stacked(member.optimizer):
            return reason
        (group,) = member.optimizer.param_groups
        places = [list(map(id, own)) for own in (group["params"], module.network.parameters())]
        reasons = {
            "an optimiser with some of the parameters, or in another order": (
                places[0] != places[1]
            ),
            "the jobs' optimisers are of other classes, or differ in more than numbers": (
                optimizer.switches(member.optimizer) != switches
            ),
            f"{name} has hooks on gradients": has_gradient_hooks(module.network, member.optimizer),
            f"{name} has hooks of its own": bool(hooks_of(module)),
            f"{type(member.data).__name__} has other splits, shapes or classes in some jobs": (
                _described_data(member.data) != splits
            ),
        }
        if reason := first_of(reasons):
            return reason
        found = _described(member)
        if [*found.items()] != [*known.items()]:  # a network may go by the order of its layers
            keys = (key for key in found | known if found.get(key, ()) != known.get(key, ()))
            other = next(keys, "the order of its layers")
            return f"{name} is not the same network and loss in each job: {other} differs"
    knowledge = _knowledge(first.data) if prepares else None
    groups: dict[tuple[bool, int], list[TensorDataModule]] = {}
    for data in [member.data for member in members[1:]] if prepares else ():
        is_known = knowledge is not None and _knowledge(data) == knowledge
        groups.setdefault((is_known, id(data.splits)), []).append(data)
    for (is_known, _), ones in groups.items():
        if not _prepare_alike(ones, first.data, is_known):
            return f"{type(first.data).__name__} prepares the same inputs otherwise for each job"
    return None


def _described_data(data: TensorDataModule) -> list[Any]:
    """Returns what a stack, which has the first job's loaders, takes to be alike for all jobs."""
    shapes = {
        name: [(part.shape, part.dtype) for part in (split.inputs, split.targets)]
        for name, split in data.splits.items()
    }
    sizes = data.batch_size, data.eval_batch_size, data.steps_per_epoch
    return [shapes, data.test_split, class_names_of(data), sizes]


def _knowledge(data: TensorDataModule) -> dict[str, Any] | None:
    """Returns marks of what a data module prepares inputs by; None if not only by attributes.

    By what it makes of its samples, it prepares them only once it has an attribute of that.
    """
    inputs = data.splits["train"].inputs[:1]
    data.prepare_inputs(inputs.clone())
    blind = copy.copy(data)
    vars(blind).update(splits=None)
    try:
        del blind.seed
        blind.prepare_inputs(inputs.clone())
    except Exception:  # whatever it says where there are no samples
        return None
    return {name: values.mark(own) for name, own in vars(blind).items()}


def _prepare_alike(
    group: Sequence[TensorDataModule], first: TensorDataModule, is_known: bool
) -> bool:
    """Tells whether the first job's data module prepares samples as those of some jobs do.

    It is the first one that prepares those of all jobs.

    Args:
        group: of jobs with the same samples.
        first: the first job's.
        is_known: whether all prepare inputs by attributes that are equal: then the first and the
            last batch of each split stand for all samples.
    """
    for split in group[0].splits.values():
        size = first.batch_size
        ends = split.inputs[:size], split.inputs[-size:]
        for inputs in ends if is_known else torch.split(split.inputs, first.eval_batch_size):
            expected = first.prepare_inputs(inputs.clone())
            for found in (own.prepare_inputs(inputs.clone()) for own in group):
                is_same = torch.equal(found, expected)  # if not, for a NaN at the same place, too
                if not is_same and not torch.equal(found.nan_to_num(), expected.nan_to_num()):
                    return False
    return True


def replaced(part: Any) -> str | None:
    """Names a method that is set on an object, in place of that of its class."""
    kind = type(part)
    names = (name for name in vars(part) if name not in OWN)
    return next((name for name in names if callable(getattr(kind, name, None))), None)


def _described(member: Member) -> dict[str, Any]:
    """Returns, by name, what is equal for jobs with the same layers and loss, but for weights."""
    found: dict[str, Any] = {}
    for root in ("network", "loss"):
        for name, part in getattr(member.module, root).named_modules(prefix=root):
            found[f"the class of {name}"] = _classes(part)
            weights = part.named_parameters(recurse=False)
            trained = [(key, parameter.requires_grad) for key, parameter in weights]
            found[f"what is trained of {name}"] = trained
            found[f"the number of hooks of {name}"] = len(hooks_of(part))
            own = {key: values.mark(one) for key, one in part.named_buffers(recurse=False)}
            own |= attributes(part, member.module)
            found |= {f"{name}.{key}": mark for key, mark in own.items()}
    return found


def _classes(part: nn.Module) -> tuple[type, ...]:
    """Returns a layer's class, or the class below that PyTorch makes for parametrisations.

    What computes its weights, such as `weight_norm`, is a layer within it.
    """
    kind = type(part)
    return kind.__bases__ if is_parametrized(part) else (kind,)


def attributes(part: nn.Module, module: nn.Module) -> dict[str, Any]:
    """Returns marks of a layer's own attributes, which are equal for equal values.

    Args:
        part: the layer.
        module: the one that has it.
    """
    return {
        key: _described_function(value, _places(module))
        if isinstance(value, FunctionType)
        else values.mark(value)
        for key, value in own_attributes(part).items()
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


class Glance:
    """Tells whether a hook may have changed what a stack would not follow.

    To look into all layers of hundreds of jobs takes longer than a small step.

    It sees which attributes layers, losses, optimisers and data modules have, what is in a group
    among them, where weights lie, which of them are trained, and who writes into a tensor.

    Args:
        members: the jobs.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        groups: list[Any] = []
        tensors: list[Any] = []
        for member in members:
            module, data, single = member.module, member.data, member.optimizer
            parts = [*module.network.modules(), *module.loss.modules(), single, data]
            groups += [inner for own in parts for inner in (vars(own), *_groups_of(own))]
            # Not what is set on the module itself: a checkpoint sets its steps since the last row.
            groups += [*_groups_of(module), member.trainer.optimizers]
            groups += [*single.param_groups, *(group["params"] for group in single.param_groups)]
            tensors += module.loss.buffers()
            tensors += [t for split in data.splits.values() for t in (split.inputs, split.targets)]
        self._groups = [own for own in groups if own]
        self._empty = [own for own in groups if not own]
        self._weights = [own for member in members for own in member.module.network.parameters()]
        self._tensors = [*{id(own): own for own in tensors}.values()]  # jobs share samples
        self._noted = [own.copy() for own in self._groups]
        self._shown = self._show()

    def note(self) -> None:
        """Notes what a schedule, say, has changed since: those are no changes of a hook."""
        if not _is_same(self._groups, self._noted):
            pairs = zip(self._groups, self._noted, strict=True)
            # A copy of each would have Python look for garbage, in ten times as long.
            self._noted = [was if _is_same(own, was) else own.copy() for own, was in pairs]

    def has_changed(self) -> bool:
        """Tells whether anything may be otherwise than it was when it was noted."""
        before, self._shown = self._shown, self._show()
        return self._shown != before or not _is_same(self._groups, self._noted)

    def _show(self) -> list[Any]:
        return [
            [own.data_ptr() for own in self._weights],
            [own.requires_grad for own in self._weights],
            list(map(version_of, self._tensors)),
            list(map(len, self._empty)),
        ]


def _groups_of(owner: Any) -> list[Any]:
    """Returns the dicts, lists and sets among an object's attributes."""
    return [own for own in vars(owner).values() if issubclass(type(own), GROUPS)]


def _is_same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # a tensor in the place of another one
        return False
