"""Each value of a metric is told once, by whom it was logged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Trainer
from torch import Tensor, nn

from engine.steps.following import FollowsMetric
from engine.supervised import SupervisedModule
from fitting import Arrays, plain_trainer

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 2)), RNG.normal(size=(12, 1))


class Logs(SupervisedModule):
    """Logs the number of the step at which something ends."""

    def on_validation_epoch_end(self) -> None:
        if self.global_step != 6:  # not in the third one
            self.log("val/step", float(self.global_step))

    def on_train_epoch_end(self) -> None:
        self.log("epoch/step", float(self.global_step))


class Notes(FollowsMetric):
    """Notes each value, and the step at which it was told."""

    def __init__(self, monitor: str) -> None:
        self.monitor, self.told = monitor, list[tuple[float, int]]()

    def on_value(self, trainer: Trainer, module: Any, value: Tensor) -> None:
        self.told.append((value.item(), trainer.global_step))


@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
@pytest.mark.parametrize(
    ("monitor", "steps"),
    [("val/step", [2, 4, 8]), ("epoch/step", [4, 8]), ("nobody's", [])],
)
def test_a_value_is_told_by_who_logs_it(monitor: str, steps: list[int], tmp_path: Path) -> None:
    """Validation is after each second step, an epoch has four."""
    notes = Notes(monitor)
    trainer = plain_trainer(
        tmp_path, callbacks=[notes], max_epochs=2, val_check_interval=0.5, steps_per_call=1
    )
    data = Arrays({"train": (X, Y), "val": (X, Y)}, seed=0, batch_size=3)
    trainer.fit(Logs(nn.Linear(2, 1).double(), nn.MSELoss()), data)
    assert notes.told == [(float(step), step) for step in steps]
    trainer.validate(trainer.lightning_module, data, verbose=False)
    assert len(notes.told) == len(steps)
