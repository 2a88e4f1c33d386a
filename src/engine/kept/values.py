"""Turns values of attributes into what a checkpoint can have and back, and tells when they change.

A checkpoint is read with `weights_only=True`: it has numbers, words, tensors, and lists, tuples and
dicts of them. Of layers, metrics, optimisers, schedules and generators of random numbers it has
what they save themselves.
"""

import ctypes
import datetime
import gc
import io
import itertools
import pickle
import random
import sys
import warnings
from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from enum import Enum
from functools import partial
from math import inf
from multiprocessing.sharedctypes import SynchronizedBase
from operator import length_hint
from pathlib import Path
from types import FunctionType, GeneratorType
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, WeakValueDictionary

import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

from engine.fence import torchmetrics as metrics
from engine.fence.torch import batches_of, version_of

# Packages whose objects have no state of training: they log, draw, read configs and run threads.
MACHINES = {
    *("engine", "lightning", "hydra", "omegaconf", "tensorboard", "matplotlib", "PIL", "tqdm"),
    *("logging", "threading", "multiprocessing", "concurrent", "asyncio", "queue", "weakref"),
    "subprocess",
}
GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
OF_TORCH = (nn.Module, Optimizer, LRScheduler, GradScaler)
WEAK = (WeakKeyDictionary, WeakValueDictionary)
STATEFUL = (*OF_TORCH, DictConfig, SynchronizedBase, *GENERATORS)  # such as multiprocessing.Value
ARRAYS = (Tensor, np.ndarray)
MOST = 2**24  # bytes that a checkpoint has of one attribute
PER_VALUE, PER_ARRAY = 64, 512  # bytes of a value, and those more of a tensor or an array
MOST_VALUES = 10_000  # of one attribute that are looked at
GROUPS = (list, tuple, set, deque)
# Packages of small objects in C, such as itertools.count, that show no attributes when they change.
OF_PYTHON = {*sys.stdlib_module_names, "numpy"} - {"builtins"}
MOST_PICKLED = 2**16  # bytes of such an object
MOST_WITHIN = 1000  # iterators that another one goes on within
SAMPLED = 4096  # numbers that are looked at of an array that no checkpoint has
# Stands for a class before its values, which a list of a user's does not begin with.
MARK = "\0"
STATE = "state"  # of an object that nobody makes anew
SIMPLE: dict[str, Callable[[Any], Any]] = {
    kind.__name__: kind for kind in (set, frozenset, bytearray, OrderedDict, Counter, torch.Size)
}
DTYPES = {str(one): one for one in vars(torch).values() if isinstance(one, torch.dtype)}


class _Same:
    """Stands for an object as it is now; it is kept, so that no other one takes its address."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.version = version_of(value) if issubclass(type(value), Tensor) else 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return False
        return self.value is other.value and self.version == other.version


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


class _Left:
    """Counts down what may still be looked at of an attribute."""

    def __init__(self, size: float, count: float = inf) -> None:
        self.size, self.count = size, count

    def take(self, size: int) -> bool:
        """Tells whether so many bytes are left, and takes them."""
        self.size -= size
        return self.size >= 0

    def count_down(self, inner: int = 0) -> None:
        """Counts a value, which has so many others in it.

        Raises:
            TypeError: if so many are not left.
        """
        self.count -= 1
        if self.count < inner:
            raise TypeError("too many values")


def package_of(kind: type | FunctionType) -> str:
    """Returns the name of the package that a class or a function is of."""
    return str(kind.__module__).partition(".")[0]


def is_machine(kind: type) -> bool:
    """Tells whether objects of a class have no state of training, or one of this machine only."""
    if issubclass(kind, torch.device | LightningOptimizer):
        return True
    return package_of(kind) in MACHINES and not issubclass(kind, (*STATEFUL, *WEAK))


def mark(value: Any, known: frozenset[int] = frozenset()) -> Any:
    """Returns what is equal as long as a value does not change.

    Of what is too large, or cannot be looked at, that is which objects it has.

    Args:
        value: of an attribute.
        known: the ids of tensors and objects that are in checkpoints anyway.
    """
    try:
        own = None if id(value) in known else _state_of(value, keep_vars=True)
        if own is not None:
            return [_Same(value), _mark(own, known, _Left(MOST))]
        return _mark(value, known, _Left(MOST, MOST_VALUES))
    except Exception:  # too large, a ring, or an object that does what it likes
        return brief(value)


def brief(value: Any) -> Any:
    """Returns what changes with a value as far as a glance shows: itself, or which objects it has.

    It is equal as long as neither changes.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    try:
        items = value.values() if isinstance(value, dict) else value
        ids = tuple(map(id, items)) if isinstance(value, (*GROUPS, dict)) else ()
        return [_Same(value), len(value), hash(ids)]
    except Exception:  # it has no length, or it answers for an object that is gone
        return [_Same(value)]


def _mark(value: Any, known: frozenset[int], left: _Left) -> Any:
    has_inner = isinstance(value, (*GROUPS, dict)) and not isinstance(value, torch.Size)
    left.count_down(len(value) if has_inner else 0)
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return "nan" if value != value else value
    if id(value) in known:
        return id(value)
    if isinstance(value, Tensor):
        is_small = _is_ordinary(value) and left.take(value.nbytes)
        return _Numbers(value) if is_small else _Same(value)
    if isinstance(value, GROUPS) and has_inner:
        return [type(value), *(_mark(one, known, left) for one in value)]
    if isinstance(value, dict):
        # A tensor, or what a weakref is of, may have an equality of its own.
        odd = (Tensor, ReferenceType)
        keys = (_Same(key) if isinstance(key, odd) else key for key in value)
        items = zip(keys, value.values(), strict=True)
        return [dict, *((key, _mark(one, known, left)) for key, one in items)]
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_Same(value), _mark(value.tolist(), known, left)]
    if isinstance(value, np.ndarray):
        is_small = left.take(value.nbytes)
        numbers = value if is_small else value.flat[:: max(1, value.size // SAMPLED)]
        return value.dtype.str, value.shape, numbers.tobytes(), None if is_small else _Same(value)
    if isinstance(value, np.void):  # a row of an array, which may be written into
        return value.dtype.str, value.tobytes()
    if isinstance(value, np.generic | torch.Size | torch.dtype | Path | Enum):
        return value
    # It is an attribute, or looked at beside the list or beside the function.
    if issubclass(type(value), (*STATEFUL, partial)):
        return _Same(value)
    if isinstance(value, ContextVar):
        return _mark(value.get(None), known, left)
    if (numbers := _bytes(value, left)) is not None:
        return numbers
    # Loggers, bars and figures are made anew; nothing follows from the one that there is.
    return None if is_machine(type(value)) else [_Same(value), _pickled(value), _place(value)]


def _bytes(value: Any, left: _Left) -> Any:
    """Returns the bytes of an object that has such, as a bytearray and an array of C have.

    Of a large one, some stand for all; None for another object.
    """
    if isinstance(value, torch.UntypedStorage):
        value = torch.empty(0, dtype=torch.uint8, device=value.device).set_(value).cpu().numpy()
    try:
        memory = memoryview(value)
    except TypeError:
        return None
    with memory:
        if memory.readonly:  # a file that is larger than the memory, say
            return [_Same(value)]
        if left.take(memory.nbytes):
            return memory.tobytes()
        if not memory.c_contiguous:
            return [_Same(value), None]
        step = memory.nbytes // SAMPLED | 1  # odd, so that it meets each byte of a number
        shown = np.frombuffer(memory, np.uint8)[::step].tobytes()
        return [_Same(value), memory.nbytes, shown]


class _File(io.BytesIO):
    """Takes what pickle writes, as long as it is not much."""

    def write(self, part: Any) -> int:
        if self.tell() + len(part) > MOST_PICKLED:
            raise TypeError("too large")
        return super().write(part)


class _Pickler(pickle.Pickler):
    """Writes an object in C and those in it; what has attributes is looked at elsewhere."""

    def __init__(self, file: _File, root: Any) -> None:
        super().__init__(file)
        self._root = root

    def persistent_id(self, value: Any) -> int | None:
        return id(value) if type(value).__dictoffset__ and value is not self._root else None


def _place(value: Any, seen: set[int] | None = None) -> Any:
    """Returns what changes as an iterator goes on, as far as it shows; None for another object.

    Args:
        value: maybe an iterator.
        seen: the iterators that were looked at on the way to it.
    """
    kind: Any = type(value)
    seen = set() if seen is None else seen
    if not hasattr(kind, "__next__") or id(value) in seen or len(seen) > MOST_WITHIN:
        return None
    seen.add(id(value))
    if isinstance(value, GeneratorType):
        frame = value.gi_frame  # None at its end
        inner = {} if frame is None else frame.f_locals
        shown = [
            own if isinstance(own, bool | int | float | str) else None for own in inner.values()
        ]
        return frame and frame.f_lasti, shown, [_place(own, seen) for own in inner.values()]
    # Others go on within it, such as those that `zip` is given; a tuple's own has its samples.
    others = [] if kind.__dictoffset__ or kind is type(iter(())) else gc.get_referents(value)
    others += [one for own in others if type(own) is tuple for one in own]
    found = {id(one): one for one in others if hasattr(type(one), "__next__")}.values()
    within = [[_pickled(one), _place(one, seen)] for one in itertools.islice(found, MOST_WITHIN)]
    number = value.index if kind is np.flatiter else None
    return length_hint(value, -1), batches_of(value), number, within


def _pickled(value: Any) -> bytes | None:
    """Returns an object of Python's library or NumPy as pickle writes it, if it has no attributes.

    None stands for another object, and for one that is large or cannot be written.
    """
    kind = type(value)
    is_iterator = package_of(kind) == "builtins" and hasattr(kind, "__next__")  # such as enumerate
    file = _File()
    try:
        if not is_iterator and package_of(kind) not in OF_PYTHON:
            return None
        if kind.__dictoffset__ and vars(value):
            return None
        with warnings.catch_warnings(action="ignore"):  # Python 3.14 pickles no itertools
            _Pickler(file, value).dump(value)
    except Exception:
        return None
    return file.getvalue()


def _state_of(value: Any, keep_vars: bool = False) -> dict[str, Any] | None:
    """Returns what an object of `STATEFUL` saves; None for another object."""
    if issubclass(type(value), LightningOptimizer):  # of the Trainer's, which is saved
        return None
    if isinstance(value, nn.Module):
        parts = value.named_modules()
        inner = {name: metrics.state_of(one) for name, one in parts if isinstance(one, Metric)}
        return {"layers": dict(value.state_dict(keep_vars=keep_vars)), "metrics": inner}
    if isinstance(value, Optimizer | LRScheduler | GradScaler):
        return value.state_dict()
    if isinstance(value, DictConfig):
        return {"values": OmegaConf.to_container(value)}
    if isinstance(value, SynchronizedBase):
        is_number = memoryview(value.get_obj()).format[-1] in "bBhHiIlLqQfd?"
        return {"bytes": _memory(value).raw} if is_number else None
    if isinstance(value, torch.Generator):
        return {"state": value.get_state()}
    if isinstance(value, random.Random):
        return {"state": value.getstate()}
    if isinstance(value, np.random.Generator):
        spawned = getattr(value.bit_generator.seed_seq, "n_children_spawned", 0)
        return {"state": value.bit_generator.state, "spawned": spawned}
    if isinstance(value, np.random.RandomState):
        return {"state": value.get_state(legacy=False)}
    return None


def _memory(value: Any) -> Any:
    """Returns the bytes of numbers that processes share, to be read and written as `raw`."""
    numbers = value.get_obj()
    return (ctypes.c_char * ctypes.sizeof(numbers)).from_buffer(numbers)


def plain(value: Any, first: Any = None) -> tuple[Any, bool | str]:
    """Returns a value as a checkpoint can have it, and whether it fills the object that is there.

    `STATE` says that it can only fill one.

    It fills the object that training began with, if that is still in its place: others may refer to
    it. What only such an object can have, as a layer, fills another one of its class, too.

    Args:
        value: of an attribute.
        first: what it was when training began.

    Raises:
        TypeError: if there is none, or if it is too large.
    """
    kind = type(value)
    is_alike = type(first) is kind
    if isinstance(value, STATEFUL) and not is_machine(kind):
        state = _state_of(value)
        if not is_alike or state is None:
            raise TypeError(kind.__name__)
        return _plain(state, _Left(inf)), STATE
    if isinstance(value, (*GROUPS, dict)) and len(value) * PER_VALUE > MOST:
        raise TypeError("too large")
    if value is first and isinstance(value, Tensor) and value.requires_grad and value.is_leaf:
        return _plain(value.detach(), _Left(MOST)), STATE  # an optimiser may have it
    try:
        fills = value is first and isinstance(value, (list, set, deque, dict, array, *ARRAYS))
        return _plain(value, _Left(MOST)), fills
    except TypeError:
        if not is_alike or not isinstance(value, list | dict):
            raise
        made = dict(value) if isinstance(value, dict) else list(value)  # of a class of a user's
        return _plain(made, _Left(MOST)), True


def _plain(value: Any, left: _Left) -> Any:
    kind = type(value)
    if isinstance(value, Tensor) and not _is_ordinary(value):
        raise TypeError("sparse, nested, without numbers")
    if not left.take(PER_VALUE + (PER_ARRAY + value.nbytes if isinstance(value, ARRAYS) else 0)):
        raise TypeError("too large")
    if value is None or kind in (bool, int, float, complex, str, bytes):
        return value
    if isinstance(value, Tensor) and not (value.requires_grad and value.is_leaf):
        is_view = value.untyped_storage().nbytes() > value.nbytes  # torch.save writes all of it
        return value.detach().clone() if is_view else value.detach()
    if kind in (list, tuple):
        return kind([_plain(one, left) for one in value])
    if kind is dict:
        return {_plain(key, left): _plain(one, left) for key, one in value.items()}
    return [MARK, *_in_parts(value, left)]


def _in_parts(value: Any, left: _Left) -> tuple[Any, ...]:
    """Returns the name of what makes an object anew, and what it is made of."""
    kind = type(value)
    if kind is np.ndarray or isinstance(value, np.generic):
        return "array", torch.from_numpy(np.array(value)), kind is not np.ndarray
    if kind.__name__ in SIMPLE and SIMPLE[kind.__name__] is kind:
        items = list(value.items() if isinstance(value, dict) else value)
        return kind.__name__, _plain(items, left)
    if kind is deque:
        return "deque", _plain(list(value), left), value.maxlen
    if kind is array:
        return "numbers", _plain(list(value), left), value.typecode
    if kind is np.random.SeedSequence:
        return "seeds", _plain(value.state, left)
    if isinstance(value, torch.dtype | Path):
        return kind.__name__, str(value)
    if kind is datetime.datetime:
        return "datetime", value.isoformat()
    name = kind.__module__, kind.__qualname__
    if isinstance(value, Enum) and _class(Enum, *name) is kind:
        return "enum", *name, value.name
    if issubclass(kind, tuple) and _class(tuple, *name) is kind:
        return "tuple", *name, _plain(list(value), left)
    raise TypeError(kind.__name__)


def _is_ordinary(tensor: Tensor) -> bool:
    """Tells whether a tensor has numbers in the usual layout."""
    has_numbers = tensor.device.type != "meta" and not is_lazy(tensor)
    return has_numbers and tensor.layout is torch.strided and not tensor.is_nested


def made(value: Any) -> Any:
    """Returns the value that `plain` was given, or what `filled` takes.

    A class that a checkpoint names is looked up among those of the modules that are imported.

    Raises:
        LookupError, AttributeError: if it is not there.
    """
    if isinstance(value, list) and value[:1] == [MARK]:
        name, *rest = value[1:]
        return MAKERS[name](*rest)
    if isinstance(value, list | tuple):
        return type(value)([made(one) for one in value])
    if isinstance(value, dict):
        return {made(key): made(one) for key, one in value.items()}
    return value


def _simple(kind: Callable[[Any], Any], items: Any) -> Any:
    return kind(dict(made(items)) if kind in (OrderedDict, Counter) else made(items))


def _array(numbers: Tensor, is_scalar: bool) -> Any:
    found = numbers.cpu().numpy()
    return found[()] if is_scalar else found


def _class(base: type, module: str, name: str) -> Any:
    """Returns an enum, or a named tuple, of a module that is imported; None if it is none."""
    kind: Any = sys.modules.get(module)
    for part in name.split("."):
        kind = getattr(kind, part, None)
    is_one = isinstance(kind, type) and issubclass(kind, base)
    return kind if is_one and (base is Enum or kind.__bases__ == (tuple,)) else None


def _of_class(base: type, module: str, name: str, value: Any) -> Any:
    kind = _class(base, module, name)
    if kind is None:
        raise LookupError(name)
    return kind[value] if base is Enum else tuple.__new__(kind, made(value))


# By the name that stands behind MARK: what makes the object of what stands behind the name.
MAKERS: dict[str, Callable[..., Any]] = {
    **{name: partial(_simple, kind) for name, kind in SIMPLE.items()},
    "array": _array,
    "deque": lambda items, most: deque(made(items), most),
    "numbers": lambda items, code: array(code, items),
    "seeds": lambda state: np.random.SeedSequence(**state),
    "enum": partial(_of_class, Enum),
    "tuple": partial(_of_class, tuple),
    "dtype": lambda text: DTYPES[text],
    "datetime": datetime.datetime.fromisoformat,
    "PosixPath": Path,
    "WindowsPath": Path,
}


def filled(now: Any, value: Any) -> bool:
    """Gives an object, to which others may refer, a value of its kind; tells whether it takes it.

    Args:
        now: the object.
        value: what `made` returned.
    """
    if isinstance(now, nn.Module):
        make_room(now, value["layers"])
        now.load_state_dict(value["layers"])
        for name, state in value["metrics"].items():
            part: Any = now.get_submodule(name)
            metrics.resume(part, state)
    elif isinstance(now, Optimizer):
        groups = now.param_groups  # another optimiser may have the same
        now.load_state_dict(value)
        for group, own in zip(groups, now.param_groups, strict=True):
            group.update(own)
        now.param_groups = groups
    elif isinstance(now, LRScheduler | GradScaler):
        now.load_state_dict(value)
    elif isinstance(now, DictConfig):
        for key, one in value["values"].items():
            now[key] = one
    elif isinstance(now, SynchronizedBase):
        _memory(now).raw = value["bytes"]
    elif isinstance(now, random.Random):
        now.setstate(value["state"])
    elif isinstance(now, np.random.Generator):
        now.bit_generator.state = value["state"]
        seeds: Any = now.bit_generator.seed_seq
        if value["spawned"]:
            seeds.spawn(value["spawned"] - seeds.n_children_spawned)
    elif isinstance(now, torch.Generator | np.random.RandomState):
        now.set_state(value["state"])
    elif isinstance(now, ARRAYS):
        if (now.shape, now.dtype) != (value.shape, value.dtype):
            return False
        with torch.no_grad():
            now[...] = value
    elif isinstance(now, array):
        now[:] = value
    elif isinstance(now, list | set | deque | dict):
        now.clear()
        if isinstance(now, dict):
            now.update(value)
        elif isinstance(now, set):
            now.update(iter(value))  # one after the other: a copy of a set has another order
        else:
            now.extend(value)
    else:
        return False
    return True


def make_room(module: nn.Module, saved: Mapping[str, Any], prefix: str = "", *more: object) -> None:
    """Gives buffers of a module the shape and the dtype that they have in a state that is loaded.

    They may have grown in training, or have been None at first. PyTorch refuses other shapes, and
    turns numbers into those of another dtype. A module calls it as a hook, before it loads.
    """
    room: dict[int, Tensor] = {}  # two layers may share a buffer
    for path, value in saved.items():
        where, _, name = path.removeprefix(prefix).rpartition(".")
        with suppress(AttributeError):  # a parameter, or none of this module's
            part = module.get_submodule(where)
            now: Any = part.get_buffer(name)
            if is_lazy(now):  # it makes room itself
                continue
            if now is None or (now.shape, now.dtype) != (value.shape, value.dtype):
                device = value.device if now is None else now.device
                made = torch.empty_like(value, device=device)
                setattr(part, name, made if now is None else room.setdefault(id(now), made))


def is_on_device(value: Any) -> bool:
    """Tells whether a value has tensors that are not on the CPU."""
    if isinstance(value, Tensor):
        return value.device.type != "cpu"
    inner = value.values() if isinstance(value, dict) else value
    return isinstance(value, (*GROUPS, dict)) and any(map(is_on_device, inner))


def is_in_order(value: Any) -> bool:
    """Tells whether sets of numbers are in the order that they have when they are made anew.

    One that was larger is not. Sets of words are in another order in each process.
    """
    if isinstance(value, set | frozenset):
        items = list(value)
        return list(set(items)) == items or not all(map(_is_number, items))
    inner = value.values() if isinstance(value, dict) else value
    return not isinstance(value, (*GROUPS, dict)) or all(map(is_in_order, inner))


def _is_number(value: Any) -> bool:
    """Tells whether a value is a number, or a tuple of such."""
    is_tuple = isinstance(value, tuple)
    return all(map(_is_number, value)) if is_tuple else isinstance(value, int | float | np.generic)
