"""Finds what a user's own objects keep in attributes, for checkpoints to have.

A rate that is set for an epoch, a counter, a list of samples, a hidden state or a buffer that is
not persistent is in no `state_dict`. Whatever of these changes in training is saved and restored.
The objects are the module with its parts, the callbacks, the data module, the data sets, the
optimisers, and the objects of a user's classes among their attributes. The attributes are those
that code of the user's classes writes.
"""

import dis
import functools
import inspect
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType
from typing import Any

import numpy as np
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics import Metric

from engine.fence.lightning import training_loaders
from engine.fence.torch import version_of

LIBRARIES = {"builtins", "engine", "lightning", "torch", "torchvision"}
SAVED = {"torchmetrics.collections", "torchmetrics.metric"}  # whose attributes are states
MOST = 2**24  # bytes of tensors, and values besides, that a checkpoint has of one attribute


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
        self._first = {path: _mark(value) for path, value in self._values()}

    def changed(self) -> tuple[dict[str, Any], list[str]]:
        """Returns the attributes that have changed, and names those that no checkpoint can have."""
        saved: dict[str, Any] = {}
        lost: list[str] = []
        for path, value in self._values():
            if path in self._first and _mark(value) == self._first[path]:
                continue
            try:
                left = [MOST]
                saved[path] = [_plain(value, left), _is_on_device(value)]
            except TypeError:
                lost.append(path)
        return saved, lost

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Sets attributes to what `changed` returned, as far as there are such attributes now."""
        owners = dict(self._owners())
        names = _names(owners.values()).union(name.rpartition(".")[2] for name in self._passing)
        for path, (value, is_on_device) in saved.items():
            where, _, name = path.rpartition(".")
            if (owner := owners.get(where)) and name in names:
                if is_on_device:
                    value = move_data_to_device(value, self._trainer.strategy.root_device)
                now = vars(owner).get(name)
                if isinstance(now, deque):
                    value = deque(value, now.maxlen)
                elif isinstance(now, set):
                    value = set(value)
                setattr(owner, name, value)

    def _values(self) -> Iterator[tuple[str, Any]]:
        owners = dict(self._owners())
        names = _names(owners.values())
        for where, owner in owners.items():
            states = owner.metric_state if isinstance(owner, Metric) else ()
            for name, value in list(vars(owner).items()):
                if name in names and name not in states and not isinstance(value, nn.Module):
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
                found += [
                    (f"{where}.{name}", value)
                    for name, value in vars(owner).items()
                    if _is_users(type(value)) and not isinstance(value, nn.Module | type)
                ]


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


def _mark(value: Any) -> Any:
    """Returns what is equal as long as a value does not change."""
    if value is None or isinstance(value, bool | int | float | str):
        return "nan" if value != value else value
    if isinstance(value, list | tuple | set | deque):
        return [type(value), *map(_mark, value)]
    if isinstance(value, dict):
        return [dict, *((key, _mark(inner)) for key, inner in value.items())]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.tobytes()
    return _Object(value)


def _plain(value: Any, left: list[int]) -> Any:
    """Returns a value as a checkpoint can have it.

    Args:
        value: the attribute's.
        left: the bytes that are left for it.

    Raises:
        TypeError: if there is none, or if it is too large.
    """
    left[0] -= value.nbytes if isinstance(value, Tensor) else 8
    if left[0] < 0:
        raise TypeError("too large")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, list | set | deque):
        return [_plain(inner, left) for inner in value]
    if type(value) is tuple:
        return tuple(_plain(inner, left) for inner in value)
    if type(value) is dict:
        return {_plain(key, left): _plain(inner, left) for key, inner in value.items()}
    raise TypeError(type(value).__name__)


def _is_on_device(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.device.type != "cpu"
    inner = value.values() if isinstance(value, dict) else value
    return isinstance(value, list | tuple | set | deque | dict) and any(map(_is_on_device, inner))
