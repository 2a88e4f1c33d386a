"""What a sweep compares of a run."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from torch import nn

from engine.callbacks.checkpoints import Checkpoints
from engine.run.objective import compared
from engine.run.records import read
from engine.run.summaries import BEST_EPOCH, LAST_PASS, Objective, last_values
from engine.supervised import SupervisedModule
from fitting import Arrays, plain_trainer


def test_another_callback_that_writes_checkpoints_does_not_choose_the_objective() -> None:
    """As it happened: the first ModelCheckpoint did, such as one that follows training."""
    ours = Checkpoints(every_n_steps=1, monitor="val/loss", mode="min")
    ours.best_score = 0.15
    own: list[Any] = [ModelCheckpoint(monitor="train/loss"), ours]
    trainer: Any = SimpleNamespace(checkpoint_callbacks=own, checkpoint_callback=own[0])
    found = compared(trainer, {"train/loss": 0.2, "val/loss": 0.3}, [])
    assert found == Objective("val/loss", BEST_EPOCH, "min", 0.15)


X = torch.arange(13.0)[:, None]


@pytest.mark.parametrize(
    ("every", "steps_per_epoch"), [(1, None), (3, None), (8, None), (1, 2), (3, 2), (1, 8), (4, 8)]
)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_training_loss_is_that_of_all_samples_however_long_a_row_is(
    reduction: str, every: int, steps_per_epoch: int | None, tmp_path: Path
) -> None:
    """As it happened: a run was compared by its last mini-batch, here of one sample."""
    network, loss = nn.Linear(1, 1), nn.MSELoss(reduction=reduction)
    module = SupervisedModule(network, loss, optimizer=partial(torch.optim.SGD, lr=0.0))
    data = Arrays({"train": (X, X**2)}, batch_size=4, steps_per_epoch=steps_per_epoch)
    trainer = plain_trainer(tmp_path, max_epochs=-1, max_steps=8, log_every_n_steps=every)
    trainer.fit(module, data)
    columns, rows = read.rows(tmp_path / "metrics.csv")
    found = compared(trainer, last_values(columns, rows), rows)
    assert found
    assert found.name == f"train/loss, {LAST_PASS}"
    steps = 1 if reduction == "mean" else 4  # a row has the mean over steps of their sums
    of_all = loss(network(X), X**2).item() / steps
    assert found.value == pytest.approx(of_all, rel=1e-5)


@pytest.mark.parametrize(("window", "steps_per_epoch"), [(3, None), (2, 3)])
@pytest.mark.parametrize("first", [1, None])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_steps_of_several_batches_weigh_what_they_have(
    reduction: str, first: int | None, window: int, steps_per_epoch: int | None, tmp_path: Path
) -> None:
    """As it happened: all steps counted as of the last window, though an epoch's end cuts it."""
    network, loss = nn.Linear(1, 1), nn.MSELoss(reduction=reduction)
    module = SupervisedModule(network, loss, optimizer=partial(torch.optim.SGD, lr=0.0))
    data = Arrays({"train": (X, X**2)}, batch_size=4, steps_per_epoch=steps_per_epoch)
    scheduler = GradientAccumulationScheduler({0: first or window, 1: window})
    trainer = plain_trainer(tmp_path, max_epochs=8, log_every_n_steps=1, callbacks=[scheduler])
    trainer.fit(module, data)
    columns, rows = read.rows(tmp_path / "metrics.csv")
    found = compared(trainer, last_values(columns, rows), rows)
    assert found
    # Batches of 4, 4, 4 and 1 samples: the weights stay, so that each pass has one loss.
    batches = 1 if reduction == "mean" else 4
    assert found.value == pytest.approx(loss(network(X), X**2).item() / batches, rel=1e-5)
