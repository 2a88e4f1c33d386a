"""One job of a stack: what it would have alone, and the stack's Trainer as it sees it."""

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
from engine.run.checkpoint import WholeFileIO
from engine.run.loggers import MetricsCSV, Row
from engine.supervised import SupervisedModule
from engine.sweep.jobs import Job
from engine.vectorized.events import BufferedTensorBoard


class Member:
    """One job of a stack: what it would have alone, but for a Trainer.

    Args:
        job: it.
        folder: its own.
        data: likewise; it shares splits with other jobs where they are the same.
        module: likewise; its weights become views of the stack's.
        callbacks: likewise.
        loggers: likewise.
        draws: whether its callbacks are to draw figures.
    """

    def __init__(
        self,
        job: Job,
        folder: Path,
        data: TensorDataModule,
        module: SupervisedModule,
        callbacks: Sequence[Callback],
        loggers: Sequence[MetricsCSV | BufferedTensorBoard],
        draws: bool,
    ) -> None:
        self.job, self.folder, self.data, self.module, self.draws = job, folder, data, module, draws
        self.callbacks, self.loggers = list(callbacks), list(loggers)
        self.optimizer = module.configure_optimizers()
        self.began, self.ended = time.monotonic(), 0.0
        self.said: list[logging.LogRecord] = []
        self._rows: list[Row] = []
        self.logged: dict[str, Tensor] = {}  # by the evaluation that is going on
        self.trainer: Any = None
        vars(module)["log"] = self.log

    def log(self, name: str, value: Tensor, **options: Any) -> None:
        """What callbacks log through the module."""
        self.logged[name] = value

    def write(self, values: dict[str, Any], step: int) -> None:
        """A row, for all loggers."""
        self._rows.append(Row(step, values, time.time()))

    def flush(self) -> None:
        """Have all rows in the files."""
        rows, self._rows = self._rows, []
        for logger in self.loggers:
            logger.log_rows(rows)
            if isinstance(logger, BufferedTensorBoard):
                logger.flush()


class TrainerOfJob:
    """The stack's Trainer as one of its jobs sees it: with the job's own folder, module, metrics and the like."""

    def __init__(self, trainer: Trainer, stack: Any, number: int) -> None:
        member = stack.members[number]
        self._trainer, self._stack, self._number = trainer, stack, number
        self.default_root_dir, self.draws = str(member.folder), member.draws
        self.lightning_module, self.datamodule, self.optimizers = (
            member.module,
            member.data,
            [member.optimizer],
        )
        self.callbacks, self.loggers = member.callbacks, member.loggers
        self.metrics: dict[str, float | Tensor] = {}
        self.should_stop = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """The last value of each metric, in the job's precision: 1e39 is finite in 64 bits only."""
        dtype = self.lightning_module.dtype
        return {key: torch.as_tensor(value, dtype=dtype) for key, value in self.metrics.items()}

    @property
    def checkpoint_callback(self) -> Checkpoint | None:
        return next(
            (callback for callback in self.callbacks if isinstance(callback, Checkpoint)), None
        )

    def save_checkpoint(self, path: str | Path, weights_only: bool | None = None) -> None:
        """The checkpoint that the job would write alone."""
        self._stack.members[self._number].flush()  # no row before a checkpoint is lost
        WholeFileIO().save_checkpoint(self._stack.checkpoint_of(self._number), path)
