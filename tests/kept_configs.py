"""Composes the same choices of the same config files once in a process, not once a command.

Hydra composes a command's choices, and then sets its values. The first takes a tenth of a second
or two, three times a command, and most tests make the choices of another one. What Hydra has made
of files and choices is kept here, also the mode, one run or several; each command gets a copy of
its own. `test_kept_configs.py` compares.
The processes of a test session share what they keep, by files in the session's folder. Parsed words
are kept, too, in each process.
"""

import copy
import functools
import hashlib
import os
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from hydra._internal import config_loader_impl, config_repository, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import base

import warm

ROOT = Path(__file__).parents[1]
create_defaults_list = defaults_list.create_defaults_list
compose_defaults = ConfigLoaderImpl._compose_config_from_defaults_list
create_map = defaults_list._create_interpolation_map
load_config = ConfigRepository.load_config
get_group_options = ConfigRepository.get_group_options
get_mode = Hydra.get_mode
parse_rule = OverridesParser.parse_rule
parse = functools.lru_cache(10_000)(base.parse)  # what ${…} says, as a tree that is only read


class Kept(list[Any]):
    """A defaults list, with what it was made of."""

    key: Any = None


def files(sources: Sequence[Any]) -> Iterator[tuple[str, int, int]]:
    """Yields the config files of Hydra's sources, with times and sizes; packages do not change."""
    folders = [source.path for source in sources if source.scheme() == "file"]
    for folder in folders:
        yield from _own(folder) if Path(folder).is_relative_to(ROOT) else _below(folder)


def _below(folder: str) -> Iterator[tuple[str, int, int]]:
    for top, _, names in os.walk(folder):
        for name in names:
            about = os.stat(os.path.join(top, name))
            yield os.path.join(top, name), about.st_mtime_ns, about.st_size


@functools.cache
def _own(folder: str) -> list[tuple[str, int, int]]:
    """Looks once at the files of the repository, which nobody changes while its tests run."""
    return list(_below(folder))


@functools.cache
def kept() -> dict[Any, bytes]:
    """Returns what this process keeps: files, defaults lists, configs and modes, pickled."""
    return {}


def _key(kind: str, sources: Sequence[Any], *asked: Any) -> str:
    places = [(source.provider, source.path) for source in sources]
    return repr((kind, places, sorted(files(sources)), asked))


def _copy(key: str, make: Callable[[], Any]) -> Any:
    """Returns a copy of what is kept, or keeps what is made."""
    if key not in kept():
        kept()[key] = _shared(key, make)
    return pickle.loads(kept()[key])


def _shared(key: str, make: Callable[[], Any]) -> bytes:
    """Returns, pickled, what a process of this session has made, or makes it for all of them."""
    file = Path(os.environ[warm.FOLDER], hashlib.sha256(key.encode()).hexdigest())
    try:
        return file.read_bytes()
    except FileNotFoundError:
        content = pickle.dumps(make())
    part = file.with_suffix(f".{os.getpid()}")
    part.write_bytes(content)
    part.replace(file)
    return content


def _load(self: ConfigRepository, config_path: str) -> Any:
    key = _key("file", self.get_sources(), config_path)
    return _copy(key, lambda: load_config(self, config_path))


def _options(
    self: ConfigRepository, group_name: str, results_filter: Any = ObjectType.CONFIG
) -> Any:
    key = _key("options", self.get_sources(), group_name, results_filter)
    return _copy(key, lambda: get_group_options(self, group_name, results_filter))


def _create(repo: Any, config_name: str, overrides_list: list[Any], **options: Any) -> Any:
    overrides = defaults_list.Overrides(repo, overrides_list)  # tells choices from values
    values = list(map(id, overrides.config_overrides))
    choices = [
        one.input_line
        for one in overrides_list
        if id(one) not in values and not one.is_sweep_override()
    ]
    key = _key("list", repo.get_sources(), config_name, choices, sorted(options.items()))
    made = _copy(
        key,
        lambda: create_defaults_list(
            repo=repo, config_name=config_name, overrides_list=overrides_list, **options
        ),
    )
    made.config_overrides = overrides.config_overrides
    made.defaults = Kept(made.defaults)
    made.defaults.key = key
    return made


def _map(overrides: Any, defaults: list[Any], self_added: bool) -> Any:
    """Makes what `${…}` in a defaults list may refer to, where there is any: it takes long."""
    is_read = any(default.is_interpolation() for default in defaults)
    return create_map(overrides, defaults, self_added) if is_read else None


def _compose(self: Any, defaults: Kept, repo: Any) -> Any:
    return _copy(f"config of {defaults.key}", lambda: compose_defaults(self, defaults, repo))


def _mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    """Returns the mode of a command's choices and of its words for Hydra.

    Hydra composes the whole config for that. No mode of a test follows another value.
    """
    deciding = [word for word in overrides if re.search("hydra|@", word) or _is_first(word)]
    key = _key("mode", self.config_loader.get_sources(), config_name, deciding)
    return _copy(key, lambda: get_mode(self, config_name, deciding))


def _is_first(word: str) -> bool:
    """Tells whether a word is about a name of the first level, as choices are."""
    return "." not in word.partition("=")[0]


@functools.lru_cache(10_000)
def _parsed(word: str) -> bytes:
    """Returns an override, pickled; an error of Hydra's is not kept."""
    return pickle.dumps(parse_rule(OverridesParser.create(), word, "override"))


def _parse_rule(self: OverridesParser, word: str, rule: str) -> Any:
    if rule != "override" or "shuffle(" in word:  # each time another order
        return parse_rule(self, word, rule)
    return pickle.loads(_parsed(word))


@contextmanager
def keeping() -> Iterator[None]:
    """Keeps what Hydra composes, within this context."""
    with (
        mock.patch.object(config_loader_impl, "create_defaults_list", _create),
        mock.patch.object(defaults_list, "_create_interpolation_map", _map),
        mock.patch.object(base, "parse", parse),
        mock.patch.object(ConfigLoaderImpl, "_compose_config_from_defaults_list", _compose),
        mock.patch.object(ConfigRepository, "load_config", _load),
        mock.patch.object(ConfigRepository, "get_group_options", _options),
        mock.patch.object(Hydra, "get_mode", _mode),
        mock.patch.object(OverridesParser, "parse_rule", _parse_rule),
        # Each of Hydra's questions copies the list of sources, which nobody changes in place.
        mock.patch.object(config_repository, "copy", SimpleNamespace(deepcopy=copy.copy)),
    ):
        yield


@contextmanager
def by_hydra() -> Iterator[None]:
    """Has Hydra compose everything, within this context."""
    with (
        mock.patch.object(config_loader_impl, "create_defaults_list", create_defaults_list),
        mock.patch.object(defaults_list, "_create_interpolation_map", create_map),
        mock.patch.object(base, "parse", parse.__wrapped__),
        mock.patch.object(ConfigLoaderImpl, "_compose_config_from_defaults_list", compose_defaults),
        mock.patch.object(ConfigRepository, "load_config", load_config),
        mock.patch.object(ConfigRepository, "get_group_options", get_group_options),
        mock.patch.object(Hydra, "get_mode", get_mode),
        mock.patch.object(OverridesParser, "parse_rule", parse_rule),
        mock.patch.object(config_repository, "copy", copy),
    ):
        yield
