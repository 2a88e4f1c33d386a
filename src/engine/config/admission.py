"""Decides which objects the config of a received folder may name: none that runs its maker's code.

Allowed packages alone would not help, as they hold dangerous functions. So the package is checked
before it is imported, and then the object itself before anybody calls it.
"""

import functools
import os
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import FunctionType
from typing import Any

from engine.config import objects
from engine.config.keys import TARGET, is_below
from engine.errors import UserError

# What the engine itself imports in a run, so that to import it is nothing new.
LIBRARIES = ("engine", "torch", "torchvision", "lightning", "torchmetrics")
# Modules whose functions do no more than calculate, or make a network.
FUNCTIONS = ("engine.schedules", "torch.nn.functional", "torch.nn.init", "torchvision.models")
CLASSES = ("torchvision.transforms",)  # its older transforms have no base class
# Modules of torch whose classes make models and serve data. Others of its classes run code or read
# pickles that they are given, such as `torch.fx.GraphModule` and the pipes of `torch.utils.data`.
DATA = tuple(f"torch.utils.data.{name}" for name in ("dataset", "sampler", "distributed"))
TORCH = ("torch.nn", "torch.optim", *DATA)
# Classes of the right kinds that run what they read: a pickle beside the data; the code of a model
# of transformers, from any folder.
MODELS = ("torchmetrics.multimodal", "torchmetrics.text.bert", "torchmetrics.text.infolm")
REFUSED = ("torchvision.datasets.lsun", *MODELS)
MOST_SHOWN = 200  # characters of a name in the message
# Each component a name without a leading underscore: `torch.__main__` would run when imported.
PATH = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+")


def admit(values: Any, package: str, folder: Path) -> None:
    """Refuses a config that names anything that a run does not need; nothing in it is called.

    Args:
        values: of the config, not resolved.
        package: the user's own.
        folder: the run's.

    Raises:
        UserError: for the first name; says why, and how to insist.
    """
    for key, value in _entries(values):
        if reason := _refusal(key, value, package):
            raise UserError(
                f"{folder}: its config was not made here, or was edited, and "
                f"{_shown(f'{key}={value}')} {reason}.\n"
                "If you trust whoever did so, add trust=true: it may then run any code."
            )


def import_nothing_of(folder: Path) -> None:
    """Takes a folder, and those in it, off the import path of this process."""
    inside = folder.resolve()
    sys.path[:] = [path for path in sys.path if not Path(path).resolve().is_relative_to(inside)]


def check_links(folder: Path) -> None:
    """Refuses symbolic links that lead out of a folder, or stand where a run's own files are.

    A train.log that leads to a file of the shell's would be run by the next shell, whoever has made
    the config beside it.

    Raises:
        UserError: for the first link; says how to insist.
    """
    home = os.path.realpath(folder)
    of_the_run = (folder, folder / ".hydra")
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *names)):
            if path.is_symlink() and (
                path.parent in of_the_run or not Path(os.path.realpath(path)).is_relative_to(home)
            ):
                raise UserError(
                    f"{folder}: {_shown(str(path.relative_to(folder)))} is a link, which leads "
                    "what the run writes elsewhere.\n"
                    "Remove it. If you trust whoever has made it, add trust=true"
                )


def _shown(text: str) -> str:
    return "".join(filter(str.isprintable, text))[:MOST_SHOWN]


def _entries(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields all values of a config, and a `_target_` whatever it is, by dotted key."""
    pairs = enumerate(node) if isinstance(node, list) else node.items()
    for name, value in pairs:
        inner = f"{key}.{name}" if key else str(name)
        if isinstance(value, dict | list) and name != TARGET:
            yield from _entries(value, inner)
        else:
            yield inner, value


def _refusal(key: str, value: Any, package: str) -> str:
    """Says why a value is refused; nothing for a value that is all right."""
    if "${" in str(value):
        return "would be read from elsewhere"
    if key.rpartition(".")[2] != TARGET:
        return ""
    if not PATH.fullmatch(str(value)):
        return "is not the path of a class"
    top = value.partition(".")[0]
    if top not in (package, *LIBRARIES) and top not in _declared():
        return f"is neither of your package {package} nor of a declared dependency"
    return "" if _is_harmless(objects.located(value, key), package) else "is nothing that runs need"


def _is_harmless(target: Any, package: str) -> bool:
    """Tells whether a run may call an object: by what it is, not by the path that leads to it."""
    if not isinstance(target, type | FunctionType):  # a method, say, or a function in C
        return False
    module = target.__module__
    if is_below(module, (package,)):
        return True
    if isinstance(target, FunctionType):
        return is_below(module, FUNCTIONS) and not target.__name__.startswith("_")
    if is_below(module, CLASSES):
        return True
    refused = is_below(module, REFUSED) or (
        is_below(module, ("torch",)) and not is_below(module, TORCH)
    )
    return issubclass(target, _kinds()) and not refused


@functools.cache
def _kinds() -> tuple[type, ...]:
    """Returns the base classes of what a run is made of."""
    from lightning.pytorch import Callback, LightningDataModule, Trainer
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.profilers import Profiler
    from lightning.pytorch.strategies import Strategy
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import Dataset, Sampler

    model = (nn.Module, Optimizer, LRScheduler)  # LightningModule and Metric are nn.Modules
    data = (LightningDataModule, Dataset, Sampler)
    return (*model, *data, Callback, Logger, Trainer, Strategy, Profiler)


@functools.cache
def _declared() -> frozenset[str]:
    """Returns the packages of the dependencies that the project of this engine declares."""
    owners = metadata.packages_distributions()
    own = owners.get(__name__.partition(".")[0], [])
    lines = [line for name in own for line in metadata.requires(name) or ()]
    declared = {_canonical(re.split(r"[^\w.-]", line)[0]) for line in lines}
    return frozenset(
        package for package, names in owners.items() if declared & set(map(_canonical, names))
    )


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
