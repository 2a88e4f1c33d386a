"""What tells runs apart: the keys of their configs that differ, under short names."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.errors import UserError, nearest
from engine.report.read.collect import Run
from engine.run.identity import relevant

TARGET, MISSING = "_target_", "–"
Config = Mapping[str, Any]


def differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The keys that differ between runs, each with one value per run; what is left out defines no group.

    Where a node's `_target_` differs, the node stands for all its keys, `optimizer: Adam`; of its numbers only those
    follow that differ within the same choice.
    """
    configs = [defining(run.config) for run in runs]
    configs = without_seeds(configs, [run.seed for run in runs])
    keys = [key for key in all_keys(configs) if len({value_of(config, key) for config in configs}) > 1]
    nodes = [key.removesuffix(f".{TARGET}") for key in keys if key.endswith(f".{TARGET}")]
    columns: dict[str, list[Any]] = {}
    for key in keys:
        if (node := key.removesuffix(f".{TARGET}")) in nodes:
            columns[node] = column(configs, node)
        elif differs_within(configs, key, [node for node in nodes if key.startswith(f"{node}.")]):
            columns[key] = column(configs, key)
    return columns


def chosen(runs: Sequence[Run], names: Iterable[str]) -> dict[str, list[Any]]:
    """The columns that a user asks for, by a key's dotted or short name; a node stands for the name of its choice.

    Raises:
        UserError: if no run has such a key, or several keys end so.
    """
    configs = [without_copies(run.config) for run in runs]
    leaves = all_keys(configs)
    known = [*leaves, *(key.removesuffix(f".{TARGET}") for key in leaves if key.endswith(f".{TARGET}"))]
    keys = []
    for name in names:
        fitting = [name] if name in known else [key for key in known if key.endswith(f".{name}")]
        if not fitting:
            differ = ", ".join(differing(runs)) or "none"
            raise UserError(f"--group-by {name}: no such key.{nearest(name, known)} Those that differ: {differ}.")
        if len(fitting) > 1:
            raise UserError(f"--group-by {name}: which of {', '.join(fitting)}?")
        keys += fitting
    return {key: column(configs, key) for key in keys}


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Each dotted key's shortest end that no other has: `{"optimizer.lr": "lr", …}`."""
    keys = list(keys)
    ends = {key: [".".join(key.split(".")[-n:]) for n in range(1, key.count(".") + 2)] for key in keys}
    common = Counter(end for key in keys for end in ends[key])
    return {key: next((end for end in ends[key] if common[end] == 1), key) for key in keys}


def telling(columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """The keys that suffice to tell the groups apart: without those that change only together with earlier ones."""
    kept: list[str] = []
    groups: set[tuple[Any, ...]] = {()}
    for key in columns:
        finer = set(zip(*(columns[k] for k in [*kept, key]), strict=True))
        if len(finer) > len(groups):
            kept, groups = [*kept, key], finer
    return kept


def defining(config: Config) -> dict[str, Any]:
    """A config less what cannot change the result, what stands in it twice, and what a group is taken over."""
    kept = relevant(without_copies(config))
    return {key: value for key, value in kept.items() if key not in ("seed", "datamodule.fold")}


def without_copies(config: Config) -> dict[str, Any]:
    """Less `module.optimizer.lr` and the like, which repeat `optimizer.lr`."""
    tails = {key: key.partition(".")[2] for key in config}
    return {k: v for k, v in config.items() if "." not in tails[k] or config.get(tails[k], MISSING) != v}


def without_seeds(configs: Sequence[Config], seeds: Sequence[Any]) -> list[dict[str, Any]]:
    """Less the seeds of parts that are the run's; one that has a value of its own, the same in all runs, stays."""
    keys = [key for key in all_keys(configs) if key.endswith(".seed")]
    varied = {key for key in keys if len({value_of(config, key) for config in configs}) > 1}
    return [
        {key: value for key, value in config.items() if key not in varied or value != seed}
        for config, seed in zip(configs, seeds, strict=True)
    ]


def differs_within(configs: Sequence[Config], key: str, nodes: Sequence[str]) -> bool:
    """Whether a key differs between runs that made the same choices for the nodes that it is part of."""
    values: dict[tuple[Any, ...], set[Any]] = {}
    for config in configs:
        choice = tuple(value_of(config, f"{node}.{TARGET}") for node in nodes)
        values.setdefault(choice, set()).add(value_of(config, key))
    return any(len(inner) > 1 for inner in values.values())


def all_keys(configs: Iterable[Config]) -> list[str]:
    return list(dict.fromkeys(key for config in configs for key in config))


def column(configs: Iterable[Config], key: str) -> list[Any]:
    """One value per run, for people: a number, a word, the name of a choice."""
    found = [value_of(c, key) if key in c else value_of(c, f"{key}.{TARGET}") for c in configs]
    chosen_nodes = all(key not in c for c in configs)
    return [v.rpartition(".")[2] if chosen_nodes and isinstance(v, str) else v for v in found]


def value_of(config: Config, key: str) -> Any:
    """A value that compares and sorts: numbers as they are, all else as the config file has it."""
    value = config.get(key, MISSING)
    if isinstance(value, str) or (isinstance(value, int | float) and value == value and not isinstance(value, bool)):
        return value
    return json.dumps(value, ensure_ascii=False)
