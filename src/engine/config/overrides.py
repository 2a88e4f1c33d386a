"""What a config may say: checked before anything is imported, built or written."""

import itertools
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from engine.config.limits import LIMITS, check, shown
from engine.config.place import CONF
from engine.errors import UserError, nearest

OPEN_NODES = ("callbacks", "logger")  # a user may add entries of his own
NEEDED = ("module", "datamodule", "optimizer", "init", "trainer", "accelerator")  # a run must have one of each





def check_command_line(words: list[str]) -> None:
    """Check every override of a command line, of all the jobs of a sweep, against the config that it changes.

    The YAML files are the schema: a key must be there, and its new value of the type of the value there.

    Raises:
        UserError: for the first that is wrong; it names the key, the value, what is allowed and the nearest right.
    """
    words = overrides_of(words)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(loader).parse_overrides(words)
        groups = [o for o in parsed if _is_choice(o)]
        values = [o for o in parsed if o not in groups and not o.key_or_group.startswith("hydra")]
        for choices in itertools.product(*map(_values, groups)):
            if not values:
                break
            chosen = [f"{o.get_key_element()}={c}" for o, c in zip(groups, choices, strict=True) if c is not None]
            config = compose("config", overrides=chosen)
            known = [*loader.list_groups(""), *_dotted_keys(config)]
            for override in values:
                _check_value(override, config, known)


def changed(config: DictConfig, words: list[str]) -> DictConfig:
    """A config with overrides applied: a group's choice replaces what the config has of that group.

    Raises:
        UserError: if an override is wrong, as for `check_command_line`.
    """
    config = config.copy()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(loader).parse_overrides(overrides_of(words))
        for override in sorted(parsed, key=lambda o: not _is_choice(o)):  # choices first
            key, value = override.key_or_group, override.value()
            if _is_choice(override):
                fresh = compose("config", overrides=[f"{key}={value}"])
                node = "trainer" if key == "accelerator" else key
                keys = ("accelerator", "devices") if key == "accelerator" else ()
                config[node] = {**config[node], **{k: fresh[node][k] for k in keys}} if keys else fresh[node]
            else:
                _check_value(override, config, _dotted_keys(config))
                OmegaConf.update(config, key, value, force_add=True)
    check_config(config)
    return config








def check_config(config: Config) -> None:
    """Check the values of a whole config, wherever they come from, against `LIMITS`."""
    whole = plain(config)  # sixty selections would take longer
    for key, limit in LIMITS.items():
        *parents, last = key.split(".")
        node: Any = whole
        for name in parents:
            node = node.get(name) if isinstance(node, dict) else None
        if isinstance(node, dict) and last in node:
            check(key, node[last], limit)


def _values(override: Override) -> list[Any]:
    """The values that an override stands for: one, all of a sweep's, or the bounds of an interval."""
    if override.is_discrete_sweep():
        return list(override.sweep_iterator())
    value: Any = override.value()
    if override.is_interval_sweep():  # Hydra makes floats of its bounds
        return [int(bound) if bound.is_integer() else bound for bound in (value.start, value.end)]
    return [value]


def overrides_of(words: list[str]) -> list[str]:
    """The overrides among the words of a command line; the others are flags of Hydra's, and their values."""
    flags = [word for word in words if word.startswith("-")]
    overrides = [word for word in words if ("=" in word and word not in flags) or word.startswith("~")]
    for word in words:
        if not flags and word not in overrides:
            raise UserError(f"{word}: not an override; write key=value, such as experiment=lenet.")
    return overrides


def _is_choice(override: Override) -> bool:
    """Whether an override chooses from a group; checks the choice."""
    group = override.key_or_group
    options = GlobalHydra.instance().config_loader().get_group_options(group)
    if override.is_delete() and group in NEEDED:
        raise UserError(f"~{group}: a run needs one of: {', '.join(options)}.")
    for choice in _values(override) if options else []:
        for name in choice if isinstance(choice, list) else [choice]:
            if str(name) not in options and not override.is_delete():
                hint = nearest(str(name), options)
                raise UserError(
                    f"{group}={shown(name)}: no such choice.{hint} {group} is one of: {', '.join(options)}."
                )
    return bool(options)


def _check_value(override: Override, config: DictConfig, known: list[str]) -> None:
    key = override.key_or_group
    if not _has(config, key):
        parent = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else None
        takes_more = key.split(".")[0] in OPEN_NODES or (isinstance(parent, DictConfig) and "_target_" in parent)
        if (override.is_add() or override.is_force_add()) and takes_more:
            return
        has = f" {key.rpartition('.')[0]} has: {', '.join(map(str, parent))}." if isinstance(parent, DictConfig) else ""
        raise UserError(f"{key}: no such key.{nearest(key, known)}{has}")
    if override.is_delete():
        return
    present = OmegaConf.select(config, key)
    for value in _values(override):
        if isinstance(value, str) and value.startswith("${"):
            continue
        if key in LIMITS:
            check(key, value, LIMITS[key])
        elif not _fits(value, present):
            raise UserError(f"{key}={shown(value)}: must be {_kind(present)}, like {shown(present)}.")


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
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[type(present)]


def _has(config: DictConfig, key: str) -> bool:
    """Whether a dotted key is there, be its value null."""
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and last in list(node)  # `in node` would resolve it


def _dotted_keys(config: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for name in map(str, config):
        child = config._get_node(name)  # not config[name], which would resolve it
        keys.append(f"{prefix}{name}")
        if isinstance(child, DictConfig):
            keys += _dotted_keys(child, f"{prefix}{name}.")
    return keys
