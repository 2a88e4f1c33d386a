"""Trains a small classifier by blocks of any size, and compares what runs leave to the last bit."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from engine.callbacks.checkpoints import Checkpoints
from engine.callbacks.divergence import StopOnDivergence
from engine.callbacks.step_seed import StepSeed
from engine.run.folders import LAST
from engine.steps import trainer as trainer_module
from engine.steps.block import Block
from engine.steps.callback import StepCallback
from engine.supervised import SupervisedModule
from fitting import Arrays, plain_trainer

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(31, 6)).astype(np.float32), RNG.integers(0, 3, 31)
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)


class Classifier(SupervisedModule):
    """Has batch statistics, dropout and a learning rate that changes at every other step."""

    def __init__(self, **options: Any) -> None:
        torch.manual_seed(0)
        layers = (
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.Linear(8, 3),
        )
        metrics = {"acc": MulticlassAccuracy(3, average="micro")}
        super().__init__(
            nn.Sequential(*layers), nn.CrossEntropyLoss(), metrics, **{"optimizer": SGD, **options}
        )
        self.calls: list[int] = []

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "frequency": 2},
        }


class Calls(StepCallback):
    """Notes of each call of `training_step` the first step and how many there were."""

    def __init__(self) -> None:
        # Checkpoints would have what `self.calls = …` keeps, and are compared between sizes.
        vars(self)["__calls__"] = []

    @property
    def calls(self) -> list[tuple[int, int]]:
        noted: list[tuple[int, int]] = vars(self)["__calls__"]
        return noted

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.calls.append((trainer.global_step, batch.steps if isinstance(batch, Block) else 1))


def without_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make no block end for taking long."""
    monkeypatch.setattr(trainer_module, "BLOCK_SECONDS", 1e9)


def data(**options: Any) -> Arrays:
    splits = {"train": (X, Y), "val": (X[:9], Y[:9])}
    return Arrays(splits, **{"seed": 4, "batch_size": 4, "steps_per_epoch": 13, **options})


def fit(
    folder: Path,
    steps: int,
    module: Any = None,
    served: Any = None,
    last: Path | None = None,
    **options: Any,
) -> Calls:
    """Train 2 × 13 steps, at most so many a call, with most of what a run has."""
    calls, more = Calls(), options.pop("callbacks", [])
    folder.mkdir(exist_ok=True)
    callbacks = [StepSeed(3), Checkpoints(5, "val/loss", "min"), StopOnDivergence(), calls, *more]
    options = {"max_epochs": 2, "log_every_n_steps": 3, "enable_checkpointing": True, **options}
    trainer = plain_trainer(folder, steps_per_call=steps, callbacks=callbacks, **options)
    trainer.fit(module or Classifier(), served or data(), ckpt_path=last, weights_only=True)
    return calls


def left(folder: Path) -> tuple[str, Any]:
    """metrics.csv, and last.ckpt with all that Lightning counts."""
    return (folder / "metrics.csv").read_text(), torch.load(folder / LAST, weights_only=True)


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """Two nested structures equal to the last bit."""
    if isinstance(expected, Tensor):
        assert torch.equal(found.nan_to_num(7), expected.nan_to_num(7)), where
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for number, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_same(a, b, f"{where}/{number}")
    elif expected != expected:  # NaN
        assert found != found, where
    else:
        assert found == expected, where
