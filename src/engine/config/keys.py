"""Says what each key of the config means, for every room that treats some keys differently."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

TARGET = "_target_"
PARTIAL = "_partial_"

# Config groups of which a run must choose one: they make the result.
CHOICES = ("module", "datamodule", "optimizer", "init", "scheduler", "augment")
PARTIALS = ("optimizer", "init", "scheduler")  # functions, which the module calls
REQUIRED = (*CHOICES, "trainer", "accelerator")
# Nodes that a run builds. Other objects are part of a run if one of these refers to them.
BUILT = ("module", "datamodule", "trainer", "callbacks", "logger")
# Nodes with objects that the engine reads by itself: a trial of a search has a callback there.
OWN = ("sweep",)
# Keys that the engine reads by itself, besides these.
ENGINES = ("name", "threads", "seed", "init_from", "compile", "paths", "parent", *OWN)
# Config groups whose files change other nodes, and are none.
PRESETS = ("experiment", "debug")
# Nodes to which users add entries of their own.
OPEN = ("callbacks", "logger", "augment")
# Folders and files. They are made absolute, because a resumed run may start in another working
# directory. The first two are the places of others, which begin with them.
PATHS = ("paths.data_dir", "paths.log_dir")
FOLDERS = (*PATHS, "datamodule.data_dir", "datamodule.cache_dir", "init_from")
# The folder that has conf/, in each config of a command.
ROOT = "${root:}"
# Values that the run's seed gives.
SEEDS = ("seed", "datamodule.seed", "callbacks.step_seed.seed")
FOLD = "datamodule.fold"
# The class of a callback that ends training with a mean of weights.
AVERAGES = "StochasticWeightAveraging"
# The length of the training.
LENGTHS = ("trainer.max_epochs", "trainer.max_steps")
# How a sweep treats its jobs, as the config of each job's run has it: however it is, a run is the
# same.
TREATMENT = {"retry": None, "force": False, "dry_run": False, "wait": False}
# Devices of one process. Any other number shares the samples otherwise: it changes at the least
# rounding and dropout, and of data modules of others, batches and their number.
DEVICES, ONE = "trainer.devices", (1, "auto")
# Keys that cannot change a result: a name, a place, what is shown, which device computes. Of some,
# single values can, see `relevant`.
STRATEGY = "trainer.strategy"
IRRELEVANT = (
    "name",
    "paths",
    "parent.run",  # where it lies; its hash and its step count
    "sweep",
    "logger",  # but for whether there is a table, see `Config.relevant`
    "callbacks.progress_bar",
    "datamodule.cache_dir",
    "datamodule.num_workers",
    "trainer.accelerator",
    DEVICES,
    STRATEGY,
    "trainer.steps_per_call",
    "trainer.detect_anomaly",
    "trainer.profiler",
)
# How the words begin for strategies that leave weights and gradients whole: on one device, or DDP.
WHOLE = ("auto", "single_device", "ddp")
# Overrides that `evaluate` takes: the data and the device may be others than in training.
EVALUATED_WITH = ("datamodule", "accelerator", "trainer")


@functools.cache  # jobs of a sweep have the same keys
def is_below(key: str, nodes: tuple[str, ...]) -> bool:
    """Tells whether a dotted key is one of some nodes, or lies below one of them."""
    return f"{key}.".startswith(tuple(f"{node}." for node in nodes))


def orders(node: Any, key: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yields the names in each mapping whose order may change a result, by the mapping's key.

    A class takes its arguments by name, and a run reads the top of a config by name. All other
    mappings are handed on in their order: transforms, callbacks, an argument that is a mapping.
    """
    is_mapping = isinstance(node, dict)
    if is_mapping and key and TARGET not in node:
        yield key, [name for name in node if not is_below(f"{key}.{name}", IRRELEVANT)]
    for name, inner in node.items() if is_mapping else enumerate(node):
        if isinstance(inner, dict | list):
            yield from orders(inner, f"{key}.{name}" if key else str(name))


def relevant(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values, by dotted key, that can change a result.

    A secret counts by the name of its variable, as its value is not known. The data folder counts
    relative to `paths.data_dir`, and a run to begin from relative to `paths.log_dir`: the same may
    lie elsewhere. Several processes count by their number. A strategy that is an object may round
    gradients on their way, or be a user's own.
    """
    kept = {k: v for k, v in flat.items() if not is_below(k, IRRELEVANT) or _counts(k, v)}
    for key, home in zip(("datamodule.data_dir", "init_from"), PATHS, strict=True):
        place = kept.get(key)
        above = str(flat.get(home))
        if isinstance(place, str) and PurePath(place).is_relative_to(above):
            kept[key] = str(PurePath(place).relative_to(above))
    return kept


def _counts(key: str, value: Any) -> bool:
    """Tells whether a value can change a result, though other values of its key cannot."""
    if key == STRATEGY:
        return not str(value or "auto").startswith(WHOLE)
    return (key == DEVICES and value not in ONE) or is_below(key, (STRATEGY,))
