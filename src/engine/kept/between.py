"""Puts back what runs of one process would share: globals of a user's files, and settings.

A run begins with what its files and their classes have when they are imported, and with PyTorch's
settings, as in a process of its own. So the jobs of a sweep do not depend on their order.
"""

import functools
import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import backends
from torch.backends import cudnn, mkldnn

from engine.fence.torch import hooks_of_all, put_hooks_of_all
from engine.kept import values
from engine.kept.attributes import (
    FILLED,
    LIBRARIES,
    has_attributes,
    is_installed,
    looked_into,
    names_of,
)

log = logging.getLogger(__name__)

CPU = torch.device("cpu")  # stands for no default device
# What has a precision of its own for float32, as far as this PyTorch has it.
PRECISE: list[Any] = [
    part
    for owner in (backends, backends.cuda, cudnn, mkldnn)
    for part in (owner, *(getattr(owner, name, None) for name in ("conv", "rnn", "matmul")))
    if hasattr(part, "fp32_precision")
]
# What a run may set for its process: how to ask for it, and how to set it.
SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, lambda was: torch.set_default_device(None if was == CPU else was)),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (lambda: [one.fp32_precision for one in PRECISE], lambda was: _set_precision(was)),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    # By a number that is not written here: Python calculates with those when it compiles.
    (lambda: sys.float_info.min / 2 == 0, torch.set_flush_denormal),
    (lambda: mkldnn.enabled, lambda was: setattr(mkldnn, "enabled", was)),
    (lambda: cudnn.enabled, lambda was: setattr(cudnn, "enabled", was)),
    (lambda: cudnn.benchmark, lambda was: setattr(cudnn, "benchmark", was)),
    (lambda: cudnn.deterministic, lambda was: setattr(cudnn, "deterministic", was)),
    (np.geterr, lambda was: np.seterr(**was)),
    (hooks_of_all, put_hooks_of_all),
)
CHANGING = (*FILLED, *values.STATEFUL)  # classes of values that change in their place
COUNTS = (int, float, complex, str, bytes)
FIXED = (*COUNTS, type(None), bool, type)
NONE = object()  # stands where there is no attribute, or no copy of a value

# What the runs so far have changed: what was put back, and what nobody could. The next one says so.
_back: set[str] = set()
_left: set[str] = set()


class _Noted(NamedTuple):
    """Holds what an attribute is before a run."""

    value: Any
    mark: Any = None
    copy: Any = NONE


def marks(files: Collection[str]) -> dict[str, Any]:
    """Returns what is equal as long as nothing changes in a user's files, by owner and name.

    Args:
        files: the user's modules, by import path; what is not imported has nothing.
    """
    return {
        path: {name: (id(one), _mark(one)) for name, one in (looked_into(owner) or {}).items()}
        for path, owner in _owners(_imported(files))
    }


def changed(before: Mapping[str, Any], files: Collection[str]) -> str | None:
    """Names something in a user's files that has changed; None if nothing has.

    To import a file is no change.

    Args:
        before: what `marks` has returned.
        files: as `marks` takes them.
    """
    found = (
        f"{path}.{name}"
        for path, now in marks(files).items()
        for name, own in now.items()
        if path in before and before[path].get(name) != own
    )
    return next(found, None)


@contextmanager
def put_back(
    files: Collection[str], is_try: bool = False, is_within: bool = False
) -> Iterator[None]:
    """Lets a run within this context change what it likes, and puts it back at the end.

    A file, with its classes and their objects, is put back as a whole or not at all: what is put
    back in part may fit nothing.

    Args:
        files: the user's modules that the run imports, by import path.
        is_try: whether it is only a try of a part of a run, of which nobody looks for results.
        is_within: whether it is a try within a run, at whose end all is put back. Objects of the
            run may know what they have put into a list or a dict, so a file where more than
            numbers and words have changed stays.
    """
    is_try = is_try or is_within
    if _back and not is_try:
        _say(", ".join(sorted(_back)))
    if _left and not is_try:
        names = ", ".join(sorted(_left))
        log.warning("not as in a process of its own: runs before this one have changed %s", names)
        _left.clear()
    settings = [_asked(ask) for ask, _ in SETTINGS]
    modules = set(sys.modules)
    known = _imported(files)
    roots = _roots(known)
    owned = {file: dict(_owners([file])) for file in sorted(known)}
    owners = {path: owner for own in owned.values() for path, owner in own.items()}
    noted = {path: _noted(owner) for path, owner in owners.items()}
    try:
        yield
    finally:
        # A file that is imported on the way may have set something, or have put itself into a list
        # of another file: it is not imported once more.
        is_whole = not any(_is_below(roots, name) for name in sys.modules.keys() - modules)
        written = names_of(owners.values())
        changes = {path: _changes(owner, noted[path], written) for path, owner in owners.items()}
        staying = {
            path
            for own in owned.values()
            if any(_stays(one, noted[path], changes[path], is_within) for path, one in own.items())
            for path in own
        }
        for (ask, put), was in zip(SETTINGS, settings, strict=True):
            has_to = is_whole and not (is_within and staying)
            if has_to and was is not NONE and _asked(ask) != was:
                put(was)
        # Another file may have imported a list or a dict by its name.
        kept = (one for path in staying for one in changes[path].values())
        shared = {id(one) for one in kept if isinstance(one, CHANGING)}
        found: dict[str, bool] = {}
        left: dict[str, Any] = {}
        for path, owner in owners.items():
            own = changes[path]
            stay = {n: one for n, one in own.items() if path in staying or id(one) in shared}
            left |= {f"{path}.{name}": one for name, one in stay.items()}
            goes = {name: one for name, one in own.items() if name not in stay}
            for name, is_back in _restore(owner, noted[path], goes, is_whole):
                found[f"{path}.{name}"] = is_back
        left |= {name: 0 for name, is_back in found.items() if not is_back}
        if not is_try:
            _back.update(name for name, is_back in found.items() if is_back)
            _left.update(left)
        else:
            _tell_of_a_try(left, is_within)


def _tell_of_a_try(left: Mapping[str, Any], is_within: bool) -> None:
    """Says what stays of a try, by name; flags that went to True are there to stay."""
    told = {name: one for name, one in left.items() if one is not True}
    # Within a run, a table is mostly a cache, but a number may make the run another one.
    doubtful = {name for name, one in told.items() if not is_within or type(one) in COUNTS}
    for level, names in ((logging.WARNING, doubtful), (logging.INFO, told.keys() - doubtful)):
        if names:
            text = "a try before training has changed %s, and training begins with that"
            log.log(level, text, ", ".join(sorted(names)))


@functools.cache
def _say(names: str) -> None:
    """Says once that a list in which a user gathers something over the runs is as it was."""
    log.warning("put back, as each run begins as in a process of its own: %s", names)


def _asked(ask: Callable[[], Any]) -> Any:
    """Returns a setting; NONE where PyTorch refuses to say: one has set it by a newer function."""
    try:
        return ask()
    except RuntimeError:
        return NONE


def _set_precision(was: Sequence[str]) -> None:
    for one, own in zip(PRECISE, was, strict=True):
        one.fp32_precision = own


def _imported(files: Collection[str]) -> set[str]:
    """Returns those of a user's files that are imported; that of the command is `__main__`."""
    command = getattr(sys.modules["__main__"], "__spec__", None)
    is_theirs = command is not None and command.name in files
    return (sys.modules.keys() & set(files)) | ({"__main__"} if is_theirs else set())


def _owners(files: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yields a user's files, their classes, and the objects that these have, with their names."""
    for name in sorted(files):
        file = sys.modules[name]
        kinds = [one for one in vars(file).values() if isinstance(one, type)]
        own = [kind for kind in kinds if kind.__module__ == name]
        named = {name: file} | {f"{name}.{kind.__qualname__}": kind for kind in own}
        yield from named.items()
        for path, owner in named.items():
            for inner, value in (looked_into(owner) or {}).items():
                if has_attributes(type(value)) and looked_into(value):
                    yield f"{path}.{inner}", value


def _roots(names: Collection[str]) -> set[Path]:
    """Returns the folders that have a user's packages and modules."""
    packages = [sys.modules.get(name.partition(".")[0]) for name in names]
    files = [Path(file) for one in packages if (file := getattr(one, "__file__", None))]
    return {file.parents[file.name == "__init__.py"] for file in files}


def _is_below(roots: Collection[Path], name: str) -> bool:
    """Tells whether a module that is imported is a user's, however it was named."""
    file = Path(getattr(sys.modules.get(name), "__file__", None) or "")
    is_near = file.suffix == ".py" and any(file.is_relative_to(root) for root in roots)
    return is_near and not _is_installed(name)


def _noted(owner: Any) -> dict[str, _Noted]:
    found = {}
    for name, value in (looked_into(owner) or {}).items():
        kind = type(value)
        # Of another kind, such as an iterator, there is no copy: a change is only named.
        copied = _copy_of(value) if issubclass(kind, CHANGING) else NONE
        found[name] = _Noted(value, _mark(value), copied)
    return found


def _is_a_librarys(name: str, value: Any) -> bool:
    """Tells whether a file has imported a value from a library by its name, as `sys.modules`."""
    modules = list(sys.modules.items())
    having = [path for path, one in modules if getattr(one, "__dict__", {}).get(name) is value]
    return any(map(_is_installed, having))


def _is_installed(name: str) -> bool:
    return name.partition(".")[0] in LIBRARIES or is_installed(sys.modules.get(name))


def _mark(value: Any) -> Any:
    return None if type(value) in FIXED else values.mark(value)


def _copy_of(value: Any) -> Any:
    """Returns what `values.filled` can fill a value with; NONE if that would be too large."""
    try:
        if not isinstance(value, values.STATEFUL):
            return _copied(value)
        state, _ = values.plain(value, value)
        return _copied(values.made(state))
    except Exception:  # too large, a ring, or a class that does what it likes
        return NONE


def _copied(value: Any) -> Any:
    """Returns a copy of lists, dicts and arrays within each other, and of no other object.

    Raises:
        TypeError: for a large one.
    """
    if isinstance(value, values.ARRAYS):
        if value.nbytes > values.MOST:
            raise TypeError("too large")
        return value.detach().clone() if isinstance(value, torch.Tensor) else value.copy()
    if not isinstance(value, (*values.GROUPS, dict)):
        return value
    if len(value) > values.MOST_VALUES:
        raise TypeError("too large")
    if isinstance(value, tuple):
        return tuple(map(_copied, value)) if type(value) is tuple else value
    # Not a copy of a user's class, which may refuse what it has already.
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    # One after the other: a copy of a set has another order.
    return set(iter(value)) if isinstance(value, set) else [_copied(one) for one in value]


def _changes(owner: Any, noted: Mapping[str, _Noted], written: Collection[str]) -> dict[str, Any]:
    """Returns the attributes of an owner that have changed, as they are now.

    Args:
        owner: a file, a class or an object.
        noted: its attributes before the run.
        written: names of what a user's code writes.
    """
    now = looked_into(owner) or {}
    found = {
        name: now.get(name, NONE)
        for name, (value, mark, _) in noted.items()
        if now.get(name, NONE) is not value or _is_written(name, value, mark)
    }
    return found | {name: now[name] for name in now.keys() - noted.keys() if name in written}


def _is_written(name: str, value: Any, mark: Any) -> bool:
    """Tells whether a value has changed in its place."""
    return mark is not None and values.mark(value) != mark and not _is_a_librarys(name, value)


def _stays(
    owner: Any, noted: Mapping[str, _Noted], changes: Mapping[str, Any], is_within: bool
) -> bool:
    """Tells whether an owner has changed so that its file stays as it is.

    Args:
        owner: a file, a class or an object.
        noted: its attributes before the run.
        changes: as `_changes` returns them.
        is_within: as `put_back` takes it.
    """
    for name, value in changes.items():
        was = noted[name].value if name in noted else 0  # a counter may begin at its first use
        if was is False and value is True and isinstance(owner, type | ModuleType):
            return True  # it may stand for what a process can do only once
        is_number = type(was) in COUNTS and type(value) in COUNTS
        has_moved_on = value is was and not isinstance(was, FILLED)  # a generator or an iterator
        if is_within and not is_number and not has_moved_on:
            return True
    return False


def _restore(
    owner: Any, noted: Mapping[str, _Noted], changes: Mapping[str, Any], is_whole: bool
) -> Iterator[tuple[str, bool]]:
    """Gives an owner what it had; yields the names of what had changed, and whether it takes it.

    Args:
        owner: a file, a class or an object.
        noted: its attributes before the run.
        changes: as `_changes` returns them.
        is_whole: whether lists and dicts have changed by what the run did, and not by an import.
    """
    for name in changes.keys() & noted.keys():
        value, mark, copied = noted[name]
        try:
            if changes[name] is not value:
                setattr(owner, name, value)
            if not _is_written(name, value, mark):
                yield name, True
                continue
            is_group = isinstance(value, (*values.GROUPS, dict))
            stays = copied is NONE or (is_group and not is_whole)
            yield name, not stays and values.filled(value, copied)
        except Exception:  # it takes no value
            yield name, False
    for name in changes.keys() - noted.keys() if is_whole else ():
        with suppress(Exception):  # a class that lets nothing go
            delattr(owner, name)
        yield name, name not in (looked_into(owner) or {})
