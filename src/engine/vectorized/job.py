"""Holds one job of a stack: its own parts, and its view of the stack's Trainer."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from engine.data.datamodule import TensorDataModule
from engine.run.checkpoint.file import WholeFileIO
from engine.run.loggers.table import MetricsCSV, Row
from engine.run.loggers.tensorboard import TensorBoard
from engine.supervised import SupervisedModule
from engine.sweep.jobs import Job
from engine.vectorized import NotStacked


class Member:
    """Holds one job of a stack, with all the parts that the job would have alone, except a Trainer.

    Args:
        job: the job.
        folder: the job's folder.
        data: the job's data module; jobs whose splits are equal share one copy of the splits.
        module: the job's module; its weights become views of the stack's weights.
        callbacks: the job's callbacks.
        loggers: the job's loggers.
        draws: whether the callbacks draw figures.
    """

    def __init__(
        self,
        job: Job,
        folder: Path,
        data: TensorDataModule,
        module: SupervisedModule,
        callbacks: Sequence[Callback],
        loggers: Sequence[MetricsCSV | TensorBoard],
        draws: bool,
    ) -> None:
        self.job, self.folder, self.data, self.module, self.draws = job, folder, data, module, draws
        self.callbacks, self.loggers = list(callbacks), list(loggers)
        self.optimizer = module.optimizer(module.parameters())
        self.began, self.ended = time.monotonic(), 0.0
        self.messages: list[logging.LogRecord] = []
        self._rows: list[Row] = []
        self.logged: dict[str, Tensor] | None = None  # by the evaluation that ends, if one does
        self.trainer: Any = None
        vars(module)["log"] = self.log

    def log(self, name: str, value: Tensor, **options: Any) -> None:
        """Takes a value that a callback logs through the module, at the end of an evaluation.

        Raises:
            NotStacked: for a value of another moment, which has a row of its own where a job is
                alone.
        """
        if self.logged is None:
            raise NotStacked(f"a callback logs {name} at another moment than an evaluation's end")
        self.logged[name] = value

    def write(self, values: dict[str, Any], step: int) -> None:
        """Adds a row for all loggers; the row is in no file before the next flush."""
        self._rows.append(Row(step, values, time.time()))

    def flush(self) -> None:
        """Writes all rows to the files."""
        rows, self._rows = self._rows, []
        for logger in self.loggers:
            logger.log_rows(rows)
            logger.save()


class TrainerOfJob:
    """Shows a job the stack's Trainer, but with the job's own folder, module, metrics and so on."""

    def __init__(self, trainer: Trainer, stack: Any, number: int) -> None:
        member = stack.members[number]
        self._trainer, self._stack, self._number, self._member = trainer, stack, number, member
        self.default_root_dir, self.draws = str(member.folder), member.draws
        self.lightning_module, self.datamodule = member.module, member.data
        self.optimizers = [member.optimizer]
        self.callbacks, self.loggers = member.callbacks, member.loggers
        self.metrics: dict[str, float | Tensor] = {}
        self.should_stop = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Returns the last value of each metric, in the job's precision.

        In 64 bits a loss of 1e39 would be finite, and the job would not count as diverged.
        """
        dtype = self.lightning_module.dtype
        return {key: torch.as_tensor(value, dtype=dtype) for key, value in self.metrics.items()}

    @property
    def checkpoint_callback(self) -> Checkpoint | None:
        return next((found for found in self.callbacks if isinstance(found, Checkpoint)), None)

    def save_checkpoint(self, path: str | Path, weights_only: bool | None = None) -> None:
        """Writes the checkpoint that the job would write alone."""
        self._member.flush()  # a kill must lose no row before a checkpoint
        checkpoint = self._stack.checkpoint_of(self._number)
        WholeFileIO(self._member.job.config).save_checkpoint(checkpoint, path)
