"""From a node of the config to an object: import, kind, signature, build. Nobody else does any of it.

A check never converts a value. What a class's arguments may be is said by the class: by its
annotations, which pydantic checks in strict mode.
"""

import functools
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.config.keys import PARTIAL, TARGET
from engine.config.limits import shown
from engine.errors import UserError, nearest

MOST_SHOWN = 15  # names of arguments in a message
FLAGS = (TARGET, PARTIAL, "_args_", "_recursive_", "_convert_")  # Hydra's own keys of a node


def build(node: Mapping[str, Any], key: str, **more: Any) -> Any:
    """Build the object that a node names, its nested objects first.

    Args:
        node: has a `_target_`.
        key: the node's, for messages.
        more: further arguments; they may be objects.
    """
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    kept = OmegaConf.create({key: dict(node)}, flags={"allow_objects": True})
    return instantiate(kept[key], _convert_="all", **more)


def check(
    values: Mapping[str, Any],
    kinds: Mapping[str, type] | None = None,
    given: Mapping[str, Sequence[str]] | None = None,
    checked: set[str] | None = None,
) -> None:
    """Check every node of a config that names an object, inner nodes first; build none.

    Args:
        values: of the config, nested.
        kinds: what the class at a key must be a subclass of; `callbacks.*` is for all keys there.
        given: arguments that the engine adds at a key.
        checked: nodes that are right already; those that are found right are added.

    Raises:
        UserError: for the first node that is wrong; names the key, the value and what is allowed.
    """
    checked = set() if checked is None else checked
    for key, node in _nodes(values):
        pattern = f"{key.rpartition('.')[0]}.*"
        if (text := f"{pattern} {node}") in checked:
            continue
        target = located(node[TARGET], f"{key}.{TARGET}")
        kind = (kinds or {}).get(key) or (kinds or {}).get(pattern)
        if kind and isinstance(target, type) and not issubclass(target, kind):
            raise UserError(f"{key}.{TARGET}={node[TARGET]}: must be a {kind.__name__}.")
        _check_call(target, node, key, (given or {}).get(pattern, ()))
        checked.add(text)


@functools.cache
def _located(path: str) -> Any:
    from hydra.utils import get_object

    return get_object(path)


def located(path: str, key: str) -> Any:
    """Import the class or function of a `_target_`.

    Raises:
        UserError: if there is none; says why.
    """
    try:
        made = _located(path)
    except Exception as error:  # whatever the module that is imported raises
        *_, reason = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
        raise UserError(f"{key}={path}: cannot be imported: {reason.strip()}") from error
    if not callable(made):
        raise UserError(f"{key}={path}: must be a class or a function.")
    return made


def _nodes(node: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the nodes with a `_target_`, the inner ones first, `optimizer` before its copies."""
    if isinstance(node, list):
        for number, inner in enumerate(node):
            yield from _nodes(inner, f"{key}.{number}")
    elif isinstance(node, dict):
        names = sorted(node, key=lambda name: name in ("module", "datamodule")) if not key else node
        for name in names if node.get("_recursive_", True) else ():
            yield from _nodes(node[name], f"{key}.{name}" if key else str(name))
        if TARGET in node:
            yield key, node


@dataclass(frozen=True)
class Arguments:
    """What a call takes: by name, its annotation or `Any`.

    Args:
        hints: of every argument by name.
        required: the names without a default.
        takes_more: whether any other name goes, too.
        defaults: of the others.
    """

    hints: Mapping[str, Any]
    required: Sequence[str]
    takes_more: bool
    defaults: Mapping[str, Any]


@functools.cache
def arguments_of(target: Callable[..., Any]) -> Arguments | None:
    """Find what a class or function takes; `**kwargs` follows `Unpack`, or the base class.

    Returns None where Python cannot tell, as for some functions written in C.
    """
    function = target.__init__ if inspect.isclass(target) else target
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return None
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # a name that exists for type checkers only
        hints = {}
    found: dict[str, Any] = {}
    required: list[str] = []
    defaults: dict[str, Any] = {}
    takes_more = False
    for parameter in parameters:
        hint = hints.get(parameter.name, Any)
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is not parameter.VAR_KEYWORD:
            found[parameter.name] = hint
            if parameter.default is parameter.empty:
                required.append(parameter.name)
            else:
                defaults[parameter.name] = parameter.default
            continue
        inner = _further(target, hint)
        takes_more = inner is None or inner.takes_more
        if inner:
            if typing.get_origin(hint) is typing.Unpack:  # a base class may be given it by its heir
                required += [name for name in inner.required if name not in found]
            found = {**found, **inner.hints, **found}
            defaults = {**inner.defaults, **defaults}
    return Arguments(found, required, takes_more, defaults)


def _further(target: Callable[..., Any], hint: Any) -> Arguments | None:
    """Return what `**kwargs` stands for: the fields of an unpacked TypedDict, or the base class's."""
    if typing.get_origin(hint) is typing.Unpack:
        fields: Any = typing.get_args(hint)[0]
        kept = typing.get_type_hints(fields, include_extras=True)
        return Arguments(kept, sorted(fields.__required_keys__), takes_more=False, defaults={})
    if not inspect.isclass(target):
        return None
    owners = [kind for kind in target.__mro__ if "__init__" in vars(kind)]
    return arguments_of(owners[1]) if len(owners) > 1 and owners[1] is not object else None


def _check_call(
    target: Callable[..., Any], node: Mapping[str, Any], key: str, given: Sequence[str]
) -> None:
    takes = arguments_of(target)
    if takes is None:
        return
    name = getattr(target, "__name__", str(target))
    for argument, value in node.items():
        if argument in FLAGS:
            continue
        if argument not in takes.hints:
            if takes.takes_more:
                continue
            raise UserError(
                f"{key}.{argument}: {name} takes no such argument."
                f"{nearest(argument, takes.hints)}{_known(takes.hints)}"
            )
        _check_value(f"{key}.{argument}", value, takes, argument, name)
    if node.get(PARTIAL) or node.get("_args_"):
        return
    for argument in takes.required:
        if argument not in node and argument not in given:
            raise UserError(f"{key}.{argument}: missing; {name} needs it.")


def _known(names: Iterable[str]) -> str:
    """Return a sentence with the names there are, unless they are too many to read."""
    some = list(names)
    return f" It takes {', '.join(some) or 'nothing'}." if len(some) <= MOST_SHOWN else ""


def _check_value(key: str, value: Any, takes: Arguments, argument: str, name: str) -> None:
    hint = takes.hints[argument]
    same = argument in takes.defaults and takes.defaults[argument] is value
    if hint is Any or same or any(True for _ in _nodes(value, "_")):
        return
    if reason := why_not(value, hint):
        words = " or ".join(dict.fromkeys(reason))
        allowed = [word for text in reason for word in text.split("'")[1::2]]
        near = nearest(str(value), allowed) if allowed else ""
        raise UserError(f"{key}={shown(value)}: must be {words}, by the signature of {name}.{near}")


def why_not(value: Any, hint: Any) -> list[str]:
    """Say what an annotation asks for that a value of the config is not: nothing if it fits.

    A config has lists only, so a list passes for a tuple; and a word for a path.
    """
    from pydantic import ValidationError

    checker = _checker(hint)
    if checker is None:
        return []
    try:
        checker.validate_python(value, strict=True)
    except ValidationError as error:
        try:
            checker.validate_json(json.dumps(value), strict=True)
        except ValidationError as other:
            plain = [e for e in (other, error) if "needs_python_object" not in _types(e)]
            return [_words(e) for e in (plain or [error])[0].errors(include_url=False)]
    return []


@functools.lru_cache(maxsize=None)
def _checker(hint: Any) -> Any:
    """Return pydantic's checker of an annotation; None where pydantic knows no such thing."""
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError

    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError as error:  # a TypedDict, say, that has a config of its own
        if error.code != "type-adapter-config-unused":
            return None
        return TypeAdapter(hint)
    except (PydanticSchemaGenerationError, TypeError, NameError):
        return None


def _types(error: Any) -> list[str]:
    return [one["type"] for one in error.errors(include_url=False)]


def _words(error: Mapping[str, Any]) -> str:
    """Return pydantic's words for what would be right."""
    text = "longer" if error["type"] == "missing" else str(error["msg"])
    for start in ("Input should be ", "Value error, ", "Assertion failed, "):
        text = text.removeprefix(start)
    return (
        (text[:1].lower() + text[1:]).replace("valid array", "list").replace("valid list", "list")
    )
