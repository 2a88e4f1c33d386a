"""Finds what a user's own objects keep in attributes, for checkpoints to have.

A rate that is set for an epoch, a counter, a list of samples, a hidden state or a buffer that is
not persistent is in no `state_dict`. Whatever of these changes in training is saved and restored.
The objects are the module with its parts, the callbacks, the data module, the optimisers, the
Trainer, what the loaders are made of, and the objects among the attributes of these. The attributes
are those that code of the user's classes writes. A weight or a buffer that an attribute refers to
is saved elsewhere, and stays what it is.
"""

import dis
import functools
import inspect
import io
import itertools
import os
import sys
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle
from torchmetrics import Metric

from engine.fence.lightning import training_loaders, validation_loaders
from engine.fence.torch import has_step_of_a_schedule
from engine.files import INSTALLED
from engine.kept import values

LIBRARIES = {*values.MACHINES, *sys.stdlib_module_names, "numpy", "torch", "torchvision"}
METRICS = "torchmetrics"
SAVED = {f"{METRICS}.collections", f"{METRICS}.metric"}  # whose attributes are states
# Modules whose objects have a state that their own code writes, as ChainMap and SobolEngine have.
OF_VALUES = {"collections", "torch.quasirandom"}
OF_OPTIMIZERS = ("param_groups", "state", "defaults")  # in the checkpoint already
# What changes as self.hparams, in a UserDict or UserList, and in a sparse matrix of SciPy's.
OF_LIBRARIES = ("_hparams", "data", "indices", "indptr")
OF_LOADERS = ("dataset", "sampler", "batch_sampler", "collate_fn")
MOST_OBJECTS = 1000  # that are looked for in a list or a dict, and lists and dicts within it
MOST_OWNERS = 10_000  # objects that are looked into
# Objects that are not: files and hooks of this process are others in the next.
CLOSED = (Tensor, type, FunctionType, ModuleType, io.IOBase, RemovableHandle)
FILLED = (*values.GROUPS, dict, *values.ARRAYS)  # what may be written into
READ = "…"  # behind the name of an attribute that a user's code reads, to write into its value
# What code reads that writes attributes by any name.
ANY_NAME = {f"{name}{READ}" for name in ("setattr", "__setattr__", "vars", "__dict__")}
OF_PROCESS = ("file ", "class ")  # whose attributes are those of all runs of a process
GONE = "gone"  # stands for the value of an attribute that is deleted on the way
HOLDERS = (*values.GROUPS, frozenset, dict, np.ndarray)  # that are looked into for objects
STORES = {"STORE_ATTR", "STORE_GLOBAL"}
STORE_CODES = {dis.opmap[name] for name in STORES}
WORDS = (type(None), bool, int, float, str)
PLAIN = (*WORDS, Tensor, np.generic)


class _Marked(NamedTuple):
    """Holds what an attribute has at a moment, and what is equal until that changes."""

    value: Any
    mark: Any
    is_buffer: bool  # that no checkpoint has


class Attributes:
    """Knows what attributes had before training began, and finds those that have changed since.

    Args:
        trainer: of the training that begins.
        module: the one that is trained.
        restored: names of those that are restored: they have changed already.
    """

    def __init__(
        self, trainer: Trainer, module: LightningModule, restored: Iterable[str] = ()
    ) -> None:
        self._trainer = trainer
        self._module = module
        self._restored = set(restored)
        self._left_out: frozenset[str] = frozenset()  # of checkpoints, among weights and buffers
        for own in (module, trainer.datamodule):  # type: ignore[attr-defined]
            getattr(own, "hparams", None)  # made where somebody asks for it
        self._first = self._begun = self._marked()

    def begin(self) -> None:
        """Looks at what hooks of the start have changed, and at what loaders are made of.

        The start makes data anew in each run. What else it sets may not be the same once more, such
        as a copy of the first weights, nor what generators of the data draw: a run that has no step
        left makes no loader for validation.
        """
        self._begun = self._marked()
        root = type(self._module).__name__
        parts = {root, *(type(own).__name__ for own in self._trainer.optimizers)}
        callbacks = self._trainer.callbacks  # type: ignore[attr-defined]
        parts |= {name for name, _ in _named(callbacks, Counter([root]))}
        for path, marked in self._begun.items():
            draws = issubclass(type(marked.value), values.GENERATORS)
            if path.partition(".")[0] not in parts and not draws:
                self._first[path] = marked

    def leave_out(self, names: Iterable[str]) -> None:
        """Keeps weights and buffers, by name, that a hook deletes from checkpoints."""
        self._left_out = frozenset(names)
        for path, marked in self._marked().items():
            if marked.is_buffer:
                self._first.setdefault(path, marked)
                self._begun.setdefault(path, marked)

    def changed(self, others: Iterable[str] = ()) -> tuple[dict[str, Any], list[str]]:
        """Returns the attributes that have changed, and names those that no checkpoint can have.

        What the start has changed is not named: it makes data sets and opens files, each time.

        Args:
            others: names of what else no checkpoint can have, such as a layer that was replaced.
        """
        saved: dict[str, Any] = {}
        lost: list[str] = [*others]
        unordered = []
        now = self._marked()
        for path, (value, mark, is_buffer) in now.items():
            first = self._first.get(path)
            begun = self._begun.get(path)
            if first and mark == first.mark and path not in self._restored:
                continue
            if any(value is own for own in self._trainer.optimizers):
                continue
            if isinstance(value, str | Path) and begun and mark == begun.mark:
                continue  # the start has set it: the folder of a run may be another one then
            try:
                plain, fills = values.plain(value, begun and begun.value)
                saved[path] = [plain, fills, values.is_on_device(value), is_buffer]
                if not values.is_in_order(value):
                    unordered.append(f"{path} (the order of a set)")
            except Exception:
                is_as_begun = begun and mark == begun.mark
                if not is_as_begun and not values.is_machine(type(value)):
                    lost.append(path)
        for path in self._flags(now, saved, lost):
            del saved[path]
            lost.append(path)
        saved |= {path: [None, GONE, False, False] for path in self._gone(now)}
        return saved, lost + unordered

    def _flags(
        self, now: Mapping[str, _Marked], saved: Iterable[str], lost: Sequence[str]
    ) -> list[str]:
        """Names attributes that say of something that it is done or there, and a resumed run's not.

        That is what a process does once, by a flag in a file or a class, and what is lost beside
        a flag: a resumed run would believe that its file is open.
        """
        lacking = {path.rpartition(".")[0] for path in lost}
        set_now = [path for path in saved if now[path].value is True]
        return [
            path
            for path in set_now
            if (where := path.rpartition(".")[0]) in lacking or where.startswith(OF_PROCESS)
            if all(
                path not in then or then[path].value is False for then in (self._first, self._begun)
            )
        ]

    def _gone(self, now: Mapping[str, _Marked]) -> Iterator[str]:
        """Yields the attributes that objects had when training began, and have no more."""
        missing = [path for path, first in self._first.items() if not first.is_buffer]
        missing = [path for path in missing if path not in now and path in self._begun]
        owners = dict(owners_of(self._trainer, self._module)) if missing else {}
        for path in missing:
            where, _, name = path.rpartition(".")
            if where in owners and "[" not in name and name not in _own(owners[where]):
                yield path

    def _marked(self) -> dict[str, _Marked]:
        persistent = self._module.state_dict().keys() - self._left_out
        passing = {}
        known = {id(own) for own in self._trainer.optimizers}
        for name, tensor in (*self._module.named_parameters(), *self._module.named_buffers()):
            if name in persistent:
                known.add(id(tensor))
            else:  # or a module leaves it out of its state
                passing[f"{type(self._module).__name__}.{name}"] = tensor
        owners = dict(owners_of(self._trainer, self._module))
        parts = frozenset(map(id, self._module.modules()))
        found = {**dict(_values(owners, parts)), **passing}
        reached = set(map(id, owners.values()))
        saved = frozenset(known)
        marked = {}
        for path, value in found.items():
            mark = [values.mark(value, saved), _some(value, reached)]
            marked[path] = _Marked(value, mark, path in passing)
        return marked


def restore(
    trainer: Trainer,
    module: LightningModule,
    saved: Mapping[str, Any],
    with_loaders: bool = True,
) -> list[str]:
    """Sets attributes to what `changed` returned, as far as there are such attributes now.

    Before there are loaders, what only these have is left out.

    Args:
        trainer: of the training that goes on.
        module: the one that is trained.
        saved: what `changed` returned.
        with_loaders: whether what only loaders have is among these.

    Returns:
        the names of those that do not take their value.
    """
    owners = dict(owners_of(trainer, module, with_loaders))
    names = names_of(owners.values())
    refused = []
    for path, (plain, fills, is_on_device, is_buffer) in saved.items():
        where, _, name = path.rpartition(".")
        owner = owners.get(where)
        inner = {} if owner is None else _inner(owner)
        if owner is None or not (is_buffer or _is_kept(owner, name, inner.get(name), names)):
            continue
        if is_on_device:
            plain = move_data_to_device(plain, trainer.strategy.root_device)
        try:
            if fills == GONE:
                if name in inner:
                    delattr(owner, name)
                continue
            value = values.made(plain)
            buffers = {}
            if issubclass(type(owner), nn.Module):
                buffers = dict(owner.named_buffers(recurse=False))
                buffers |= dict(owner.named_parameters(recurse=False))
            now = buffers.get(name, inner.get(name))
            if fills and now is not None and values.filled(now, value):
                continue
            if is_buffer and name not in buffers:
                owner.register_buffer(name, value, persistent=False)
            elif fills == values.STATE or isinstance(owner, functools.partial):
                refused.append(path)
            else:
                setattr(owner, name, value)
        except Exception:  # a class that takes no value
            refused.append(path)
    return refused


def marks_of(*objects: Any, kinds: tuple[type, ...] = (object,)) -> dict[str, Any]:
    """Returns what is equal as long as objects, and those that they have, do not change.

    Args:
        objects: such as a data set.
        kinds: the classes of the attributes that are looked at.
    """
    owners = dict(_below(_named(objects, Counter()), set()))
    reached = set(map(id, owners.values()))
    return {
        path: [values.mark(own), _some(own, reached)]
        for path, own in _values(owners)
        if issubclass(type(own), kinds)
    }


def _values(
    owners: Mapping[str, Any], parts: frozenset[int] = frozenset()
) -> Iterator[tuple[str, Any]]:
    """Yields the attributes, each with its name, but for those that are parts of a module."""
    names = names_of(owners.values())
    for where, owner in owners.items():
        states = [*owner.metric_state] if isinstance(owner, Metric) else []
        if isinstance(owner, Optimizer):
            states += OF_OPTIMIZERS
            if has_step_of_a_schedule(owner):  # which may come late, as that of SWA does
                states.append("step")
        for name, value in _inner(owner).items():
            is_state = name in states or id(value) in parts
            if _is_kept(owner, name, value, names) and not is_state:
                yield f"{where}.{name}", value


def _is_kept(owner: Any, name: str, value: Any, names: frozenset[str]) -> bool:
    """Tells whether an attribute is one that a user's code writes, or writes into.

    Layers that are hidden from PyTorch, and generators, are among these by any name. So is what a
    partial function is given, as the function has other names for it.
    """
    first = name.partition("[")[0]
    kind: Any = type(value)
    owned: Any = type(owner)
    if first.startswith("__") and first.endswith("__"):  # of Python's, such as __annotations__
        return False
    is_given = isinstance(owner, functools.partial)
    if is_given or first in names or (first == name and issubclass(kind, values.STATEFUL)):
        return True
    is_filled = f"{first}{READ}" in names and issubclass(kind, (*FILLED, *values.STATEFUL))
    is_librarys = _is_of_values(owned) and first in _of_libraries(owned)
    return is_filled or is_librarys or _is_free(owner, first, names)


@functools.cache
def _is_of_values(kind: type) -> bool:
    return not OF_VALUES.isdisjoint(one.__module__ for one in kind.__mro__)


def _is_free(owner: Any, name: str, names: frozenset[str]) -> bool:
    """Tells whether code that writes attributes by any name may write this one, as no library."""
    if ANY_NAME.isdisjoint(names):
        return False
    kind: Any = type(owner)
    own = getattr(kind, name, None)
    if callable(own) or isinstance(own, property):
        return False
    known = _of_libraries(kind)
    if not name.startswith("_"):
        return name not in known
    is_own = bool(own_classes(owner if isinstance(owner, type) else kind))
    return is_own and known.isdisjoint({name, f"{name}{READ}"}) and not name.endswith("_")


def _inner(owner: Any) -> dict[str, Any]:
    """Returns the attributes of an object, and layers and such in a list or a dict among them."""
    own = _own(owner)
    found = dict(own)
    for name, value in own.items():
        if _group_of(value) is not None:
            inner = _items(name, value)
            found |= {place: one for place, one in inner if issubclass(type(one), values.STATEFUL)}
    return found


def owners_of(
    trainer: Trainer, module: LightningModule, with_loaders: bool = True
) -> Iterator[tuple[str, Any]]:
    """Yields the objects that may have such attributes, each with its name."""
    a_trainer: Any = trainer
    root = type(module).__name__
    parts = [(f"{root}.{name}".rstrip("."), part) for name, part in module.named_modules()]
    loaders = (*training_loaders(trainer), *validation_loaders(trainer)) if with_loaders else ()
    served = [getattr(one, name, None) for one in loaders for name in OF_LOADERS]
    numbered: Counter[str] = Counter([root])
    seen: set[int] = set()
    # What only the loaders have comes last: it is not there yet where a run is resumed.
    own = (*a_trainer.callbacks, a_trainer.datamodule, *trainer.optimizers, trainer)
    for roots in ((*parts, *_named(own, numbered)), _named(served, numbered)):
        yield from _below(roots, seen)


def _below(roots: Iterable[tuple[str, Any]], seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yields objects, and those that they have, but for those that were seen."""
    found = deque(roots)
    while found and len(seen) < MOST_OWNERS:
        where, owner = found.popleft()
        owner = method_owner(owner)
        if id(owner) in seen or (inner := looked_into(owner)) is None:
            continue
        seen.add(id(owner))
        yield where, owner
        kind: Any = type(owner)
        for one in own_classes(kind):
            found.append((f"{OF_PROCESS[1]}{one.__module__}.{one.__qualname__}", one))
        found += [(f"{OF_PROCESS[0]}{file.__name__}", file) for file in _files(kind)]
        for name, value in inner.items():
            if name.endswith("_hooks") and type(value) is OrderedDict and not value:
                continue  # a layer has a dozen of these: they would be most of the objects
            if has_attributes(type(method_owner(value))):
                found.append((f"{where}.{name}", value))
            if _group_of(value) is not None:
                found += _items(f"{where}.{name}", value)


def _named(objects: Iterable[Any], numbered: Counter[str]) -> Iterator[tuple[str, Any]]:
    """Yields objects with the names of their classes, numbered from the second one on."""
    for own in map(method_owner, objects):
        kind = type(own).__name__
        numbered[kind] += 1
        yield kind if numbered[kind] == 1 else f"{kind} ({numbered[kind]})", own


def _group_of(value: Any) -> Any:
    """Returns what is looked into for objects; None for another value, and for an empty one."""
    kind = type(value)  # a dead weakref.proxy answers for its object, with an error
    if not issubclass(kind, HOLDERS):
        return None
    if issubclass(kind, np.ndarray):
        return value.ravel() if value.dtype == object else None
    return value or None


def _items(path: str, value: Any, with_nameless: bool = False) -> Iterator[tuple[str, Any]]:
    """Yields the objects in a list or a dict, and in lists and dicts within it, with their names.

    Args:
        path: the name of the list.
        value: the list, or what is none.
        with_nameless: whether to yield objects in a set, which has no order, and some of those that
            are too many, with the name "".
    """
    found = deque([(path, _group_of(value))])
    seen: dict[int, Any] = {}
    most = MOST_OBJECTS * 2 if with_nameless else MOST_OBJECTS
    while found and len(seen) < most:
        where, group = found.popleft()
        if group is None or id(group) in seen:
            continue
        seen[id(group)] = group
        named = 1 if isinstance(group, set | frozenset) else MOST_OBJECTS
        if len(group) > named or len(seen) > MOST_OBJECTS:
            where = ""
        if not where and not with_nameless:
            continue
        is_dict = isinstance(group, dict)
        step = len(group) // (MOST_OBJECTS + 1) + 1
        some = itertools.islice(group.items() if is_dict else group, 0, None, step)
        odd = []  # keys that may be objects, too
        for number, (key, one) in enumerate(some if is_dict else enumerate(some)):
            if not (is_word := type(key) in WORDS):
                odd.append(key)
            if (kind := type(one)) in WORDS or issubclass(kind, PLAIN):
                continue
            inner = _group_of(one)
            if inner is not None and len(seen) + len(found) > most:
                continue
            # Two keys have two names, and no name has a dot in it.
            word = repr(key).replace(".", r"\x2e") if is_word else f"#{number}"
            place = where and f"{where}[{word}]"
            if inner is None:
                yield place, one
            else:
                found.append((place, inner))
        if odd:
            found.append((where and f"{where}[keys]", odd))


def _some(value: Any, reached: Collection[int]) -> list[Any]:
    """Returns what changes with objects in a list or a dict that are not looked into by name."""
    found: list[Any] = []
    for place, one in _items("here", value, with_nameless=True):
        if id(own := method_owner(one)) in reached:
            continue
        if not place and issubclass(type(own), values.STATEFUL):
            found.append(values.mark(own))
        else:
            found += map(values.brief, (looked_into(own) or {}).values())
    return found


def method_owner(value: Any) -> Any:
    """Returns the object whose method a value is; or the value, if it is none."""
    return value.__self__ if type(value) is MethodType else value


def looked_into(owner: Any) -> dict[str, Any] | None:
    """Returns the attributes of an object that a user's code may write into; None: it does not."""
    kind: Any = type(owner)
    try:
        if isinstance(owner, ModuleType | Trainer):
            return _own(owner)
        is_open = is_users(owner) if isinstance(owner, type) else _is_open(kind)
        return _own(owner) if is_open else None
    except Exception:  # it does what it likes
        return None


def _own(owner: Any) -> dict[str, Any]:
    """Returns the attributes of an object, or those of a class or file that are no code.

    The arguments of a partial function count as its attributes. Those of a Trainer are what others
    have put there.
    """
    kind: Any = type(owner)
    if isinstance(owner, Trainer):
        known = {*getattr(owner, "own_names", vars(owner)), *_of_libraries(kind)}
        return {name: value for name, value in vars(owner).items() if name not in known}
    if isinstance(owner, type | ModuleType):
        return {
            name: value
            for name, value in vars(owner).items()
            if not name.startswith("__") and not hasattr(type(value), "__get__")
            if not (isinstance(owner, ModuleType) and isinstance(value, type | ModuleType))
        }
    found = dict(vars(owner)) if _has_dict(kind) else {}
    if isinstance(owner, functools.partial):
        found |= {f"argument {key}": value for key, value in enumerate(owner.args)}
        found |= {"func": owner.func, **owner.keywords}
    return found | {name: getattr(owner, name) for name in _slots(kind) if hasattr(owner, name)}


@functools.cache
def _slots(kind: Any) -> list[str]:
    """Names the attributes that a user's class and its bases keep in `__slots__`."""
    items = [item for one in own_classes(kind) for item in vars(one).items()]
    return [name for name, value in items if isinstance(value, MemberDescriptorType)]


@functools.cache
def own_classes(kind: Any) -> list[type]:
    """Returns a class and its bases, as far as they are a user's."""
    return [one for one in kind.__mro__ if is_users(one)]


def has_attributes(kind: type) -> bool:
    return bool(_has_dict(kind) or _slots(kind))


def _has_dict(kind: type) -> bool:
    """Tells whether objects have a dictionary of attributes; one for each thread counts, too."""
    return bool(kind.__dictoffset__) or issubclass(kind, threading.local)


@functools.cache
def _is_open(kind: Any) -> bool:
    """Tells whether objects of a class are looked into for attributes that a user's code writes."""
    if issubclass(kind, CLOSED) or not has_attributes(kind):
        return False
    is_closed = values.is_machine(kind) and not issubclass(kind, nn.Module)
    return not is_closed or bool(own_classes(kind))


def is_users(kind: type | FunctionType) -> bool:
    return values.package_of(kind) not in LIBRARIES and kind.__module__ not in SAVED


def names_of(owners: Iterable[Any]) -> frozenset[str]:
    """Returns the names of attributes that a user's code writes, and, marked, of those it reads."""
    kinds: set[Any] = {owner if isinstance(owner, type) else type(owner) for owner in owners}
    return frozenset(OF_LIBRARIES).union(*map(written_by, kinds))


@functools.cache
def written_by(kind: Any) -> frozenset[str]:
    """Returns what `_stored` does for code of a user's class and its bases, and near it."""
    return frozenset().union(*map(_written_by, own_classes(kind)))


@functools.cache
def _written_by(kind: type) -> frozenset[str]:
    """Returns the names that a class writes itself, or code near it.

    Those of a metric of torchmetrics are what changes beside its states: neither what its
    constructor sets, nor what all metrics have, however the metric writes it.
    """
    items = vars(kind).items()
    if is_metrics(kind):
        own = _stored_by(value for name, value in items if name != "__init__")
        return own - _of_libraries(Metric)
    found = _stored_by(value for _, value in items)
    found |= {name for name, value in items if isinstance(value, functools.cached_property)}
    return found.union(*map(_stored_in, _files_of(kind)))


def is_metrics(kind: type) -> bool:
    return values.package_of(kind) == METRICS


@functools.cache
def _stored_in(file: ModuleType) -> frozenset[str]:
    """Returns what functions and classes of a file write, into objects that they are given."""
    own = [value for value in vars(file).values() if isinstance(value, FunctionType | type)]
    inner = [
        vars(one).values()
        for one in own
        if isinstance(one, type) and one.__module__ == file.__name__
    ]
    return _stored_by([*own, *itertools.chain(*inner)])


@functools.cache
def _of_libraries(kind: type) -> frozenset[str]:
    """Returns the names of the attributes that code of a class's bases in libraries writes."""
    own = [one for one in own_classes(kind) if not is_metrics(one)]
    return _stored_by(v for one in kind.__mro__ if one not in own for v in vars(one).values())


@functools.cache
def may_read(kind: Any, word: str) -> bool:
    """Tells whether code of a user's class, or beside it, reads a name that has this word in it."""
    return any(word in name for name in written_by(kind) if name.endswith(READ))


def reads(kind: Any, name: str) -> bool:
    """Tells whether code of a user's class, or beside it, reads an attribute of this name."""
    return f"{name}{READ}" in written_by(kind)


def kept_by(kind: type) -> list[str]:
    """Names the attributes that methods of a user's class write, but for its constructor."""
    return sorted(name for name in _stored_later(kind) if not name.endswith(READ))


def marks_beside_states(metric: Metric) -> dict[str, Any]:
    """Returns what is equal as long as a metric's own code changes nothing beside its states."""
    names = vars(metric).keys() & _beside_states(type(metric)) - metric.metric_state.keys()
    return {name: values.mark(vars(metric)[name]) for name in names}


@functools.cache
def _beside_states(kind: type) -> frozenset[str]:
    """Returns the names of attributes that methods of a metric write, or may write into."""
    own = {name.removesuffix(READ) for name in _stored_later(kind)}
    return frozenset(own - _of_libraries(Metric))


@functools.cache
def _stored_later(kind: type) -> frozenset[str]:
    """Returns what `_stored` does for methods of a user's class, but for its constructor."""
    own = [vars(one).items() for one in own_classes(kind)]
    return _stored_by(value for items in own for name, value in items if name != "__init__")


@functools.cache
def _files(kind: type) -> list[ModuleType]:
    """Returns the files with a user's class and its bases, and those near that they import.

    A package that is installed may keep in its files what it likes.
    """
    found = dict.fromkeys(file for one in own_classes(kind) for file in _files_of(one))
    return [file for file in found if not is_installed(file)]


def is_installed(file: ModuleType | None) -> bool:
    """Tells whether a module lies among installed packages."""
    return not INSTALLED.isdisjoint(Path(getattr(file, "__file__", None) or "").parts)


@functools.cache
def _files_of(kind: type) -> list[ModuleType]:
    """Returns the file of a class, those near that it imports, or imports from, and theirs.

    Of a package that is installed, these are only the modules that the file itself imports.
    """
    file = sys.modules.get(str(kind.__module__))
    found = [file] if file else []
    for one in found:  # it grows
        own = [*vars(one).values()]
        named = [value for value in own if inspect.ismodule(value)]
        if not (is_theirs := is_installed(one)):
            homes = {value.__module__ for value in own if isinstance(value, FunctionType | type)}
            named += [sys.modules[home] for home in sorted(homes & sys.modules.keys())]
        near = [other for other in dict.fromkeys(named) if _is_near(other, found[0])]
        found += [other for other in near if other not in found]
        if is_theirs:
            break
    return found


def _is_near(module: ModuleType, file: ModuleType) -> bool:
    """Tells whether a module is of the package, or of the folder, of a file."""
    if module.__name__.partition(".")[0] == file.__name__.partition(".")[0]:
        return True
    folders = [os.path.dirname(getattr(one, "__file__", None) or "") for one in (module, file)]
    return folders[0] == folders[1] != ""


def _stored_by(found: Iterable[Any]) -> frozenset[str]:
    """Returns what `_stored` does for the functions among some values."""
    functions = (function for value in found for function in functions_of(value))
    return frozenset().union(*(_stored(function.__code__) for function in functions))


def functions_of(value: Any) -> Iterator[FunctionType]:
    parts = (value.fget, value.fset) if isinstance(value, property) else (value,)
    for part in parts:
        function = getattr(part, "__func__", part)
        while inspect.isfunction(function):
            yield function
            function = getattr(function, "__wrapped__", None)  # within a decorator's


@functools.cache
def _stored(code: CodeType) -> frozenset[str]:
    """Returns the names that code writes as attributes or globals, and, marked, all it may read."""
    if code.co_filename == "<string>" and "__setattr__" in code.co_names:
        return frozenset()  # of a frozen dataclass, whose own code writes no other names
    found = {f"{name}{READ}" for name in code.co_names}
    if not STORE_CODES.isdisjoint(code.co_code[::2]):  # a look at each line takes long
        lines = dis.get_instructions(code)
        found |= {line.argval for line in lines if line.opname in STORES}
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return frozenset(found).union(*map(_stored, inner))
