"""The words of a command line, checked against the config that they change.

Everything here answers before torch is imported. The YAML files are the schema of keys and
choices. What a class's arguments may be, the class says: see objects.py.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from engine.config.keys import OPEN, REQUIRED, TARGET
from engine.config.limits import LIMITS, check, shown
from engine.errors import UserError, nearest
from engine.fence.omegaconf import node_of


def check_command_line(words: Sequence[str], conf: Path) -> None:
    """Check every override of a command line, of all the jobs of a sweep.

    Args:
        words: of the command line.
        conf: the folder with config.yaml.

    Raises:
        UserError: for the first that is wrong; names the key, the value and what is allowed.
    """
    words = overrides_of(words)
    with initialize_config_dir(str(conf), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(loader).parse_overrides(list(words))
        groups = [override for override in parsed if _is_choice(override)]
        values = [
            override
            for override in parsed
            if override not in groups and not override.key_or_group.startswith("hydra")
        ]
        for choices in itertools.product(*map(_values, groups)):
            if not values:
                break
            chosen = [
                f"{override.get_key_element()}={choice}"
                for override, choice in zip(groups, choices, strict=True)
                if choice is not None
            ]
            config = compose("config", overrides=chosen)
            known = [*loader.list_groups(""), *_dotted_keys(config)]
            for override in values:
                _check_value(override, config, known)


def changed(config: DictConfig, words: Sequence[str], conf: Path) -> DictConfig:
    """Apply overrides to a config: a group's choice replaces what the config has of that group.

    Raises:
        UserError: if an override is wrong, as for `check_command_line`.
    """
    config = config.copy()
    with initialize_config_dir(str(conf), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(loader).parse_overrides(list(overrides_of(words)))
        for override in sorted(parsed, key=lambda override: not _is_choice(override)):
            key = override.key_or_group
            if not _is_choice(override):
                _check_value(override, config, _dotted_keys(config))
                OmegaConf.update(config, key, override.value(), force_add=True)
                continue
            fresh = compose("config", overrides=[f"{key}={override.value()}"])
            if key == "accelerator":
                config.trainer.accelerator = fresh.trainer.accelerator
                config.trainer.devices = fresh.trainer.devices
            else:
                config[key] = fresh[key]
    return config


def check_values(config: Mapping[str, Any]) -> None:
    """Check the engine's own values, wherever they come from, against their limits."""
    for key, limit in LIMITS.items():
        if key in config:
            check(key, config[key], limit)


def _values(override: Override) -> list[Any]:
    """The values that an override stands for: one, all of a sweep's, or the bounds of an interval."""
    if override.is_discrete_sweep():
        return list(override.sweep_iterator())
    value: Any = override.value()
    if override.is_interval_sweep():  # Hydra makes floats of its bounds
        return [int(bound) if bound.is_integer() else bound for bound in (value.start, value.end)]
    return [value]


def overrides_of(words: Sequence[str]) -> list[str]:
    """The overrides among the words of a command line; the others are flags of Hydra's, and their values."""
    flags = [word for word in words if word.startswith("-")]
    overrides = [
        word for word in words if ("=" in word and word not in flags) or word.startswith("~")
    ]
    for word in words:
        if not flags and word not in overrides:
            raise UserError(f"{word}: not an override; write key=value, such as experiment=lenet.")
    return overrides


def _is_choice(override: Override) -> bool:
    """Whether an override chooses from a group; checks the choice."""
    group = override.key_or_group
    options = GlobalHydra.instance().config_loader().get_group_options(group)
    if override.is_delete() and group in REQUIRED:
        raise UserError(f"~{group}: a run needs one of: {', '.join(options)}.")
    for choice in _values(override) if options else []:
        for name in choice if isinstance(choice, list) else [choice]:
            if str(name) not in options and not override.is_delete():
                hint = nearest(str(name), options)
                raise UserError(
                    f"{group}={shown(name)}: no such choice.{hint} {group} is one of: {', '.join(options)}."
                )
    return bool(options)


def _check_value(override: Override, config: DictConfig, known: Sequence[str]) -> None:
    key = override.key_or_group
    nodes = _nodes_above(config, key)
    if not _has(config, key):
        parent = nodes[-1] if nodes else None
        takes_more = key.partition(".")[0] in OPEN or (parent is not None and TARGET in parent)
        if (override.is_add() or override.is_force_add()) and takes_more:
            return
        has = f" {key.rpartition('.')[0]} has: {', '.join(map(str, parent))}." if parent else ""
        raise UserError(f"{key}: no such key.{nearest(key, known)}{has}")
    if override.is_delete():
        return
    present = OmegaConf.select(config, key)
    is_argument = any(TARGET in node for node in nodes)  # of a class, which says what it takes
    for value in _values(override):
        if isinstance(value, str) and value.startswith("${"):
            continue
        if key in LIMITS:
            check(key, value, LIMITS[key])
        elif not is_argument and not _fits(value, present):
            kind = f"must be {_kind(present)}, like {shown(present)}"
            raise UserError(f"{key}={shown(value)}: {kind}.")


def _nodes_above(config: DictConfig, key: str) -> list[DictConfig]:
    """Return the mappings that a dotted key lies in, the outer ones first."""
    names = key.split(".")[:-1]
    nodes = [
        OmegaConf.select(config, ".".join(names[:count])) for count in range(1, len(names) + 1)
    ]
    whole = len(nodes) == len([node for node in nodes if isinstance(node, DictConfig)])
    return nodes if whole else []


def _fits(value: Any, present: Any) -> bool:
    """Whether a value is of the kind of the one that it replaces."""
    if value is None or present is None or isinstance(present, str):
        return not isinstance(value, dict | list) or present is None
    if OmegaConf.is_config(present):
        return isinstance(value, dict | list)
    if isinstance(present, bool) or isinstance(value, bool):
        return isinstance(present, bool) and isinstance(value, bool)
    return isinstance(value, int if isinstance(present, int) else int | float)


def _kind(present: Any) -> str:
    if OmegaConf.is_config(present):
        return "a list or a mapping"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[
        type(present)
    ]


def _has(config: DictConfig, key: str) -> bool:
    """Whether a dotted key is there, be its value null."""
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and last in list(node)  # `in node` would resolve it


def _dotted_keys(config: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for name in map(str, config):
        child = node_of(config, name)  # not config[name], which would resolve it
        keys.append(f"{prefix}{name}")
        if isinstance(child, DictConfig):
            keys += _dotted_keys(child, f"{prefix}{name}.")
    return keys
