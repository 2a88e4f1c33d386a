"""Each value of a metric is told once, by whom it was logged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from engine.steps.following import FollowsMetric
from engine.supervised import SupervisedModule
from fitting import Arrays, plain_trainer

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 2)), RNG.normal(size=(12, 1))


class Logs(SupervisedModule):
    """Logs the number of the step at which something ends."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        step = float(self.global_step + 1)
        self.log("each/step", step)
        self.log("both", -step)
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        if self.global_step != 6:  # not in the third one
            self.log("val/step", float(self.global_step))
            self.log("both", float(self.global_step))

    def on_train_epoch_end(self) -> None:
        if self.current_epoch != 1:
            self.log("epoch/step", float(self.global_step))


class Notes(FollowsMetric):
    """Notes each value, and the step at which it was told."""

    def __init__(self, monitor: str) -> None:
        self.monitor, self.told = monitor, list[tuple[float, int]]()

    def on_value(self, trainer: Trainer, module: Any, value: Tensor) -> None:
        self.told.append((value.item(), trainer.global_step))


class Reads(Callback):
    """Reads all metrics, in most hooks."""

    def read(self, trainer: Trainer, *args: Any) -> None:
        assert dict(trainer.callback_metrics) is not None

    on_validation_epoch_start = on_validation_end = on_train_epoch_end = read
    on_train_batch_end = read  # type: ignore[assignment]


@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
@pytest.mark.parametrize(
    ("monitor", "every", "steps"),
    [
        ("val/step", 2, [2, 4, 8, 10, 12]),
        ("val/step", 3, [3, 7, 11]),  # within an epoch, at whose end nothing is told
        ("epoch/step", 2, [4, 12]),
        ("both", 3, [3, 7, 11]),
        ("each/step", 2, [4, 8, 12]),
        ("nobody's", 2, []),
    ],
)
def test_a_value_is_told_by_who_logs_it(
    monitor: str, every: int, steps: list[int], tmp_path: Path
) -> None:
    """An epoch has four steps. Another one that reads the metrics makes them anew."""
    notes = Notes(monitor)
    options: Any = {"val_check_interval": every, "max_epochs": 3, "steps_per_call": 1}
    trainer = plain_trainer(tmp_path, callbacks=[notes, Reads(), Notes(monitor)], **options)
    data = Arrays({"train": (X, Y), "val": (X, Y)}, seed=0, batch_size=3)
    trainer.fit(Logs(nn.Linear(2, 1).double(), nn.MSELoss()), data)
    assert notes.told == [(float(step), step) for step in steps]
    trainer.validate(trainer.lightning_module, data, verbose=False)
    assert len(notes.told) == len(steps)


@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
@pytest.mark.parametrize(
    ("monitor", "steps"),
    [("each/step", [4, 8, 12]), ("epoch/step", [4, 12]), ("val/step", [])],
)
def test_without_a_validation_each_epoch_tells_a_value(
    monitor: str, steps: list[int], tmp_path: Path
) -> None:
    """So does Lightning's ModelCheckpoint, which is the best of the same epochs."""
    notes, best = Notes(monitor), ModelCheckpoint(monitor=monitor, save_top_k=-1, filename="{step}")
    options: Any = {"max_epochs": 3, "steps_per_call": 1, "enable_checkpointing": True}
    trainer = plain_trainer(tmp_path, callbacks=[notes, best] if steps else [notes], **options)
    data = Arrays({"train": (X, Y)}, seed=0, batch_size=3)
    trainer.fit(Logs(nn.Linear(2, 1).double(), nn.MSELoss()), data)
    assert notes.told == [(float(step), step) for step in steps]
    written = {path.stem for path in tmp_path.rglob("*.ckpt")}
    assert {f"step={step}" for step in steps} <= written
