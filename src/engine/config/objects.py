"""engine.config.objects"""

import functools
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from engine.config.resolved import Config, plain

_made_before: set[str] = set()  # nodes less their numbers


def make(config: Config, key: str) -> Any:
    """What `instantiate` makes of a node, in a tenth of the time if it has made one before that had other numbers."""
    as_plain = plain(config[key])
    form = repr(_without_numbers(as_plain))
    if form in _made_before:
        return _made(as_plain, key)
    made = instantiate(OmegaConf.create({key: as_plain})[key])
    if _is_simple(as_plain):
        _made_before.add(form)
    return made


def _without_numbers(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_numbers(value) for key, value in node.items()}
    return None if isinstance(node, int | float) and not isinstance(node, bool) else node


def _is_simple(node: Any) -> bool:
    """Whether there are only targets, numbers and words in it."""
    if not isinstance(node, dict):
        return not isinstance(node, list)
    flags = {key for key in node if str(key).startswith("_")}
    return "_target_" in node and flags <= {"_target_", "_partial_"} and all(map(_is_simple, node.values()))


def _made(node: Any, key: str) -> Any:
    """The object of a simple node; says what is wrong as `instantiate` does."""
    if not isinstance(node, dict):
        return node
    target = _target(node["_target_"])
    values = {
        name: _made(value, f"{key}.{name}") for name, value in node.items() if name not in ("_target_", "_partial_")
    }
    if node.get("_partial_"):
        return functools.partial(target, **values)
    try:
        return target(**values)
    except Exception as error:
        text = f"Error in call to target '{target.__module__}.{target.__qualname__}':\n{error!r}"
        raise InstantiationException(f"{text}\nfull_key: {key}") from error


_target = functools.cache(get_object)
