"""Objects and YAML of many jobs that differ only in numbers: made in a tenth of the time.

Hydra instantiates a node first, and may refuse it. A node that then differs only in numbers is
called directly; what goes wrong is said as Hydra says it.
"""

import functools
import os
import pickle
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from hydra.errors import InstantiationException
from lightning.pytorch import LightningModule, seed_everything

from engine.config import objects
from engine.config.keys import PARTIAL, TARGET
from engine.config.resolved import Config
from engine.run import build, folders

_made_before: set[str] = set()  # nodes less their numbers


def make(values: Mapping[str, Any], key: str) -> Any:
    """Make the object that a node names."""
    node = values[key]
    form = repr(_without_numbers(node))
    if form in _made_before:
        return _made(node, key)
    made = objects.build(node, key)
    if _is_simple(node):
        _made_before.add(form)
    return made


def module(config: Config, data: Any) -> LightningModule:
    """Make a job's module, as `build.module` does."""
    build.check_classes(config, data)
    _seed(config["seed"])
    model: LightningModule = make(config, "module")
    build.fit_to(model, data)
    return model


def as_yaml(config: Config) -> str:
    """Return a config as YAML: most entries are common to all jobs, and written once."""
    return "".join(_entry(pickle.dumps(entry)) for entry in config.values_by_node.items())


@functools.lru_cache(maxsize=1000)
def _entry(pickled: bytes) -> str:
    return folders.as_yaml(dict([pickle.loads(pickled)]))


def _without_numbers(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_numbers(value) for key, value in node.items()}
    return None if isinstance(node, int | float) and not isinstance(node, bool) else node


def _is_simple(node: Any) -> bool:
    """Tell whether there are only targets, numbers and words in a node."""
    if not isinstance(node, dict):
        return not isinstance(node, list)
    flags = {key for key in node if str(key).startswith("_")}
    return TARGET in node and flags <= {TARGET, PARTIAL} and all(map(_is_simple, node.values()))


def _made(node: Any, key: str) -> Any:
    if not isinstance(node, dict):
        return node
    target = objects.located(node[TARGET], key)
    values = {
        name: _made(value, f"{key}.{name}")
        for name, value in node.items()
        if name not in (TARGET, PARTIAL)
    }
    if node.get(PARTIAL):
        return functools.partial(target, **values)
    try:
        return target(**values)
    except Exception as error:
        name = f"{target.__module__}.{target.__qualname__}"
        text = f"Error in call to target '{name}':\n{error!r}\nfull_key: {key}"
        raise InstantiationException(text) from error


_has_gpu = functools.cache(torch.accelerator.is_available)  # it loads a library every time


def _seed(seed: int) -> None:
    """Seed as Lightning does, but on a CPU without asking PyTorch's many backends: half a ms."""
    if _has_gpu():
        seed_everything(seed, workers=True, verbose=False)
        return
    os.environ |= {"PL_GLOBAL_SEED": str(seed), "PL_SEED_WORKERS": "1"}
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
