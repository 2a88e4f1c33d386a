"""OmegaConf: what is used of it beyond its documentation."""

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from omegaconf import AnyNode, DictConfig, base
from omegaconf._utils import OmegaConfDumper, get_yaml_loader

from engine.fence import replaced

_DUMPER = OmegaConfDumper(io.StringIO())  # writes nothing


class Loader(yaml.CSafeLoader, get_yaml_loader()):  # type: ignore[misc]
    """Reads YAML as OmegaConf does, by libyaml: 1e-3 is a number, and no key stands twice."""


@contextmanager
def parsing_once() -> Iterator[None]:
    """Has OmegaConf parse each `${…}` once within this context, which takes 0.06 ms or more.

    The config of a run has some ten, and all jobs of a sweep have the same. What is parsed is a
    tree that OmegaConf only reads.
    """
    module: Any = base
    with replaced(module, parse=functools.lru_cache(10_000)(module.parse)):
        yield


def node_of(config: DictConfig, name: str) -> Any:
    """Returns the child of a config as it is written: `config[name]` would resolve it."""
    return config._get_node(name)


def resolved_in(config: DictConfig, text: str) -> Any:
    """Returns the value that a text would have in a config: `${name}` there is the config's."""
    node = AnyNode(text, parent=config)
    return node._dereference_node()._value()


def represent_word(dumper: Any, word: str) -> Any:
    """Writes a word as OmegaConf does: quoted where YAML would read something else."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", word, _style(word))


@functools.lru_cache(10_000)
def _style(word: str) -> str | None:
    """Returns the quotes that OmegaConf writes around a word, or None."""
    style: str | None = OmegaConfDumper.str_representer(_DUMPER, word).style
    return style
