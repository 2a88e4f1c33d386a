"""Types with a range, for the arguments of classes that the config names, and their check.

`hidden: Count` in a constructor is all it takes: the config's value is checked against it before
a run's folder is made. Any other annotation that pydantic knows does as well.
"""

import functools
import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval, Le, Lt, Predicate

Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
NotNegative = Annotated[float, Ge(0), Lt(math.inf)]
Fraction = Annotated[float, Interval(ge=0, lt=1)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]


def is_below_its_folder(name: object) -> bool:
    """Tells whether a name is that of a folder which lies below the one that it is put into."""
    parts = str(name).split("/")
    are_short = all(len(part.encode(errors="replace")) <= LONGEST for part in parts)
    return str(name).isprintable() and are_short and not {"", ".", ".."} & set(parts)


LONGEST = 255  # bytes of a name, on the file systems of Linux and macOS
RAISED = "raised"  # the type of an error that a validator of the user's raises
PATHS = ("Path", "PurePath", "PathLike")  # a word does for one
# The errors of pydantic's on objects, of which a config has only what a `_target_` names.
OBJECTS = (
    "needs_python_object",
    "is_instance_of",
    "dataclass_exact_type",
    "set_type",
    "frozen_set_type",
)
FolderName = Annotated[str | int | float | bool, Predicate(is_below_its_folder)]


def why_not(value: Any, hint: Any) -> list[str]:
    """Says what an annotation asks for that a value of the config is not: nothing if it fits.

    A check never converts a value, but the config has lists and words only: a list passes for a
    tuple, and a word for a path. They are found by what pydantic makes of the same value in JSON.
    """
    checker = _checker(hint)
    if checker is None:
        return []
    python = _found(checker.validate_python, [value])
    if not python:  # to pydantic, nan is within all bounds
        is_nan = isinstance(value, float) and math.isnan(value) and _is_bounded(hint)
        return ["a number; nan is none"] if is_nan else []
    text = json.dumps([value], default=str)
    found = _found(checker.validate_json, text)
    if not found:  # JSON would do for an enum, too, and the class would get a word
        fitted = _fitted([value], checker.validate_json(text, strict=True))
        found = python = _found(checker.validate_python, fitted)
    in_python_only = any(map(_is_about_an_object, [*python, *found]))
    return [_words(one) for one in (python if in_python_only else found)]


def kinds_of_values(value: Any, hint: Any) -> list[str]:
    """Says which kinds of values an annotation takes, where it does not take an object.

    Args:
        value: the node that names the object, a mapping.
        hint: the annotation.
    """
    checker = _checker(hint)
    found = _found(checker.validate_python, [value]) if checker is not None else []
    own = [one for one in found if one["input"] is value or one["type"] == RAISED]
    about = [one for one in own if one["type"] != "missing"]
    # What is said of its items, or nothing, means that a mapping is right.
    return [*map(_words, about), *(["a mapping"] if len(about) < len(found) or not found else [])]


def _fitted(value: Any, read: Any) -> Any:
    """Returns a value with a tuple or a path wherever pydantic has read one; the rest as it is."""
    if isinstance(read, PurePath):
        return read
    if isinstance(value, list) and isinstance(read, list | tuple) and len(value) == len(read):
        items = list(map(_fitted, value, read))
        return tuple(items) if isinstance(read, tuple) else items
    if isinstance(value, dict) and isinstance(read, dict):
        return {key: _fitted(inner, read.get(key, inner)) for key, inner in value.items()}
    return value


def _found(validate: Callable[..., object], value: Any) -> Sequence[Mapping[str, Any]]:
    """Returns what a check of pydantic's finds wrong."""
    from pydantic import ValidationError

    try:
        validate(value, strict=True)
    except ValidationError as error:
        return error.errors(include_url=False)
    except Exception as error:  # whatever a validator of the user's raises
        text = f"what its validator takes ({type(error).__name__}: {error})"
        return [{"type": RAISED, "msg": text, "input": value, "loc": ()}]
    return []


def _is_bounded(hint: Any) -> bool:
    """Tells whether an annotation, or one that it is made of, asks for more than a type."""
    return hasattr(hint, "__metadata__") or any(map(_is_bounded, typing.get_args(hint)))


@functools.cache
def _checker(hint: Any) -> Any:
    """Returns pydantic's checker of a list with one value; None if it knows no such annotation."""
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    # A dataclass takes no config, and a list of it does.
    alone: Any = types.GenericAlias(list, (hint,))
    try:
        return TypeAdapter(alone, config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticUserError, TypeError, NameError):
        return None


def _is_about_an_object(error: Mapping[str, Any]) -> bool:
    """Tells whether an error is about what no file has; a path is found by its word."""
    return error["type"] in OBJECTS and error.get("ctx", {}).get("class") not in PATHS


def _words(error: Mapping[str, Any]) -> str:
    """Returns pydantic's words for what would be right."""
    if error["type"] in ("dict_type", "mapping_type"):  # its own word is "object"
        return "a mapping"
    text = "longer" if error["type"] == "missing" else str(error["msg"])
    for start in ("Input should be ", "Value error, ", "Assertion failed, "):
        text = text.removeprefix(start)
    text = re.sub(r"^\w+ should have (.*) after validation, not \d+$", r"a list of \1", text)
    text = text.replace("less than inf", "a finite number")
    lower = text[:1].lower() + text[1:]
    if error["loc"][-1:] == ("[key]",):
        lower = f"{lower} for each key"
    return re.sub("valid (array|list|tuple)", "list", lower)
