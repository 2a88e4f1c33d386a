"""The words of a command line, checked against the config that they change.

Everything here answers before torch is imported. The YAML files are the schema of keys and
choices. What a class's arguments may be, the class says: see objects.py.
"""

import copy
import difflib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

from engine.config.keys import (
    CHOICES,
    FOLDERS,
    OPEN,
    PARTIAL,
    PARTIALS,
    REQUIRED,
    TARGET,
    is_below,
)
from engine.config.limits import LIMITS, PATH, Limit, check, shown
from engine.config.nested import dotted
from engine.config.objects import MOST_SHOWN
from engine.config.words import REFUSED, is_multirun, parsed_words
from engine.errors import UserError, blamed_on, nearest
from engine.fence.hydra import apply_overrides, is_group, own_config, swept_values

# The values that may replace a value of a type; null may replace any.
KINDS = {
    DictConfig: (dict | None, "a mapping"),
    ListConfig: (list | None, "a list"),
    bool: (bool | None, "true or false"),
    int: (int | None, "a whole number"),
    float: (float | None, "a number"),
    str: (str | int | float | bool | None, "a word"),
    NoneType: (Any, "anything"),
}
WORD = str | int | float | bool | None
SURELY = 0.75  # a word so alike is what was meant
EVERY_RUN = ("name", "threads", "seed", "paths", "sweep")  # needs these keys
MOST_JOBS = 100_000  # of a sweep: to make the list of them takes minutes
FOLDER = "the engine makes the folder of a run; choose it by paths.log_dir=DIR and name=NAME."
NOT_BY_WORDS = {
    "hydra.run.dir": FOLDER,
    "hydra.sweep.subdir": FOLDER,
    "hydra.output_subdir": FOLDER,
    "hydra.overrides": "Hydra itself notes there what the command says.",
    "hydra.runtime": "Hydra itself notes there what it has found.",
    "hydra.searchpath": REFUSED["config_dir"],
    "hydra.callbacks": "Hydra's callbacks are chosen in conf/config.yaml.",
}
LOGGING = ("hydra/job_logging", "hydra/hydra_logging")
SWEEPER = "hydra/sweeper"
ENUMERATING = ("grid", "basic")  # the sweepers that run every combination of the values


def check_command_line(words: Sequence[str], conf: Path) -> None:
    """Checks every override of a command line, of all the jobs of a sweep.

    Args:
        words: of the command line.
        conf: the folder with config.yaml.

    Raises:
        UserError: for the first that is wrong; names the key, the value and what is allowed.
    """
    with initialize_config_dir(str(conf), version_base="1.3"):
        check_overrides(words)


def check_overrides(words: Sequence[str]) -> None:
    """Does what `check_command_line` does, where Hydra knows the folder with config.yaml."""
    parsed = parsed_words(words, lambda: _known(compose("config", overrides=[])))
    _check_hydras(parsed)
    _check_sweep(words, parsed)
    choosing = [override for override in parsed if _is_choice(override)]
    setting = [
        override
        for override in parsed
        if override not in choosing and not override.key_or_group.startswith("hydra")
    ]
    added = [override for override in choosing if _adds(override)]
    for override in added:
        _check_is_new(override, [own for own in choosing if own not in added])
    hydras = [
        override
        for override in parsed
        if override.key_or_group.startswith("hydra.") and not _adds(override)
    ]
    for choices in itertools.product(*map(_values, choosing)) if setting or hydras else ():
        chosen = [
            f"{override.get_key_element()}={choice}"
            for override, choice in zip(choosing, choices, strict=True)
            if choice is not None
        ]
        if hydras:
            _check_keys_of_hydras(hydras, chosen)
        config = compose("config", overrides=chosen)
        for override in setting:
            _check_value(override, config, _known)
            # Later words may build on it.
            if _adds(override) and not override.is_sweep_override():
                config = copy.deepcopy(config)
                with suppress(HydraException):  # which Hydra says when it composes the line
                    apply_overrides([override], config)


def changed(config: DictConfig, words: Sequence[str], conf: Path) -> DictConfig:
    """Applies overrides to a config: a group's choice replaces what the config has of that group.

    Raises:
        UserError: if an override is wrong, as for `check_command_line`.
    """
    config = config.copy()
    with initialize_config_dir(str(conf), version_base="1.3"):
        for override in sorted(parsed_words(words), key=lambda override: not _is_choice(override)):
            key = override.key_or_group
            if override.is_sweep_override():
                raise UserError(f"{override.input_line}: has several values; give one.")
            if not _is_choice(override):
                _check_value(override, config, _dotted_keys)
                OmegaConf.update(config, key, override.value(), force_add=True)
                continue
            if _adds(override):
                _check_is_new(override, [])
            fresh = compose("config", overrides=[f"{key}={override.value()}"])
            if key == "accelerator":
                for name in ("accelerator", "devices"):
                    config.trainer[name] = fresh.trainer[name]
            else:
                config[key] = fresh[key]
    return config


def default_of(key: str, conf: Path) -> Any:
    """Returns what conf/ says of a key, resolved."""
    with initialize_config_dir(str(conf), version_base="1.3"):
        return OmegaConf.select(compose("config"), key)


def check_values(config: Mapping[str, Any]) -> None:
    """Checks the engine's own values, wherever they come from, against their limits."""
    absent = object()
    for key, limit in LIMITS.items():
        value = config.get(key, absent)
        if value is not absent:
            check(key, value, limit)
        elif is_below(key, EVERY_RUN):
            raise UserError(f"{key}: missing; conf/config.yaml needs it.")
    for key in FOLDERS:  # of a data module, whose class says all else
        if config.get(key) == "":
            check(key, "", PATH)


def _check_hydras(parsed: Sequence[Override]) -> None:
    """Refuses keys of Hydra's by which it would act before anything else is checked."""
    for override in parsed:
        key = override.key_or_group
        for own, advice in NOT_BY_WORDS.items():
            if is_below(key, (own,)) or is_below(own, (key,)):
                raise UserError(f"{override.input_line}: {advice}")
        if key in LOGGING and _values(override) != ["none"]:  # they write a file, or lines twice
            raise UserError(f"{override.input_line}: must be none; the engine shows and writes it.")


def _check_keys_of_hydras(overrides: Sequence[Override], chosen: Sequence[str]) -> None:
    """Refuses a key that Hydra's own config does not have; names the choices that bring it."""
    config = compose("config", overrides=list(chosen), return_hydra_config=True)
    known = _dotted_keys(config)
    override = next((own for own in overrides if own.key_or_group not in known), None)
    if override is None:
        return
    key = override.key_or_group
    node, _, name = key.rpartition(".")
    group = node.replace(".", "/")
    loader = GlobalHydra.instance().config_loader()
    choices = config.hydra.runtime.choices
    options = loader.get_group_options(group) if group in choices else []
    others = [one for one in options if name in own_config(loader, f"{group}/{one}")[0]]
    is_of = f" of {group}={choices[group]}" if options else ""
    how = f" Choose one that has it: {group}={' or '.join(others)}." if others else ""
    meant = nearest(key, known)
    how = how or f"{meant}{_how_to_set(override, meant) if options else ''}"
    raise UserError(f"{key}: no such key{is_of}.{how}")


def _how_to_set(override: Override, meant: str) -> str:
    """Returns a line that says how to add a key; nothing where another one is surely meant."""
    # Names of Lightning's are long, and alike in their ends.
    name, close = (key.rpartition(".")[2] for key in (override.key_or_group, meant.rstrip("?")))
    alike = difflib.SequenceMatcher(None, name, close.rpartition(" ")[2]).ratio()
    return f"\nIf the class takes it, add it: +{override.input_line}" if alike < SURELY else ""


def _adds(override: Override) -> bool:
    """Tells whether a word adds what is not there: `+` or `++`."""
    return override.is_add() or override.is_force_add()


def _check_sweep(words: Sequence[str], parsed: Sequence[Override]) -> None:
    """Refuses several values without -m, and no jobs or more than a sweep can have."""
    swept = [str(override.input_line) for override in parsed if override.is_sweep_override()]
    if swept and not is_multirun(words):
        key, _, values = swept[0].partition("=")
        is_one = "(" in values or (key in REQUIRED and key not in OPEN)
        listed = "" if is_one else f" A list is written {key}=[{values}]."
        raise UserError(f"{swept[0]}: has several values; add -m for a sweep.{listed}")
    jobs = math.prod(len(_values(override)) for override in parsed)
    if jobs < 1 or (jobs > MOST_JOBS and _sweeper(parsed) in ENUMERATING):
        raise UserError(f"{' '.join(swept)}: a sweep has 1 to {MOST_JOBS:,} jobs.")


def _sweeper(parsed: Sequence[Override]) -> str:
    """Returns the choice of hydra/sweeper, of the command line or of conf/."""
    words = [str(own.input_line) for own in parsed if own.key_or_group == SWEEPER]
    config = compose("config", overrides=words, return_hydra_config=True)
    return str(config.hydra.runtime.choices[SWEEPER])


def _known(config: DictConfig) -> list[str]:
    """Returns what the words of a command line may begin with."""
    return [*GlobalHydra.instance().config_loader().list_groups(""), *_dotted_keys(config)]


def _values(override: Override) -> list[Any]:
    """Returns the values of an override, or the bounds of an interval.

    Of a sweep that is too long, these are its first values, one more than there may be jobs.
    """
    value: Any = override.value()
    if override.is_discrete_sweep():
        # Hydra makes a list of a range to shuffle it, however long it is.
        is_range = isinstance(value, RangeSweep)
        with blamed_on(str(override.input_line)):  # range(0,1,0)
            values = value.range() if is_range else swept_values(override)
            return list(itertools.islice(values, MOST_JOBS + 1))
    if override.is_interval_sweep():  # Hydra makes floats of its bounds
        bounds = (value.start, value.end)
        return [int(bound) if float(bound).is_integer() else bound for bound in bounds]
    return [value]


def _is_choice(override: Override) -> bool:
    """Tells whether an override chooses from a group; checks the choice."""
    group = override.key_or_group
    loader = GlobalHydra.instance().config_loader()
    # To ask for options takes Hydra 10 ms.
    options = loader.get_group_options(group) if is_group(loader, group) else []
    if group == SWEEPER:  # Hydra's own checks no job before it begins; grid runs the same jobs
        options = [option for option in options if option != "basic"]
    if options and override.package == "":
        raise UserError(f"{override.input_line}: write {group}=CHOICE, or a place behind the @.")
    if override.is_delete():
        if group in REQUIRED:
            raise UserError(f"~{group}: a run needs one of: {', '.join(options)}.")
        if options and not isinstance(override.value(), str | None):
            raise UserError(f"{override.input_line}: write ~{group}.")
        return bool(options)
    for choice in _values(override) if options else []:
        if isinstance(choice, list) and group in REQUIRED and group not in OPEN:
            raise UserError(f"{override.input_line}: a run has one {group}; choose one.")
        for name in choice if isinstance(choice, list) else [choice]:
            folder, _, last = str(name).rpartition("/")
            if last not in (loader.get_group_options(f"{group}/{folder}") if folder else options):
                hint = nearest(str(name), options)
                known = f"{group} is one of: {', '.join(options)}."
                how = _how_to_add(group, str(name))
                raise UserError(f"{group}={shown(name)}: no such choice.{hint} {known}{how}")
    return bool(options)


def _check_is_new(override: Override, others: Sequence[Override]) -> None:
    """Refuses to add a choice to a group that has one; says how to replace it, or to have both.

    Args:
        override: adds the choice.
        others: the other choices of the line, which may bring the one that the group has.
    """
    word = str(override.input_line).lstrip("+")
    place, _, choice = word.partition("=")
    group = override.key_or_group
    are_one = not any(own.is_sweep_override() for own in (override, *others))
    words = [str(own.input_line) for own in others] if are_one else []
    before, present = (
        compose("config", overrides=line, return_hydra_config=True).hydra.runtime.choices
        for line in ([], words)
    )
    if place in before or place in present:
        own = present.get(place)  # not there if it is a list
        is_known = place in OPEN and are_one and own not in (None, "none")
        both = f', or both: "{group}=[{own},{choice.strip("[]")}]"' if is_known else ""
        raise UserError(f"{override.input_line}: {group} has a choice; write {word}{both}.")
    if override.is_force_add():
        raise UserError(f"{override.input_line}: write +{word}.")


def choices_of(group: str) -> list[str]:
    """Returns the choices of a group, as far as a command has a config folder."""
    is_there = GlobalHydra.instance().is_initialized()
    return GlobalHydra.instance().config_loader().get_group_options(group) if is_there else []


def _how_to_add(group: str, path: str) -> str:
    """Returns a line that says how to choose a class; nothing for groups without classes."""
    is_path = "." in path and all(map(str.isidentifier, path.split(".")))
    if not is_path or group not in (*CHOICES, *OPEN):
        return ""
    loader = GlobalHydra.instance().config_loader()
    options = loader.get_group_options(group)
    for choice in options:
        config, has_defaults = own_config(loader, f"{group}/{choice}")
        values = dotted(config).items()
        targets = [str(value) for key, value in values if key.rpartition(".")[2] == TARGET]
        if _short(path) in map(_short, targets):
            # A choice of callbacks replaces the default ones.
            replaces = group == "callbacks" and choice != "default" and not has_defaults
            word = f'"{group}=[default,{choice}]"' if replaces else f"{group}={choice}"
            return f"\nTo choose this class, write {word}."
    name = path.rpartition(".")[2].lower()
    name = f"my_{name}" if name in options else name
    lines = [f"{TARGET}: {path}", *[f"{PARTIAL}: true"] * (group in PARTIALS), "ARGUMENT: VALUE"]
    if group in OPEN:
        lines = [f"{name}:", *(f"  {line}" for line in lines)]
    text = ", ".join(f"`{line}`" for line in lines)
    return (
        f"\nTo choose a class of your own, write conf/{group}/{name}.yaml with the lines {text}, "
        f"and then {group}={name}."
    )


def _short(path: str) -> tuple[str, str]:
    """Returns package and name of a class, which often has a longer path, too."""
    return path.partition(".")[0], path.rpartition(".")[2]


def _check_value(
    override: Override, config: DictConfig, known_in: Callable[[DictConfig], list[str]]
) -> None:
    key = override.key_or_group
    above, _, name = key.rpartition(".")
    nodes = _nodes_above(config, key)
    is_whole = len(nodes) == 1 + above.count(".") + bool(above)
    is_argument = any(TARGET in node for node in nodes)  # of a class, which says what it takes
    if not is_whole or name not in list(nodes[-1]):  # `in node` would resolve it
        takes_more = key.partition(".")[0] in OPEN or is_argument
        if _adds(override) and takes_more:
            return
        known = known_in(config)
        if not nodes and above in known:
            raise UserError(f"{key}: {above} has no keys; write {above}={{{name}: VALUE}}.")
        meant = nearest(key, known)
        are_many = is_whole and len(nodes[-1]) > MOST_SHOWN and meant
        names = ", ".join(map(str, nodes[-1])) if is_whole and above and not are_many else ""
        has = f" {above} has: {names}." if names else ""
        # What is not there has no arguments, but it may be named.
        is_new = takes_more and (is_whole or is_argument or key.endswith(TARGET))
        is_new = is_new and not override.is_delete()
        add = _how_to_set(override, meant) if is_new or (above == "" and _adds(override)) else ""
        if add and above == "" and _adds(override):
            add = "\nA key of your own has its place in a file of conf/experiment."
        raise UserError(f"{key}: no such key.{meant}{has}{add}")
    if override.is_delete():
        if any(is_below(own, (key,)) for own in LIMITS):
            raise UserError(f"~{key}: every run needs it; give it another value.")
        return
    present = OmegaConf.select(config, key)
    hint, kind = KINDS[type(present)]
    if is_argument:  # Hydra merges a list or a mapping into what is there
        hint = hint | WORD if OmegaConf.is_config(present) else Any
    limit = LIMITS.get(key, Limit(hint, f"{kind}, like {shown(present)}"))
    for value in _values(override):
        is_said_later = isinstance(value, str) and (value == MISSING or value.startswith("${"))
        if not is_said_later:
            check(key, value, limit)


def _nodes_above(config: DictConfig, key: str) -> list[DictConfig]:
    """Returns the mappings above a dotted key, as far as there are, the outermost first.

    There are none if a value is in the place of one.
    """
    nodes = [config]
    names = key.split(".")[:-1]
    for number, name in enumerate(names, 1):
        if name not in list(nodes[-1]):
            break
        inner = OmegaConf.select(config, ".".join(names[:number]))
        if not isinstance(inner, DictConfig):
            return []
        nodes.append(inner)
    return nodes


def _dotted_keys(config: DictConfig) -> list[str]:
    """Returns the keys of all values, and before them those of the mappings that they are in."""
    values: Any = OmegaConf.to_container(config, resolve=False)
    parts = (itertools.accumulate(key.split("."), "{}.{}".format) for key in dotted(values))
    return list(dict.fromkeys(itertools.chain.from_iterable(parts)))
