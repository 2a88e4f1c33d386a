"""Holds a plain Trainer for tests, data made of arrays, and a reader of metrics.csv."""

import csv
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from numpy.typing import ArrayLike
from torch.optim import SGD, Adam, AdamW, RMSprop

from engine.data.datamodule import TensorDataModule
from engine.data.split import Split
from engine.run.loggers.table import MetricsCSV
from engine.steps.callback import StepCallback
from engine.steps.trainer import BlockTrainer

OPTIMIZERS: dict[str, Any] = {
    "sgd": partial(SGD, lr=0.05),
    "weight decay": partial(SGD, lr=0.05, weight_decay=0.03),
    "momentum": partial(SGD, lr=0.05, momentum=0.9),
    "nesterov": partial(SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "dampening": partial(SGD, lr=0.05, momentum=0.9, dampening=0.3),
    "adam": partial(Adam, lr=0.01),
    "adam with weight decay": partial(Adam, lr=0.01, betas=(0.8, 0.95), weight_decay=0.02),
    "adamw": partial(AdamW, lr=0.01, weight_decay=0.1),
    "rmsprop": partial(RMSprop, lr=0.01, alpha=0.9, weight_decay=0.02),
    "rmsprop, centred": partial(RMSprop, lr=0.01, momentum=0.9, centered=True),
}


class Arrays(TensorDataModule):
    """Serves splits given as pairs (inputs, targets) of arrays, in one batch by default."""

    def __init__(self, splits: dict[str, tuple[ArrayLike, ArrayLike]], **options: Any) -> None:
        super().__init__(**{"seed": 0, "batch_size": len(splits["train"][0]), **options})
        self.given = splits

    def load(self) -> dict[str, Split]:
        return {
            name: Split(torch.as_tensor(x), torch.as_tensor(y))
            for name, (x, y) in self.given.items()
        }


def plain_trainer(folder: Path, **options: Any) -> BlockTrainer:
    """Returns a Trainer on one CPU that only logs to `folder/metrics.csv`, a row for each step.

    The Trainer takes the steps in blocks, where this is possible.
    """
    defaults = {
        "steps_per_call": 100,
        "accelerator": "cpu",
        "devices": 1,
        "default_root_dir": folder,
        "logger": MetricsCSV(folder),
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return BlockTrainer(**{**defaults, **options})


class Crashes(StepCallback):
    """Ends the run before a step, as a kill would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step == self.step

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("crash")


def columns(folder: Path, *names: str) -> list[list[float]]:
    """Returns columns of metrics.csv, from the rows with a value in the first of the columns."""
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[names[0]]]
    return [[float(row[name]) for row in rows] for name in names]
