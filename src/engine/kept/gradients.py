"""Finds whose code reads gradients of weights.

A compiled step leaves none behind, and jobs that train together have none in their layers. So
whoever reads some has steps of the ordinary kind.
"""

import dis
import functools
import itertools
import sys
from collections.abc import Iterable, Iterator
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from engine.kept import values
from engine.kept.attributes import (
    functions_of,
    is_metrics,
    is_users,
    looked_into,
    method_owner,
    own_classes,
)

GRADIENT = "grad"  # an attribute of weights
BY_NAME = ("getattr", "attrgetter")  # what reads an attribute whose name it is given
LISTED = (*values.GROUPS, frozenset, dict)
CALLED = (FunctionType, MethodType, property, staticmethod, classmethod)
MOST_HELPERS = 10  # objects in a list or a dict that are looked at: others are of the same kinds
COMPUTING = ("autograd", "func", "functorch")  # torch's modules whose `grad` is a function
_known: dict[Any, bool] = {}  # by an object's class, and the classes and code of what it has


def reads_gradients(owner: Any) -> bool:
    """Tells whether code of a user's object, or what it calls, reads gradients of weights.

    What else its file has is for others, and `torch.autograd.grad` computes gradients of its own.
    """
    kind: Any = type(owner)
    if not own_classes(kind) or is_metrics(kind):
        return False
    kinds, functions = _helpers(owner)
    # Functions of an object may hold layers and metrics, which no cache must keep; their code may.
    key = kind, frozenset(kinds), frozenset(one.__code__ for one in functions)
    if key not in _known:
        methods = _called(value for one in own_classes(kind) for value in vars(one).values())
        _known[key] = _read([*functions, *methods], _homes(kind, kinds))
    return _known[key]


def _closed_over(function: FunctionType) -> list[Any]:
    empty = CellType()
    return [cell.cell_contents for cell in function.__closure__ or () if cell != empty]


def _helpers(owner: Any) -> tuple[set[type], list[FunctionType]]:
    """Returns the classes of a user's objects that an object has, and functions with theirs."""
    kinds: set[type] = set()
    functions: list[FunctionType] = []
    waiting = [owner]
    for one in waiting:  # it grows
        for value in (looked_into(one) or {}).values():
            inner = value.values() if type(value) is dict else value
            group = inner if type(value) in LISTED else [value]
            for own in itertools.islice(group, MOST_HELPERS):
                own = method_owner(own.func if type(own) is functools.partial else own)
                kind: Any = type(own)
                if kind is FunctionType:
                    functions.append(own)
                elif kind not in kinds and own_classes(kind):
                    kinds.add(kind)
                    waiting.append(own)
    for function in functions:  # it grows
        functions += [own for own in _called(_closed_over(function)) if own not in functions]
    return kinds, functions


def _homes(kind: Any, held: Iterable[type]) -> list[type]:
    """Returns the users' classes whose methods an object's code calls by their names alone.

    Args:
        kind: the object's class.
        held: the classes of objects that it has.
    """
    own = list(dict.fromkeys(one for each in (kind, *held) for one in own_classes(each)))
    kinds: list[Any] = [type(value) for one in own for value in vars(one).values()]
    return list(dict.fromkeys((*own, *(base for each in kinds for base in own_classes(each)))))


def _read(functions: Iterable[FunctionType], homes: Iterable[type]) -> bool:
    """Tells whether functions read gradients, or what they call by its name.

    Args:
        functions: with what they close over.
        homes: classes whose methods are called by their names.
    """
    waiting = [*dict.fromkeys(functions)]
    for function in waiting:  # it grows
        names, reads = _looked_up(function.__code__)
        if reads:
            return True
        if not is_users(function):  # of a library's, what each of its functions calls is too much
            continue
        found = _closed_over(function)
        imported = [file for name in names if type(file := sys.modules.get(name)) is ModuleType]
        places: dict[Any, Any] = {place: vars(place) for place in (*imported, *homes)}
        tables = [function.__globals__, *places.values()]
        for table in tables:  # it grows
            named = [table[name] for name in names & table.keys()]
            found += named
            for one in named:
                is_own = issubclass(type(one), type) and is_users(one)
                if (is_own or type(one) is ModuleType) and one not in places:
                    places[one] = vars(one)
                    tables.append(places[one])
        waiting += [own for own in dict.fromkeys(_called(found)) if own not in waiting]
    return False


def _called(found: Iterable[Any]) -> Iterator[FunctionType]:
    """Yields the functions among some values, whatever other objects do when they are asked."""
    return (own for value in found if type(value) in CALLED for own in functions_of(value))


@functools.cache
def _looked_up(code: CodeType) -> tuple[frozenset[str], bool]:
    """Returns all names that code looks up, and whether one is a gradient of a weight."""
    names = {*code.co_names}
    reads = GRADIENT in code.co_consts and not names.isdisjoint(BY_NAME)
    if GRADIENT in names:
        owner: Any = None
        for line in dis.get_instructions(code):
            if line.opname in ("LOAD_ATTR", "LOAD_METHOD") and line.argval == GRADIENT:
                reads = reads or owner not in COMPUTING
            owner = line.argval
    for own in code.co_consts:
        if isinstance(own, CodeType):
            more, inner = _looked_up(own)
            names, reads = names | more, reads or inner
    return frozenset(names), reads
