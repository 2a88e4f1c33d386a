"""Ends a run on its way, by a callback, in any process."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from engine.callbacks.step_seed import StepSeed
from engine.errors import UserError

log = logging.getLogger(__name__)


class Ends(Callback):
    """Ends a run after a step: by a signal the first time only, otherwise by what Python knows.

    Args:
        how: kill, term, exit, mistake or bug, by the run's seed; a seed that is not there stays.
        first: the beginning of a file that says that the run got its signal.
    """

    def __init__(self, how: dict[int, str], first: str, step: int) -> None:
        self.all, self.first, self.step = how, Path(first), step

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        (seed,) = [
            callback.seed for callback in trainer.callbacks if isinstance(callback, StepSeed)
        ]
        self.how = self.all.get(seed)
        log.info("starts at step %d", trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step != self.step:
            return
        ends = {"kill": signal.SIGKILL, "term": signal.SIGTERM}
        first = self.first.with_suffix(f".{self.how}")
        if self.how in ends and not first.exists():
            first.touch()
            os.kill(os.getpid(), ends[self.how])
        if self.how == "exit":
            sys.exit(3)
        if self.how == "mistake":
            raise UserError("a mistake")
        if self.how == "bug":
            raise RuntimeError("a bug")


def words(how: dict[int, str], first: Path, step: int) -> list[str]:
    """Returns the overrides that give a run this callback."""
    return [
        "+callbacks.ends._target_=ending.Ends",
        f"+callbacks.ends.first={first}",
        f"+callbacks.ends.step={step}",
        "+callbacks.ends.how={" + ",".join(f"{k}:{v}" for k, v in how.items()) + "}",
    ]
