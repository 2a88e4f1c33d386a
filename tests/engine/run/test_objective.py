"""What a sweep compares of a run."""

from types import SimpleNamespace
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from engine.callbacks.checkpoints import Checkpoints
from engine.run.objective import compared
from engine.run.summaries import BEST_EPOCH, Objective


def test_another_callback_that_writes_checkpoints_does_not_choose_the_objective() -> None:
    """As it happened: the first ModelCheckpoint did, such as one that follows training."""
    ours = Checkpoints(every_n_steps=1, monitor="val/loss", mode="min")
    ours.best_score = 0.15
    own: list[Any] = [ModelCheckpoint(monitor="train/loss"), ours]
    trainer: Any = SimpleNamespace(checkpoint_callbacks=own, checkpoint_callback=own[0])
    found = compared(trainer, {"train/loss": 0.2, "val/loss": 0.3})
    assert found == Objective("val/loss", BEST_EPOCH, "min", 0.15)
