"""From a node of the config to an object: import, kind, signature, build. Nobody else does so.

What a class's arguments may be is said by the class: by its annotations, which pydantic checks in
strict mode.
"""

import collections
import contextlib
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import EnumType
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal

from engine.config.keys import PARTIAL, PARTIALS, TARGET
from engine.config.limits import advice_on, shown
from engine.config.nested import copied
from engine.config.ranges import kinds_of_values, why_not
from engine.config.secrets import escaped, told
from engine.errors import UserError, blamed_on, nearest, nearest_in
from engine.messages import short

MOST_SHOWN = 15  # names of arguments in a message
# Hydra's own keys of a node, and what they may be.
FLAGS: dict[str, Any] = {
    TARGET: str,
    PARTIAL: bool,
    "_args_": list[Any],
    "_recursive_": bool,
    "_convert_": Literal["none", "partial", "object", "all"],
}
PLAIN = (bool, int, float, str, types.NoneType, list, tuple, dict)
OPTIONAL = ...  # the default of an argument that the call may leave out; no value equals it


class Noted(functools.partial[Any]):
    """Notes whether somebody has used a partial. A copy is the same object."""

    called = False

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.called = True
        return self.tried(*args, **options)

    @property
    def func(self) -> Any:
        """Returns the function, for whoever calls it without the partial."""
        self.called = True
        return super().func

    def __copy__(self) -> "Noted":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Noted":
        return self

    def tried(self, *args: Any, **options: Any) -> Any:
        """Returns what a call returns, which does not count as one."""
        return super().__call__(*args, **options)


def partials_of(node: Mapping[str, Any], key: str) -> dict[str, Noted]:
    """Builds the partials among the arguments of a node, by name.

    Args:
        node: has a `_target_`.
        key: the node's, for messages.
    """
    return {
        name: Noted(build(inner, f"{key}.{name}"))
        for name, inner in node.items()
        if isinstance(inner, dict) and inner.get(PARTIAL)
    }


def build(node: Mapping[str, Any], key: str, **more: Any) -> Any:
    """Builds the object that a node names, its nested objects first.

    Args:
        node: has a `_target_`.
        key: the node's, for messages.
        more: further arguments; they may be objects.

    Raises:
        UserError: for whatever the class or function raises; names the key.
    """
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from engine.fence.hydra import called

    with blamed_on(key):
        plain = told({**node}, key)
        if _is_plain(plain):
            return called(plain, key, more)
        # Hydra resolves a node, and each value of it once more.
        whole, options = (copied(copied(own, escaped), escaped) for own in (plain, more))
        kept = OmegaConf.create({key: whole}, flags={"allow_objects": True})
        return instantiate(kept[key], _convert_="all", **options)


def _is_plain(value: Any) -> bool:
    """Tells whether Hydra would leave plain values as they are, and call what they name."""
    if isinstance(value, dict):
        flags = FLAGS.keys() & value.keys()
        return flags <= {TARGET, PARTIAL} and all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return "${" not in value and value != "???"
    return isinstance(value, int | float | None)


def check(
    values: Mapping[str, Any],
    kinds: Mapping[str, type] | None = None,
    given: Mapping[str, Sequence[str]] | None = None,
    checked: set[str] | None = None,
) -> None:
    """Checks every node of a config that names an object, inner nodes first; builds none.

    Args:
        values: of the config, nested.
        kinds: what the class at a key must be a subclass of; `callbacks.*` is for all keys there.
        given: arguments that the engine adds at a key.
        checked: nodes that are right already; those that are found right are added.

    Raises:
        UserError: for the first node that is wrong; names the key, the value and what is allowed.
    """
    checked = set() if checked is None else checked
    for key, node in nodes(values):
        pattern = f"{key.rpartition('.')[0]}.*"
        if (text := f"{pattern} {node}") in checked:
            continue
        for flag, hint in FLAGS.items():
            if flag in node and (reason := why_not(node[flag], hint)):
                raise UserError(f"{key}.{flag}={shown(node[flag])}: must be {reason[0]}.")
        target = located(node[TARGET], f"{key}.{TARGET}")
        kind = (kinds or {}).get(key) or (kinds or {}).get(pattern)
        if kind and node.get(PARTIAL):
            raise UserError(f"{key}.{PARTIAL}=true: must be false; a run needs a {kind.__name__}.")
        if kind and isinstance(target, type) and not issubclass(target, kind):
            raise UserError(f"{key}.{TARGET}={node[TARGET]}: must be a {kind.__name__}.")
        _check_call(target, node, key, (given or {}).get(pattern, ()))
        checked.add(text)


@functools.cache
def located(path: str, key: str) -> Any:
    """Imports the class or function of a `_target_`.

    Raises:
        UserError: if there is none; says why.
    """
    from engine.fence.hydra import locate

    failed = f"{key}={path}: cannot be imported"
    with blamed_on(failed):  # for whatever the module that is imported raises
        try:
            target = locate(path)
        except ImportError as error:
            cause = error.__cause__ or error
            if isinstance(cause, SyntaxError):
                place = f"{short(Path(str(cause.filename)))}, line {cause.lineno}"
                raise UserError(f"{failed}: {place}: {cause.msg}.") from error
            if isinstance(cause, ModuleNotFoundError) and f"{path}.".startswith(f"{cause.name}."):
                package, _, word = str(cause.name).rpartition(".")
                no = f"{package} has no {word}." if package else f"there is no module {word}."
                raise UserError(f"{failed}: {no}{nearest_in(package, word)}") from error
            raise cause from cause.__cause__
    if not callable(target):
        raise UserError(f"{key}={path}: must be a class or a function.")
    return target


def nodes(node: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the nodes with a `_target_`, the inner ones first, `optimizer` before its copies."""
    if isinstance(node, list):
        for number, inner in enumerate(node):
            yield from nodes(inner, f"{key}.{number}")
    elif isinstance(node, dict):
        names = sorted(node, key=lambda name: name in ("module", "datamodule")) if not key else node
        for name in names if node.get("_recursive_", True) else ():
            yield from nodes(node[name], f"{key}.{name}" if key else str(name))
        if TARGET in node:
            yield key, node


@functools.cache
def arguments_of(target: Callable[..., Any]) -> Mapping[str, Parameter] | None:
    """Finds the arguments of a class or function by name, each with its annotation or `Any`.

    `**kwargs` stands for what it unpacks, or for the arguments of the base class; it is among the
    arguments where any name goes. Returns None where Python cannot tell, as for some functions
    written in C.
    """
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None
    hints = _hints(target.__init__ if inspect.isclass(target) else target)
    own: dict[str, Parameter] = {}
    further: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        hinted = parameter.replace(annotation=hints.get(name, Any))
        if parameter.kind is Parameter.VAR_KEYWORD:
            further = _further(target, hinted)
        elif parameter.kind is not Parameter.VAR_POSITIONAL:
            own[name] = hinted
    return {**own, **further, **own}


def _hints(owner: Any) -> dict[str, Any]:
    """Evaluates the annotations of a function or a TypedDict, each by itself, or gives `Any`.

    An annotation may have a name that exists for type checkers only; the others count.
    """
    found: dict[str, Any] = {}
    for name, hint in getattr(owner, "__annotations__", {}).items():
        found[name] = Any
        own = {"__annotations__": {name: hint}, "__wrapped__": owner}  # which has the globals
        own["__type_params__"] = getattr(owner, "__type_params__", ())
        with contextlib.suppress(Exception):
            found |= typing.get_type_hints(types.SimpleNamespace(**own), include_extras=True)
    return found


def _further(target: Callable[..., Any], kwargs: Parameter) -> dict[str, Parameter]:
    """Returns what `**kwargs` stands for: an unpacked TypedDict, or the base class's arguments."""
    if typing.get_origin(kwargs.annotation) is typing.Unpack:
        fields: Any = typing.get_args(kwargs.annotation)[0]
        return {
            name: Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                default=Parameter.empty if name in fields.__required_keys__ else OPTIONAL,
                annotation=hint,
            )
            for name, hint in _hints(fields).items()
        }
    owners = [kind for kind in getattr(target, "__mro__", ())[:-1] if "__init__" in vars(kind)]
    inherited = arguments_of(owners[1]) if len(owners) > 1 else None
    if inherited is None:
        return {kwargs.name: kwargs}
    return {  # the class may give its base class what the base class needs
        name: parameter.replace(default=OPTIONAL) if _is_needed(parameter) else parameter
        for name, parameter in inherited.items()
    }


def _is_needed(parameter: Parameter) -> bool:
    return parameter.default is Parameter.empty and parameter.kind is not Parameter.VAR_KEYWORD


def _check_call(
    target: Callable[..., Any], node: Mapping[str, Any], key: str, given: Sequence[str]
) -> None:
    takes = arguments_of(target)
    if takes is None:
        return
    name = getattr(target, "__name__", str(target))
    takes_more = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in takes.values())
    builds_inner = bool(node.get("_recursive_", True))
    for argument in [argument for argument in node if argument not in FLAGS]:
        if argument in takes:
            inner = f"{key}.{argument}"
            _check_value(inner, node[argument], takes[argument], name, builds_inner)
        elif not takes_more or not isinstance(argument, str):
            names = (
                f" It takes {', '.join(takes) or 'nothing'}." if len(takes) <= MOST_SHOWN else ""
            )
            hint = nearest(str(argument), takes)
            raise UserError(f"{key}.{argument}: {name} takes no such argument.{hint}{names}")
    comes_later = node.get(PARTIAL) or node.get("_args_")
    for argument, parameter in takes.items():
        if _is_needed(parameter) and not comes_later and argument not in (*node, *given):
            hint = f"\nThe module calls {key} itself: is {PARTIAL}: true missing?" * (
                key in PARTIALS
            )
            raise UserError(f"{key}.{argument}: missing; {name} needs it.{hint}")


def _check_value(key: str, value: Any, parameter: Parameter, name: str, builds_inner: bool) -> None:
    hint = parameter.annotation
    if hint is Any or parameter.default is value:
        return
    if not any(nodes(value, "_")):
        reason = why_not(value, hint)
    elif _may_be(value, hint, builds_inner):
        return
    else:
        reason = kinds_of_values(value, hint)
    if reason:
        words = " or ".join(dict.fromkeys(reason))
        allowed = [word for text in reason for word in text.split("'")[1::2]]
        meant = nearest(str(value), allowed)
        is_half = isinstance(value, dict) and bool(value.get(PARTIAL)) and TARGET not in value
        missing = f" It has {PARTIAL}, and no {TARGET}." if is_half else ""
        raise UserError(
            f"{key}={shown(value)}: must be {words}, by the signature of {name}."
            f"{meant}{missing}{_how_to_write(hint) or advice_on(key, value, hint)}"
        )


def _how_to_write(hint: Any) -> str:
    """Returns a line on the first kind of an annotation that has to be built, such as an enum."""
    kind = typing.get_origin(hint) or hint
    is_enum = isinstance(kind, EnumType)
    is_set = kind in (set, frozenset, collections.deque)
    is_named = isinstance(kind, type) and dataclasses.is_dataclass(kind)
    is_named = is_named or kind is collections.OrderedDict
    if not (is_enum or is_set or is_named):
        return next(filter(None, map(_how_to_write, typing.get_args(hint))), "")
    path = f"{kind.__module__}.{kind.__qualname__}"
    values = "_args_: [VALUE]" if is_enum else "_args_: [[VALUE]]" if is_set else "NAME: VALUE"
    return f"\nWrite a {kind.__name__} as {{{TARGET}: {path}, {values}}}."


def _may_be(node: Any, hint: Any, is_built: bool) -> bool:
    """Tells whether an annotation may take what becomes of a value with objects in it.

    With `_recursive_: false` around it, a node is not built and stays a mapping.
    """
    origin = typing.get_origin(hint)
    if not isinstance(node, dict) or TARGET not in node:
        return True
    if origin in (typing.Union, types.UnionType, Annotated):
        inner = typing.get_args(hint)[: 1 if origin is Annotated else None]
        return any(_may_be(node, one, is_built) for one in inner)
    is_partial = is_built and bool(node.get(PARTIAL))
    made = located(node[TARGET], TARGET) if is_built else dict
    kind = functools.partial if is_partial else made
    if not isinstance(kind, type):  # a function may return anything
        return True
    if origin is Callable:
        return any("__call__" in vars(own) for own in kind.__mro__)
    owner = origin or hint
    if owner in (Any, Literal) or not isinstance(owner, type):
        return owner is not Literal
    if typing.is_typeddict(owner):
        return not is_partial
    # Of a class's objects only plain kinds are told: a ModuleDict serves as a Mapping and is none.
    # A partial serves where a class is called.
    is_told = owner in PLAIN or (is_partial and owner is not type)
    return not is_told or _is_subclass(kind, owner)


def _is_subclass(kind: type, owner: type) -> bool:
    try:
        return issubclass(kind, owner)
    except TypeError:  # a protocol, say, of which Python cannot tell
        return True
