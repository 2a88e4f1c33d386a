"""Hydra: what is used of it beyond its documentation."""

import pickle
import re
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, cast

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.basic_launcher import BasicLauncher as BasicLauncher
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra._internal.utils import _locate, get_args_parser
from hydra.core.default_element import DefaultsTreeNode, GroupDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from engine.errors import UserError
from engine.fence import replaced


@contextmanager
def composing_once() -> Iterator[None]:
    """Has Hydra compose the same choices once within this context, in which no config file changes.

    Hydra composes choices, which takes it a quarter of a second, and then sets values. A command
    has it compose three times: for the check, to find the mode, and to run. Each job of a sweep is
    another time.
    """
    module: Any = config_loader_impl
    create_list = module.create_defaults_list
    compose: Any = ConfigLoaderImpl._compose_config_from_defaults_list
    load: Any = ConfigRepository.load_config
    lists: dict[str, DefaultsList] = {}
    kept: dict[str, bytes] = {}

    def create_once(
        repo: Any,
        config_name: str | None,
        overrides_list: list[Override],
        prepend_hydra: bool,
        skip_missing: bool,
    ) -> Any:
        values = Overrides(repo, overrides_list).config_overrides
        own = [id(override) for override in values]
        choices = [
            (override.get_key_element(), override.value())
            for override in overrides_list
            if id(override) not in own and not override.is_sweep_override()
        ]
        key = repr((repo.get_sources(), config_name, prepend_hydra, choices))
        if key not in lists:
            made = partial(
                create_list,
                repo=repo,
                config_name=config_name,
                overrides_list=overrides_list,
                prepend_hydra=prepend_hydra,
            )
            try:
                lists[key] = made(skip_missing=False)
            except ConfigCompositionException as error:  # a group without a choice, say
                if said := _chosen_twice(error):
                    raise UserError(said) from None
                return made(skip_missing=skip_missing)
            except RecursionError as error:
                raise UserError(_circle(error)) from None
        return replace(lists[key], config_overrides=values)

    def compose_once(self: Any, defaults: list[Any], repo: Any) -> Any:
        key = repr((repo.get_sources(), defaults))
        return _copy(kept, key, partial(compose, self, defaults, repo))

    def load_once(self: Any, config_path: str) -> Any:
        return _copy(kept, repr((self.sources, config_path)), partial(load, self, config_path))

    with (
        replaced(module, create_defaults_list=create_once),
        replaced(ConfigLoaderImpl, _compose_config_from_defaults_list=compose_once),
        replaced(ConfigRepository, load_config=load_once),
    ):
        yield


def _circle(error: RecursionError) -> str:
    """Says which file's defaults lead back to it, as the calls that went too deep have them."""
    frames = (frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__))
    paths = [str(own["path"]) for own in frames if {"path", "overrides"} <= set(own)]
    first = next((number for number, path in enumerate(paths) if path in paths[number + 1 :]), 0)
    names = [*dict.fromkeys(paths[first:]), paths[first]]
    return f"conf/{names[0]}.yaml: its defaults lead back to it: {', '.join(names)}."


def _chosen_twice(error: ConfigCompositionException) -> str:
    """Says which file lacks an `override`, by the trees of files that Hydra has read; or ""."""
    if not (group := re.match(r"Multiple values for (\S+)\. ", str(error))):
        return ""
    frames = (frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__))
    kept = [tree for own in frames for tree in own.get("children", ())]
    trees = [tree for tree in kept if isinstance(tree, DefaultsTreeNode)]
    for tree in trees:  # a list that grows
        for own in tree.children or ():
            node: Any = own.node if isinstance(own, DefaultsTreeNode) else own
            trees += [own] if isinstance(own, DefaultsTreeNode) else []
            if isinstance(node, GroupDefault) and node.get_override_key() == group[1]:
                file = f"conf/{tree.node.get_config_path()}.yaml"
                meant = f"`override /{group[1]}: {node.get_name()}`"
                return f"{file}: {group[1]} is chosen already: write {meant}"
    return ""


def _copy(kept: dict[str, bytes], key: str, make: Callable[[], Any]) -> Any:
    """Returns a copy of what is kept; keeps what is made, if pickle knows its classes."""
    if key in kept:
        return pickle.loads(kept[key])
    made = make()
    with suppress(pickle.PicklingError, AttributeError, TypeError):  # a class within a function
        kept[key] = pickle.dumps(made)  # five times as fast as a copy
    return made


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


def called(node: Mapping[str, Any], key: str, more: Mapping[str, Any]) -> Any:
    """Builds the object that a node names, its nested objects first, as `instantiate` does.

    Hydra makes a config of a node, merges and copies it, and makes plain values of it again. That
    takes ten times as long as what is left here: Hydra's own checks of targets, and the calls.

    Args:
        node: has a `_target_`, no other key of Hydra's but `_partial_`, and plain values.
        key: the node's, for messages.
        more: further arguments, which stay what they are.
    """
    from hydra._internal import target_policy

    own = {name: value for name, value in node.items() if name not in more}
    digest = target_policy._EXPECTED_TARGET_POLICY_DIGEST
    with target_policy._target_policy_context(target_policy._validated_target_policy(digest)):
        return _called(own, key, more)


def _called(value: Any, key: str, more: Mapping[str, Any]) -> Any:
    from hydra._internal.instantiate._instantiate2 import _call_target, _resolve_target

    if isinstance(value, list):
        return [_called(one, f"{key}[{number}]", {}) for number, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    target = _resolve_target(value["_target_"], key) if "_target_" in value else None
    made = {name: _called(one, f"{key}.{name}", {}) for name, one in value.items()}
    if target is None:
        return made
    del made["_target_"]
    is_partial = made.pop("_partial_", False)
    return _call_target(target, is_partial, (), {**made, **more}, key)


def composed_by_hydra(loader: Any, sweep: DictConfig, words: Sequence[str]) -> DictConfig:
    """Composes the config of a sweep's job, as Hydra's launchers do."""
    composed: DictConfig = loader.load_sweep_config(sweep, list(words))
    return composed


def apply_overrides(overrides: Sequence[Override], config: DictConfig) -> None:
    """Sets the values of overrides on a composed config, as Hydra does after it has composed."""
    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), config)


def swept_values(override: Override) -> Iterator[Any]:
    """Yields the values of a sweep over choices as they are in jobs: Hydra keeps their quotes."""
    return override.sweep_iterator(transformer=Override._convert_value)


def with_number(override: Override, number: int, text: str) -> Override:
    """Returns what Hydra parses of a text that sets the key of an override to a number."""
    return replace(override, _value=number, input_line=text)


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


def merged_files(words: Sequence[str]) -> list[tuple[str, str]]:
    """Returns what the config is merged of, in order; Hydra is initialized.

    Returns:
        paths below conf/, such as optimizer/sgd, each with the node that it is merged into.
    """
    loader = GlobalHydra.instance().config_loader()
    found = loader.compute_defaults_list("config", list(words), RunMode.RUN).defaults
    return [(str(one.config_path), one.package or "") for one in found]


def answer_of(ended: JobReturn) -> Any:
    """Returns what a job returned or raised: the public property would print and raise it."""
    return ended._return_value


def registries() -> Any:
    """Returns Hydra's singletons and OmegaConf's resolvers, for another process to take over."""
    return Singleton.get_state()


def take_over(state: Any) -> None:
    """Takes over the singletons and resolvers of another process."""
    Singleton.set_state(state)
