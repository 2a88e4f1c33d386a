"""Finds the keys by which the configs of runs differ, and gives them short names."""

import functools
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from engine.config.keys import CHOICES, ENGINES, FOLD, OPEN, REQUIRED, TARGET, relevant
from engine.errors import UserError, nearest
from engine.report.read.collect import Run

# What differs between the runs of a group; the parent's hash has the parent's seed.
OF_ONE_RUN = ("seed", FOLD, "parent.hash")
TOP = "config."  # begins the name of the column of a user's key that has no dot
# Nodes of functions, whose names may say nothing, such as `apply`; a class's name says what it is.
OF_FUNCTIONS = ("init", "scheduler")
MISSING = "–"  # the value of a key that a run does not have
Config = Mapping[str, Any]  # by dotted key


def differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Returns the keys that differ between runs, each with one value per run.

    Keys that define no group are left out: those that cannot change a result, seeds and the fold.
    Where a node's `_target_` differs, the node stands for all its keys, as in `optimizer: Adam`. Of
    the node's other keys, only those follow that differ between runs of the same `_target_`.
    """
    configs = without_seeds(runs)
    keys = [key for key in all_keys(configs) if varies(configs, key)]
    nodes = nodes_of(keys)
    columns: dict[str, list[Any]] = {}
    for key in keys:
        if (node := key.removesuffix(f".{TARGET}")) in nodes:
            columns[node] = column(configs, node, runs)
        elif differs_within(configs, key, [node for node in nodes if key.startswith(f"{node}.")]):
            columns[key] = column(configs, key, runs)
    return columns


def chosen(runs: Sequence[Run], names: Iterable[str]) -> dict[str, list[Any]]:
    """Returns the columns that a user asks for; a node stands for the name of its `_target_`.

    Args:
        runs: one value in each column is for each of them.
        names: of keys, dotted or short.

    Raises:
        UserError: if no run has such a key, or several keys end so.
    """
    if not (names := list(names)):
        return {}
    configs = with_orders([without_copies(run.config) for run in runs])
    leaves = all_keys(configs)
    known = [*leaves, *nodes_of(leaves)]
    keys = []
    for name in names:
        fitting = [name] if name in known else [key for key in known if key.endswith(f".{name}")]
        if not fitting:
            differ = ", ".join(differing(runs)) or "none"
            hint = nearest(name, known)
            raise UserError(f"--group-by {name}: no such key.{hint} Those that differ: {differ}.")
        if len(fitting) > 1:
            raise UserError(f"--group-by {name}: which of {', '.join(fitting)}?")
        keys += fitting
    return {key: column(configs, key, runs) for key in keys}


def apart(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Names the columns of a user's keys at the top, such as `n`, `config.n`.

    Other columns of a report have names like them: the number of runs, a mean, an error.
    """
    ours = {*REQUIRED, *ENGINES}
    names = {key: key if "." in key or key in ours else f"{TOP}{key}" for key in columns}
    return {names[key]: values for key, values in columns.items()}


def is_key(name: str, runs: Sequence[Run]) -> bool:
    """Tells whether a column has the values of a key, and not the classes of a node."""
    return any({name, name.removeprefix(TOP)} & run.config.keys() for run in runs)


def nodes_of(keys: Iterable[str]) -> list[str]:
    """Returns the nodes whose `_target_` is among dotted keys."""
    return [key.removesuffix(f".{TARGET}") for key in keys if key.endswith(f".{TARGET}")]


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Returns each dotted key's shortest end that no other has: `{"optimizer.lr": "lr", …}`."""
    ends = {
        key: [".".join(key.split(".")[-n:]) for n in range(1, key.count(".") + 2)] for key in keys
    }
    counts = Counter(end for own in ends.values() for end in own)
    return {key: next((end for end in own if counts[end] == 1), key) for key, own in ends.items()}


def distinguishing(columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """Returns the keys that suffice to tell groups apart.

    A key is left out if another one says its value: it changes only together with that one. Of
    several keys, nobody could tell: those of which few combinations were tried seem to say all.
    """
    kept: list[str] = []
    for key in columns:
        if not any(is_said_by(columns, key, own) for own in ([], *([one] for one in kept))):
            kept.append(key)
    return kept


def is_said_by(columns: Mapping[str, Sequence[Any]], key: str, others: Sequence[str]) -> bool:
    """Tells whether a key has one value only wherever some other keys have the same values."""
    return groups(columns, [*others, key]) == groups(columns, others)


def groups(columns: Mapping[str, Sequence[Any]], keys: Sequence[str]) -> int:
    """Counts the groups that some keys tell apart."""
    return len(set(zip(*(columns[key] for key in keys), strict=True))) or 1


def varies(configs: Sequence[Config], key: str) -> bool:
    """Tells whether a key differs between configs."""
    first = configs[0].get(key, MISSING)
    # What configs share has been read once, and is one object.
    if all(config.get(key, MISSING) is first for config in configs):
        return False
    return len({_typed(comparable(config, key)) for config in configs}) > 1


def defining(config: Config) -> dict[str, Any]:
    """Returns the part of a config that defines the run's group."""
    kept = relevant(without_copies(config))
    return {key: value for key, value in kept.items() if key not in OF_ONE_RUN}


def without_copies(config: Config) -> dict[str, Any]:
    """Leaves out `module.optimizer.lr`, `module.augment` and the like, which repeat a group."""
    tails = {key: key.partition(".")[2] for key in config}
    # A group without a choice is null.
    copies = {key for key, tail in tails.items() if "." in tail or tail in CHOICES}
    return {
        key: value
        for key, value in config.items()
        if key not in copies or config.get(tails[key], MISSING) != value
    }


def without_seeds(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Returns what defines the runs' groups, without the seeds of parts that follow the run's own.

    A part's seed stays where it has another value, or the same value in all runs, or where command
    lines say it, and one says another than its run's.
    """
    configs = with_orders([defining(run.config) for run in runs])
    keys = [key for key in all_keys(configs) if key.endswith(".seed")]
    varied = {key for key in keys if varies(configs, key)}
    said = [_literal(run).keys() for run in runs]
    differ = {
        key
        for run, own in zip(runs, said, strict=True)
        for key in own & varied
        if run.config.get(key) != run.seed
    }
    return [
        {
            key: value
            for key, value in config.items()
            if key not in varied or key in own & differ or value != run.seed
        }
        for config, run, own in zip(configs, runs, said, strict=True)
    ]


def with_orders(configs: Sequence[Config]) -> list[Config]:
    """Adds the names below a node, such as `augment`, where only their order differs somewhere."""
    made = list(configs)
    for node in OPEN:
        orders = [tuple(_names_below(node, config)) for config in configs]
        if len(set(orders)) > len(set(map(frozenset, orders))):
            pairs = zip(made, orders, strict=True)
            made = [{**config, node: ", ".join(order) or MISSING} for config, order in pairs]
    return made


def _names_below(node: str, config: Config) -> Iterator[str]:
    """Yields the names of what a node has, such as its callbacks, in their order."""
    names = (key.split(".")[1] for key in config if key.startswith(f"{node}."))
    return (name for name, _ in itertools.groupby(names))


def _literal(run: Run) -> dict[str, str]:
    """Returns what a run's command says by a value of its own, no reference."""
    return {key: value for key, value in run.said.items() if "${" not in value}


def differs_within(configs: Sequence[Config], key: str, nodes: Sequence[str]) -> bool:
    """Tells whether a key differs between runs whose nodes have the same `_target_`."""
    pairs = {
        (
            tuple(comparable(config, f"{node}.{TARGET}") for node in nodes),
            _typed(comparable(config, key)),
        )
        for config in configs
    }
    return len(pairs) > len({targets for targets, _ in pairs})


def all_keys(configs: Iterable[Config]) -> list[str]:
    return list(dict.fromkeys(key for config in configs for key in config))


def column(configs: Sequence[Config], key: str, runs: Sequence[Run]) -> list[Any]:
    """Returns one value per run, for people: a number, a word, the name of a node's `_target_`."""
    values = [comparable(config, key if key in config else f"{key}.{TARGET}") for config in configs]
    # Python takes 1 and 1.0 for equal: a number of batches, and all of them.
    whole = {value for value in values if isinstance(value, int)}
    values = [str(own) if isinstance(own, float) and own in whole else own for own in values]
    if any(config.get(key) is not None for config in configs):  # a node may be null in some runs
        return values
    # Two classes of one name are told apart by their modules.
    names = short_names({value for value in values if isinstance(value, str)})
    if key in OF_FUNCTIONS:
        names = _as_chosen(names, values, [_word_about(run, key) for run in runs])
    return [names.get(value, value) for value in values]


def _as_chosen(
    names: dict[str, str], targets: Sequence[str], words: Sequence[str]
) -> dict[str, str]:
    """Calls each function by the word of the command line, such as `gu` of `init=gu`.

    A function that was chosen by several words, or without one, keeps its name; all do, if else two
    had one name.
    """
    pairs = set(zip(targets, words, strict=True))
    counts = Counter(target for target, _ in pairs)
    called = names | {target: word for target, word in pairs if word and counts[target] == 1}
    return called if len(set(called.values())) == len(called) else names


def _word_about(run: Run, node: str) -> str:
    """Returns the choice of a node that a run's command line says; "" for none."""
    said = _literal(run)
    return "" if f"{node}.{TARGET}" in said else said.get(node, "")


def comparable(config: Config, key: str) -> Any:
    """Returns a value that compares: a number or a word as it is, all else as JSON.

    A word that reads like something else, such as "null", is in quotes, and so is an empty one, and
    one with what no table can show, such as the end of a line.
    """
    value = config.get(key, MISSING)
    if isinstance(value, str):
        return _word(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and not math.isnan(value) else _json(value)


def _typed(value: Any) -> Any:
    """Returns what tells 1 from 1.0, too."""
    return isinstance(value, float), value


@functools.cache
def _word(text: str) -> str:
    try:
        json.loads(text or "null")  # an empty word would look like no value
    except ValueError:
        if text.isprintable():
            return text
    return _json(text)


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)
