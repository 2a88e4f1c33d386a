"""Finds what a run draws or keeps that no checkpoint has, so that a resumed run would differ."""

import random
from collections.abc import Iterator

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, ModelPruning
from torch import nn

from engine.callbacks.step_seed import StepSeed
from engine.steps.callback import overrides
from engine.supervised import SupervisedModule

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
BASES = (SupervisedModule, LightningModule, nn.Module, Callback)
# Methods by which an object saves what it likes.
SAVING = ("state_dict", "on_save_checkpoint", "get_extra_state")
# Callbacks of Lightning's, with what they do when a run goes on.
UNSAVED = {
    BatchSizeFinder: "it searches once more in a resumed run",
    LearningRateFinder: "it searches once more in a resumed run",
    ModelPruning: "no checkpoint has its masks",
}


def unsaved(trainer: Trainer, module: LightningModule) -> Iterator[str]:
    """Yields what will not be as it was in a resumed run, one sentence each.

    Args:
        trainer: the run's.
        module: the one that is trained.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        for kind, reason in UNSAVED.items():
            # A run that goes on leaves out Lightning's own search for a rate.
            if isinstance(callback, kind) and type(callback) is not LearningRateFinder:
                yield f"{type(callback).__name__}: not exact: {reason}."
    if not any(isinstance(callback, StepSeed) for callback in callbacks):
        yield "callbacks.step_seed is left out: not exact: a resumed run draws other numbers."
    yield from _hidden_layers(module)
    above = SupervisedModule if isinstance(module, SupervisedModule) else LightningModule
    saves_layers = overrides(module, above, SAVING)
    for owner in (*module.modules(), *callbacks):
        base = next(kind for kind in BASES if isinstance(owner, kind))
        drawn = [name for name, value in vars(owner).items() if isinstance(value, GENERATORS)]
        is_saved = overrides(owner, base, SAVING) or (isinstance(owner, nn.Module) and saves_layers)
        for name in drawn if not is_saved else ():
            how = "get_extra_state" if base is nn.Module else "on_save_checkpoint"
            yield (
                f"{type(owner).__name__}.{name}: not exact: no checkpoint has the state of this "
                f"generator.\nSave it in {how}, or draw by the functions of the modules random, "
                "numpy.random and torch: their states are saved."
            )


def _hidden_layers(module: LightningModule) -> Iterator[str]:
    """Yields where layers are kept in a list or a dict of Python's, which PyTorch does not see."""
    known = {id(part) for part in module.modules()}
    for part in module.modules():
        for name, value in vars(part).items():
            is_plain = isinstance(value, list | tuple | dict) and not name.startswith("_")
            inner = value.values() if isinstance(value, dict) else value
            layers = [one for one in (inner if is_plain else ()) if isinstance(one, nn.Module)]
            if any(id(layer) not in known and [*layer.parameters()] for layer in layers):
                yield (
                    f"{type(part).__name__}.{name}: not trained: its layers are in a "
                    f"{type(value).__name__} of Python's.\nTo train them, write "
                    f"nn.Module{'Dict' if isinstance(value, dict) else 'List'}(…)."
                )
