"""Hydra: what is used of it beyond its documentation."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_launcher import BasicLauncher as BasicLauncher
from hydra._internal.utils import _locate
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from omegaconf import DictConfig


def locate(path: str) -> Any:
    """Imports what a dotted path names: `hydra.utils.get_object` would log its errors, too."""
    return _locate(path)


def composed_by_hydra(loader: Any, sweep: DictConfig, words: Sequence[str]) -> DictConfig:
    """Composes the config of a sweep's job, as Hydra's launchers do."""
    composed: DictConfig = loader.load_sweep_config(sweep, list(words))
    return composed


def apply_overrides(overrides: Sequence[Override], config: DictConfig) -> None:
    """Sets the values of overrides on a composed config, as Hydra does after it has composed."""
    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), config)


def is_group(loader: Any, name: str) -> bool:
    """Tells whether there is a config group of that name."""
    return bool(loader.repository.group_exists(name))


def answer_of(ended: JobReturn) -> Any:
    """Returns what a job returned or raised: the public property would print and raise it."""
    return ended._return_value


def registries() -> Any:
    """Returns Hydra's singletons and OmegaConf's resolvers, for another process to take over."""
    return Singleton.get_state()


def take_over(state: Any) -> None:
    """Takes over the singletons and resolvers of another process."""
    Singleton.set_state(state)
