"""Checks the values of a config: the engine's own, and each object's by its signature."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.optim import Optimizer

from engine.config import objects
from engine.config.keys import CHOICES, OPEN, PARTIAL, TARGET
from engine.config.limits import shown
from engine.config.overrides import check_values, choices_of
from engine.config.resolved import Config
from engine.errors import UserError, blamed_on
from engine.schedules import configured
from engine.steps.trainer import BlockTrainer
from engine.supervised import SupervisedModule

KINDS = {
    "datamodule": LightningDataModule,
    "module": LightningModule,
    "trainer": BlockTrainer,
    "callbacks.*": Callback,
    "logger.*": Logger,
}
GIVEN = {"logger.*": ("save_dir",)}  # arguments that the run adds
# Arguments of the Trainer that the run gives, and how else to choose them.
RUNS_OWN = {
    "logger": "choose loggers with logger=",
    "callbacks": "choose callbacks with callbacks=",
    "enable_checkpointing": "for no checkpoints, write callbacks.checkpoints=null",
    "enable_progress_bar": "for no bar, write callbacks.progress_bar=null",
    "default_root_dir": "runs have their folders below paths.log_dir",
}


def check(config: Config, checked: set[str] | None = None) -> None:
    """Checks all values of a config: the engine's own, and each object's by its signature.

    Nothing is built: `try_update` does that.

    Args:
        config: the run's.
        checked: the nodes that were right in other configs, which are not checked again.

    Raises:
        UserError: for the first value that is wrong.
    """
    check_values(config)
    for group in (*CHOICES[:2], "trainer"):
        if TARGET not in (config.get(group) or {}):
            raise UserError(f"{group}: a run needs one, with a {TARGET}.")
    for argument, instead in RUNS_OWN.items():
        if (value := config.get(f"trainer.{argument}")) is not None:
            raise UserError(f"trainer.{argument}={shown(value)}: the run gives it; {instead}")
    for group in OPEN:
        _check_names(config, group)
    objects.check(config.values_by_node, KINDS, GIVEN, checked)


def _check_names(config: Config, group: str) -> None:
    """Refuses what stands in a group of named objects without a name, or without an object."""
    for name, node in (config.get(group) or {}).items():
        if node is not None and not (isinstance(node, Mapping) and TARGET in node):
            if isinstance(node, Mapping) and name in choices_of(group):
                raise UserError(
                    f"{group}.{name}={shown(node)}: sets an object that the choice of {group} "
                    f'leaves out.\nChoose it, too: "{group}=[{name},…]", or leave it out: '
                    f"{group}.{name}=null"
                )
            raise UserError(
                f"{group}.{name}={shown(node)}: each object of {group} has a name; "
                f"in conf/{group}/NAME.yaml, write `NAME:` and, below it, `{TARGET}:` and its "
                "arguments."
            )


def try_update(config: Config, checked: set[str] | None = None) -> None:
    """Tries the optimiser over one number, and the schedule on the optimiser.

    Torch's optimisers say so which numbers they take. A user's may change what is in a file: so
    call it within `put_back`, once `check` has imported what the config names. Mistakes that may
    be of the number, its group, or the length of training, which stand for others, come up later.

    Args:
        config: as `check` takes it.
        checked: as `check` takes it.

    Raises:
        UserError: if they are wrong.
    """
    checked = set() if checked is None else checked
    node = config.get("optimizer") or {}
    schedule = config.get("scheduler")
    ends = config.get("trainer.max_epochs") is not None or config.get("trainer.max_steps") != -1
    text = f"one step {config['module'].get(TARGET)} {node} {schedule} {ends}"
    if not node.get(PARTIAL) or text in checked or not _is_optimizer(node):
        return
    checked.add(text)
    looked: list[str] = []  # at what only stands for something of the training
    with blamed_on("optimizer"):
        make = objects.build(node, "optimizer")
        try:
            optimizer = make(_Parameters(looked))
        except Exception:
            if looked and not make.func.__module__.startswith("torch.optim."):
                return  # `fit_to` tries it on the model's own
            raise
    if schedule:
        module = objects.located(config["module"][TARGET], "module")
        of_ours = SupervisedModule.configure_optimizers
        has_own_groups = getattr(module, "configure_optimizers", of_ours) is not of_ours
        is_torchs = schedule[TARGET].startswith("torch.optim.")
        has_rates = any(isinstance(value, list) for value in schedule.values())  # one a group

        def rates(interval: str, frequency: int) -> float:
            looked.append("length")
            return 100 if ends else math.inf

        with blamed_on("scheduler"):
            made = objects.build(schedule, "scheduler")
            try:
                configured(made, optimizer, rates)
            except Exception:
                is_of_groups = has_own_groups and (has_rates or not is_torchs)
                if not is_of_groups and not (ends and "length" in looked):
                    raise


class _Parameters(list[nn.Parameter]):
    """Stands for all parameters, by one matrix, as some optimisers take no others.

    Args:
        looked: gets a word when somebody looks at it.
    """

    def __init__(self, looked: list[str]) -> None:
        super().__init__([nn.Parameter(torch.zeros(1, 1))])
        self._looked = looked

    def __len__(self) -> int:
        self._looked.append("parameters")
        return super().__len__()

    def __iter__(self) -> Iterator[nn.Parameter]:
        self._looked.append("parameters")
        return super().__iter__()

    def __getitem__(self, index: Any) -> Any:
        self._looked.append("parameters")
        return super().__getitem__(index)


def _is_optimizer(node: Any) -> bool:
    target = objects.located(node["_target_"], "optimizer")
    return isinstance(target, type) and issubclass(target, Optimizer)
