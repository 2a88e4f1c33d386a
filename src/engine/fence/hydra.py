"""Hydra: what is used of it beyond its documentation."""

from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_launcher import BasicLauncher as BasicLauncher
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from omegaconf import DictConfig


def composed_by_hydra(loader: Any, sweep: DictConfig, words: Sequence[str]) -> DictConfig:
    """Compose the config of a sweep's job, as Hydra's launchers do."""
    composed: DictConfig = loader.load_sweep_config(sweep, list(words))
    return composed


def apply_overrides(overrides: Sequence[Override], config: DictConfig) -> None:
    """Set the values of overrides on a composed config, as Hydra does after it has composed."""
    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), config)


def is_group(loader: Any, name: str) -> bool:
    """Tell whether there is a config group of that name."""
    return bool(loader.repository.group_exists(name))


def answer_of(ended: JobReturn) -> Any:
    """Return what a job returned or raised: the public property would print and raise it."""
    return ended._return_value


def registries() -> Any:
    """Return Hydra's singletons and OmegaConf's resolvers, for another process to take over."""
    return Singleton.get_state()


def take_over(state: Any) -> None:
    """Take over the singletons and resolvers of another process."""
    Singleton.set_state(state)
