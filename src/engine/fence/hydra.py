"""Hydra: what is used of it beyond its documentation."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any, NoReturn, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_launcher import BasicLauncher as BasicLauncher
from hydra._internal.utils import _locate, get_args_parser
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf


def options_of(words: Sequence[str]) -> tuple[Namespace, list[str]]:
    """Parses a command line as `hydra.main` does, which would print its usage for a wrong one.

    Options are not abbreviated: `--experiment` would be `--experimental-rerun`.

    Returns:
        Hydra's options, the overrides among them, and the words that are none of these.

    Raises:
        ValueError: if an option has no value or a wrong one.
    """

    def refuse(message: str) -> NoReturn:
        raise ValueError(message)

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parser.allow_abbrev = False
    return parser.parse_known_args(words)


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


def own_config(loader: Any, path: str) -> tuple[dict[str, Any], bool]:
    """Reads the file of a choice, such as `optimizer/sgd`, without the files that it is made of.

    Returns:
        what stands in the file, and whether it has a defaults list.
    """
    read = loader.repository.load_config(path)
    return cast(dict[str, Any], OmegaConf.to_container(read.config)), bool(read.defaults_list)


def answer_of(ended: JobReturn) -> Any:
    """Returns what a job returned or raised: the public property would print and raise it."""
    return ended._return_value


def registries() -> Any:
    """Returns Hydra's singletons and OmegaConf's resolvers, for another process to take over."""
    return Singleton.get_state()


def take_over(state: Any) -> None:
    """Takes over the singletons and resolvers of another process."""
    Singleton.set_state(state)
