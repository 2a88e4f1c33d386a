"""Where metrics go: TensorBoard, and metrics.csv, which has every number that TensorBoard gets, as a table."""

import csv
import io
import itertools
import math
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from engine.fence.lightning import prefix_of, rank_zero_experiment, writer_of
from engine.fence.tensorboard import add_row
from engine.files import whole_lines, write_whole

FIRST = ["epoch", "step"]


class Row(NamedTuple):
    """The metrics of some steps, the last of which is `step`; `time` is in seconds since 1970."""

    step: int
    values: Mapping[str, float]
    time: float = 0.0


class TensorBoard(TensorBoardLogger):
    """Lightning's, but a row of metrics is one event: as an event for each metric it costs more than a small step.

    A run has one file, which stays open from stage to stage, until `close`. TensorBoard reads a run's files in the
    order of their names, the tenth of a process before its ninth, and would forget the test's metrics.
    """

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if prefix_of(self) or any(isinstance(value, Mapping) for value in metrics.values()):
            super().log_metrics(metrics, step)
        else:
            add_row(self.experiment, metrics, step)

    @rank_zero_only
    def save(self) -> None:
        """Lightning's would add hparams.yaml: part of what lies in `.hydra/config.yaml`."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if writer_of(self) is not None:
            self.save()

    @rank_zero_only
    def close(self) -> None:
        """End the run's file, and the thread that writes it."""
        if writer := writer_of(self):
            writer.close()


class MetricsCSV(Logger):
    """Appends one row per call to `<save_dir>/metrics.csv`: epoch, step, and a column per metric.

    On disk after every row. Numbers are written so that they read back exactly. Unlike Lightning's `CSVLogger` it goes
    on with the rows of a resumed run: those of steps from `purge_step` on go, as TensorBoard hides them too.

    Args:
        save_dir: the run's folder.
        purge_step: the step that a resumed run goes on with; None keeps every row.
    """

    def __init__(self, save_dir: str | Path, purge_step: int | None = None) -> None:
        super().__init__()
        self.path = Path(save_dir) / "metrics.csv"
        self.purge_step = purge_step
        self._columns: list[str] = []

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        """Take over the rows that an interrupted run left: Lightning asks for it once, before training."""
        if not self._columns and self.path.exists():
            self._write(
                [
                    row
                    for row in self._rows()
                    if self.purge_step is None or int(row["step"]) < self.purge_step
                ]
            )
        return self.path

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """The config lies beside the table, in `.hydra/config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.log_rows([Row(step or 0, metrics)])

    def log_rows(self, rows: Iterable[Row]) -> None:
        """What `log_metrics` does with each, but in one go."""
        texts = [
            {"step": str(step), **{key: _text(value) for key, value in metrics.items()}}
            for step, metrics, _ in rows
        ]
        if new := [
            key for key in dict.fromkeys(itertools.chain(*texts)) if key not in self._columns
        ]:
            known = self._rows() if self.path.exists() else []
            self._columns = FIRST + [key for key in [*self._columns, *new] if key not in FIRST]
            self._write([*known, *texts])
        elif texts:
            lines = [
                ",".join([row.get(column, "") for column in self._columns]) + "\n" for row in texts
            ]
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                file.write("".join(lines))

    def _rows(self) -> list[dict[str, str]]:
        """The whole rows of the file."""
        reader = csv.DictReader(io.StringIO(whole_lines(self.path)))
        rows = [row for row in reader if None not in row.values()]
        self._columns = self._columns or list(reader.fieldnames or [])
        return rows

    def _write(self, rows: list[dict[str, str]]) -> None:
        file = io.StringIO()
        writer = csv.DictWriter(file, self._columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path, file.getvalue())


def _text(value: Any) -> str:
    """The shortest text that reads back as the same number."""
    number = float(value)
    return (
        str(int(number))
        if math.isfinite(number) and number.is_integer() and abs(number) < 1e15
        else repr(number)
    )


def tensorboards(trainer: Trainer) -> list[TensorBoardLogger]:
    """The TensorBoard loggers of a Trainer; there may be none."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
