"""Builds the objects of many jobs without Hydra's checks of targets, which take 1 ms a job.

`eligible.try_out` has built two of the jobs by Hydra before, which may refuse a node.
"""

import functools
from collections.abc import Collection
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from engine.checks.bad_data import are_as_right
from engine.checks.fit import check_classes, fit_to
from engine.config import objects
from engine.config.keys import PARTIAL, TARGET
from engine.config.resolved import Config
from engine.data.datamodule import TensorDataModule
from engine.errors import blamed_on
from engine.seeds import generator_states, seed_all
from engine.supervised import SupervisedModule


def make(node: Any, key: str) -> Any:
    """Builds the object that a node of the config names, as `objects.build` does.

    Args:
        node: has a `_target_`.
        key: the node's, for messages.
    """
    return _call(node, key) if _is_simple(node) else objects.build(node, key)


@blamed_on("datamodule")
def datamodule(config: Config) -> TensorDataModule:
    """Builds a job's data module, which may draw from its seed, as `build.datamodule` does."""
    _seed(config)
    data: TensorDataModule = make(config["datamodule"], "datamodule")
    return data


def has_drawn(config: Config) -> bool:
    """Tells whether the data module that was just built has drawn from the job's seed."""
    states = generator_states()
    _seed(config)
    return generator_states() != states


@blamed_on("module")
def module(
    config: Config,
    data: Any,
    tried: tuple[Any, Any] | None = None,
    files: Collection[str] = (),
) -> SupervisedModule:
    """Builds a job's module from its seed alone, as `build.module` does.

    Args:
        config: the job's.
        data: the job's.
        tried: a module of this config, but for numbers, and the data that it fits. What has the
            same weights by name and shape fits such data, too: a try takes as long as all the rest.
        files: the user's modules that the job imports, by import path.
    """
    check_classes(config, data)
    _seed(config)
    model: SupervisedModule = make(config["module"], "module")
    if tried and _shapes(model) == _shapes(tried[0]) and are_as_right(model.loss, data, tried[1]):
        if model.example_input_array is None:
            model.example_input_array = data.example()
    else:
        fit_to(model, data, config.get("trainer.precision"), files=files)
    return model


def _shapes(model: SupervisedModule) -> dict[str, Any]:
    """Returns the shapes of weights; None for one that a first forward pass is to make."""
    named = model.named_parameters()
    return {name: None if is_lazy(own) else own.shape for name, own in named}


def _seed(config: Config) -> None:
    """Seeds as seed_everything does, by which `engine.run.build` seeds.

    Where the modules of the try have used no GPU, this one does not, either.
    """
    seed_all(config["seed"])
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(config["seed"])


def _is_simple(node: Any) -> bool:
    """Tells whether a node has only targets, numbers and words: Hydra would do no more than call.

    Lists, and mappings without a `_target_`, are converted by Hydra; `objects.build` also reads
    secrets.
    """
    if not isinstance(node, dict):
        return not isinstance(node, list) and "${" not in str(node)
    flags = {key for key in node if str(key).startswith("_")}
    return TARGET in node and flags <= {TARGET, PARTIAL} and all(map(_is_simple, node.values()))


def _call(node: Any, key: str) -> Any:
    if not isinstance(node, dict):
        return node
    target = objects.located(node[TARGET], key)
    values = {
        name: _call(value, f"{key}.{name}")
        for name, value in node.items()
        if name not in (TARGET, PARTIAL)
    }
    if node.get(PARTIAL):
        return functools.partial(target, **values)
    with blamed_on(key):
        return target(**values)
