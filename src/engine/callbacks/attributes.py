"""Finds what a user's own objects keep in attributes, for checkpoints to have.

A rate that is set for an epoch, a counter, a list of samples, a hidden state or a buffer that is
not persistent is in no `state_dict`. Whatever of these changes in training is saved and restored.
The objects are the module with its parts, the callbacks, the data module, the data sets, the
optimisers, and the objects of a user's classes among their attributes. The attributes are those
that code of the user's classes writes. A weight or a buffer that an attribute refers to is saved
elsewhere, and stays what it is.
"""

import dis
import functools
import inspect
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torchmetrics import Metric

from engine.fence.lightning import training_loaders
from engine.fence.torch import version_of

LIBRARIES = {"builtins", "engine", "lightning", "torch", "torchvision", "typing"}
SAVED = {"torchmetrics.collections", "torchmetrics.metric"}  # whose attributes are states
OF_OPTIMIZERS = ("param_groups", "state", "defaults")  # in the checkpoint already
MOST = 2**24  # bytes of tensors, and values besides, that a checkpoint has of one attribute
MOST_OBJECTS = 1000  # that are looked for in a list or a dict
GROUPS = (list, tuple, set, deque)
# What a checkpoint has as it is. Other sets, deques, mappings and layers are filled.
RESTORED = (type(None), bool, int, float, str, list, tuple, dict, Tensor)


class _Mark(NamedTuple):
    """What an attribute has at a moment, and what is equal as long as that does not change."""

    value: Any
    now: Any


class Attributes:
    """Knows what attributes had when training began, and finds those that have changed since.

    Args:
        trainer: of the training that begins.
        module: the one that is trained.
    """

    def __init__(self, trainer: Trainer, module: LightningModule) -> None:
        self._trainer, self._module = trainer, module
        persistent = module.state_dict().keys()
        self._passing = [name for name, _ in module.named_buffers() if name not in persistent]
        self._first = self._marks()

    def changed(self) -> tuple[dict[str, Any], list[str]]:
        """Returns the attributes that have changed, and names those that no checkpoint can have."""
        saved: dict[str, Any] = {}
        lost: list[str] = []
        for path, mark in self._marks().items():
            first = self._first.get(path)
            if first and mark.now == first.now:
                continue
            value = mark.value
            try:
                # Of these, a resumed run fills the one that there is.
                if type(value) not in RESTORED and not (first and type(first.value) is type(value)):
                    raise TypeError(type(value).__name__)
                saved[path] = [_plain(value, [MOST]), _is_on_device(value)]
            except Exception:
                lost.append(path)
        return saved, lost

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Sets attributes to what `changed` returned, as far as there are such attributes now."""
        owners = dict(self._owners())
        names = _names(owners.values()).union(name.rpartition(".")[2] for name in self._passing)
        for path, (value, is_on_device) in saved.items():
            where, _, name = path.rpartition(".")
            if where in owners and name in names:
                owner = owners[where]
                if is_on_device:
                    value = move_data_to_device(value, self._trainer.strategy.root_device)
                is_part = isinstance(owner, nn.Module)
                buffers = dict(owner.named_buffers(recurse=False)) if is_part else {}
                now = buffers.get(name, vars(owner).get(name))
                if not _filled(now, value):
                    setattr(owner, name, value)

    def _marks(self) -> dict[str, "_Mark"]:
        lasting = [own for name, own in self._module.named_buffers() if name not in self._passing]
        known = {id(own) for own in (*self._module.parameters(), *lasting)}
        marks = {}
        for path, value in self._values():
            try:
                now = _mark(value, known, [MOST])
            except Exception:  # too large to look at, a ring, or an object that does what it likes
                now = [_Object(value), len(value) if hasattr(value, "__len__") else 0]
            marks[path] = _Mark(value, now)
        return marks

    def _values(self) -> Iterator[tuple[str, Any]]:
        owners = dict(self._owners())
        names = _names(owners.values())
        parts = {id(part) for part in self._module.modules()}
        for where, owner in owners.items():
            states = [*owner.metric_state] if isinstance(owner, Metric) else []
            states += OF_OPTIMIZERS if isinstance(owner, Optimizer) else ()
            for name, value in list(vars(owner).items()):
                if name in names and name not in states and id(value) not in parts:
                    yield f"{where}.{name}", value
        root = type(self._module).__name__
        yield from ((f"{root}.{name}", self._module.get_buffer(name)) for name in self._passing)

    def _owners(self) -> Iterator[tuple[str, Any]]:
        """Yields the objects that may have such attributes, each with its name."""
        trainer: Any = self._trainer
        root = type(self._module).__name__
        found = [
            (f"{root}.{name}".rstrip("."), part) for name, part in self._module.named_modules()
        ]
        data = [getattr(loader, "dataset", None) for loader in training_loaders(trainer)]
        kinds: Counter[str] = Counter()
        for own in (*trainer.callbacks, trainer.datamodule, *data, *trainer.optimizers):
            kind = type(own).__name__
            kinds[kind] += 1
            found.append((kind if kinds[kind] == 1 else f"{kind} ({kinds[kind]})", own))
        seen: set[int] = set()
        while found:
            where, owner = found.pop(0)
            is_part = isinstance(owner, nn.Module)  # a user's code may write into any layer
            if id(owner) in seen or not hasattr(owner, "__dict__"):
                continue
            if is_part or any(map(_is_users, type(owner).__mro__)):
                seen.add(id(owner))
                yield where, owner
                for name, value in vars(owner).items():
                    for path, one in _objects(f"{where}.{name}", value):
                        if _is_users(type(one)) and not isinstance(one, nn.Module | type):
                            found.append((path, one))


def _objects(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yields a value, or those of a list or a dict, with their names."""
    yield path, value
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, list | tuple) and len(value) <= MOST_OBJECTS:
        items = enumerate(value)
    elif isinstance(value, dict) and len(value) <= MOST_OBJECTS:
        items = value.items()
    yield from ((f"{path}[{str(key).replace('.', '_')}]", one) for key, one in items)


def _is_users(kind: type) -> bool:
    module = kind.__module__
    return module.partition(".")[0] not in LIBRARIES and module not in SAVED


def _names(owners: Iterable[Any]) -> frozenset[str]:
    """Returns the names of the attributes that code of a user's classes writes into objects."""
    kinds: set[Any] = {type(owner) for owner in owners}
    return frozenset[str]().union(*map(_written, kinds))


@functools.cache
def _written(kind: type) -> frozenset[str]:
    """Returns the names of the attributes that code of a class and its bases writes."""
    functions = [
        inspect.unwrap(function)
        for own in kind.__mro__
        if _is_users(own)
        for value in vars(own).values()
        for function in _functions(value)
    ]
    codes = [function.__code__ for function in functions if hasattr(function, "__code__")]
    return frozenset(name for code in codes for name in _stored(code))


def _functions(value: Any) -> Iterator[Callable[..., Any]]:
    parts = (value.fget, value.fset) if isinstance(value, property) else (value,)
    for part in parts:
        function = getattr(part, "__func__", part)
        if inspect.isfunction(function):
            yield function


def _stored(code: CodeType) -> Iterator[str]:
    for line in dis.get_instructions(code):
        if line.opname == "STORE_ATTR":
            yield line.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _stored(inner)


class _Object:
    """Stands for an object as it is now; it is kept, so that no other one takes its address."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.version = version_of(value) if isinstance(value, Tensor) else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Object):
            return False
        return self.value is other.value and self.version == other.version

    __hash__ = None  # type: ignore[assignment]


class _Numbers:
    """Stands for the numbers of a tensor. Its version does not tell of fused steps and `.data`."""

    def __init__(self, value: Tensor) -> None:
        self.numbers = value.detach().clone()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Numbers):
            return False
        mine, others = self.numbers, other.numbers
        is_alike = (mine.dtype, mine.device) == (others.dtype, others.device)
        return is_alike and torch.equal(mine, others)

    __hash__ = None  # type: ignore[assignment]


def _mark(value: Any, known: set[int], left: list[int]) -> Any:
    """Returns what is equal as long as a value does not change.

    Args:
        value: the attribute's.
        known: the ids of tensors that are in checkpoints anyway.
        left: the bytes that may still be looked at.

    Raises:
        TypeError: if there are more.
    """
    left[0] -= 8
    if value is None or isinstance(value, bool | int | float | str):
        return "nan" if value != value else value
    if isinstance(value, Tensor):
        if id(value) in known:
            return None
        is_ordinary = _is_ordinary(value)
        left[0] -= value.nbytes if is_ordinary else 0
        return _Numbers(value) if is_ordinary and left[0] > 0 else _Object(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        left[0] -= value.nbytes
    if left[0] < 0 or (isinstance(value, GROUPS) and len(value) * 8 > left[0]):
        raise TypeError("too large")
    if isinstance(value, GROUPS):
        return [type(value), *(_mark(one, known, left) for one in value)]
    if isinstance(value, dict):
        return [dict, *((key, _mark(one, known, left)) for key, one in value.items())]
    if isinstance(value, nn.Module):
        return [_mark(one, known, left) for one in value.state_dict().values()]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.tobytes()
    return _Object(value)


def _plain(value: Any, left: list[int], is_inner: bool = False) -> Any:
    """Returns a value as a checkpoint can have it.

    Args:
        value: the attribute's.
        left: the bytes that are left for it.
        is_inner: whether it is part of another one. Then its class has to be a plain one.

    Raises:
        TypeError: if there is none, or if it is too large.
    """
    if isinstance(value, Tensor) and not _is_ordinary(value):
        raise TypeError("sparse, nested, without numbers")
    left[0] -= value.nbytes if isinstance(value, Tensor) else 8
    if left[0] < 0:
        raise TypeError("too large")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor) and not (value.requires_grad and value.is_leaf):
        return value.detach()
    if isinstance(value, nn.Module) and not is_inner:
        return _plain(dict(value.state_dict()), left)
    if type(value) in (list, set, deque) or (isinstance(value, list | set) and not is_inner):
        if is_inner and type(value) is not list:
            raise TypeError(type(value).__name__)
        return [_plain(one, left, True) for one in value]
    if type(value) is tuple:
        return tuple(_plain(one, left, True) for one in value)
    if type(value) is dict or (isinstance(value, dict) and not is_inner):
        return {_plain(key, left, True): _plain(one, left, True) for key, one in value.items()}
    raise TypeError(type(value).__name__)


def _is_ordinary(tensor: Tensor) -> bool:
    """Tells whether a tensor has numbers in the usual layout."""
    has_numbers = tensor.device.type != "meta" and not is_lazy(tensor)
    return has_numbers and tensor.layout is torch.strided and not tensor.is_nested


def _filled(now: Any, value: Any) -> bool:
    """Gives the present object a value, as others may refer to it; tells whether that worked."""
    if isinstance(now, nn.Module):
        now.load_state_dict(value)
    elif isinstance(now, Tensor) and isinstance(value, Tensor):
        if (now.shape, now.dtype) != (value.shape, value.dtype) or now.requires_grad:
            return False
        now.copy_(value)
    elif isinstance(now, list | set | deque | dict) and isinstance(value, list | dict):
        if isinstance(now, dict) is not isinstance(value, dict):
            return False
        now.clear()
        now.extend(value) if isinstance(now, list | deque) else now.update(value)
    else:
        return False
    return True


def _is_on_device(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.device.type != "cpu"
    inner = value.values() if isinstance(value, dict) else value
    return isinstance(value, (*GROUPS, dict)) and any(map(_is_on_device, inner))
