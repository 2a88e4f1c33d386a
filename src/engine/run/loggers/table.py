"""Writes metrics to metrics.csv, one row for some steps of training or for an evaluation."""

import csv
import io
import itertools
import logging
import math
import zlib
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from engine.config.nested import dotted
from engine.errors import UserError
from engine.fence.lightning import DummyLogger, rank_zero_experiment
from engine.files import OwnFile
from engine.run.records import read

log = logging.getLogger(__name__)

FIRST = ["epoch", "step"]


class Row(NamedTuple):
    """Has the metrics of some steps, the last of which is `step`.

    `time` is in seconds since 1970; None: now.
    """

    step: int
    values: Mapping[str, float]
    time: float | None = None


class Mark(NamedTuple):
    """Says how many rows a table has, and has a sum of their steps, CRC-32."""

    rows: int = 0
    steps: int = 0

    def after(self, steps: Iterable[str]) -> "Mark":
        """Returns the mark behind further rows, of which these are the steps."""
        more = list(steps)
        text = "".join(f"{step}\n" for step in more)
        return Mark(self.rows + len(more), zlib.crc32(text.encode(), self.steps))


class NoWriter:
    """Stands where TensorBoard's writer would be, in a run without TensorBoard."""

    def __getattr__(self, name: str) -> Any:
        raise NoTensorBoard(
            f"self.logger.experiment.{name}: needs TensorBoard; choose logger=tensorboard."
        )


class NoTensorBoard(UserError, AttributeError):
    """Says that a module wants TensorBoard; `hasattr` takes it for an attribute that is missing."""


class MetricsCSV(Logger):
    """Appends one row per call to `<save_dir>/metrics.csv`: epoch, step, and a column per metric.

    Each row is on disk at once. Numbers are written so that they read back exactly. Unlike
    Lightning's `CSVLogger`, this one keeps the rows of a resumed run. It drops the rows after
    `until`, whatever their steps are: who logs by hand chooses any step.

    Args:
        save_dir: the run's folder.
        purge_step: the step that a resumed run goes on with; None keeps every row.
    """

    name = ""
    version = ""

    def __init__(self, save_dir: str | Path, purge_step: int | None = None) -> None:
        super().__init__()
        self.path = Path(save_dir) / "metrics.csv"
        self.purge_step = purge_step
        self.mark = Mark()  # behind the rows so far; a checkpoint has it
        self.until: Mark | None = None  # the one of the checkpoint that a run goes on from
        self._columns: list[str] = []
        self._file = OwnFile(self.path)

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @property
    @rank_zero_experiment
    def experiment(self) -> NoWriter:
        """Keeps the rows of an interrupted run; Lightning asks for this once, before training."""
        if not self._columns and self.path.exists():
            kept = self.kept()
            self.mark = _behind(kept)
            columns, _ = read.rows(self.path)
            # A column that has lost all its values comes anew, where a run that went on has it.
            left = {*FIRST, *(name for row in kept for name, text in row.items() if text)}
            self._write(kept, [name for name in columns if name in left])
        return NoWriter()

    def kept(self) -> list[dict[str, str]]:
        """Returns the rows that are there, but for those that a resumed run writes again.

        Where some of the rows before `until` are gone, these are the rows of earlier steps.

        Raises:
            BrokenFile: if the file cannot be read.
        """
        _, rows = read.rows(self.path)
        if self.until and _behind(before := rows[: self.until.rows]) == self.until:
            return before
        end = math.inf if self.purge_step is None else self.purge_step
        return [row for row in rows if int(row["step"]) < end]

    def lost(self) -> str:
        """Says which rows before `until` are lost; '' if none are."""
        count, _ = self.until or Mark()
        try:
            rows = self.kept()
        except read.BrokenFile as broken:
            return f"its {count} rows are lost: {broken.reason}"
        if not self.until or _behind(rows) == self.until:
            return ""
        until = f", the last of them of step {rows[-1]['step']}" if rows else ""
        if len(rows) >= count:
            return f"its first {count} rows have other steps: there are {len(rows)}{until}"
        return f"{count - len(rows)} of {count} rows are lost: {len(rows)} are left{until}"

    def put_aside(self) -> None:
        """Renames the table, if it cannot be read."""
        try:
            self.kept()
        except read.BrokenFile:
            self.path.rename(self.path.with_suffix(".unusable"))

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Writes nothing: the config lies beside the table, in `.hydra/config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.log_rows([Row(step or 0, dotted(metrics))])

    def log_rows(self, rows: Iterable[Row]) -> None:
        """Appends several rows, with one write."""
        texts = [
            {"step": str(step), **{key: _text(value) for key, value in metrics.items()}}
            for step, metrics, _ in rows
        ]
        self.mark = self.mark.after(text["step"] for text in texts)
        if not set().union(*texts) <= set(self._columns):
            self._add(texts, is_changed=bool(self._columns) and self._file.is_changed())
        elif texts and not self._file.append(_lines(texts, self._columns).encode("utf-8")):
            self._add(texts, is_changed=True)

    @rank_zero_only
    def save(self) -> None:
        """Closes the table, in which all rows are; the next row opens it again."""
        self._file.close()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def _add(self, texts: list[dict[str, str]], is_changed: bool) -> None:
        """Writes the file anew, with more rows, and with a column for each of their keys."""
        known = self._left() if is_changed else self._rows()
        # Somebody who changed the file may have added a column.
        new = itertools.chain(*known, *texts)
        self._write([*known, *texts], list(dict.fromkeys([*FIRST, *self._columns, *new])))

    def _rows(self) -> list[dict[str, str]]:
        """Reads the whole rows of the file; none if there is no file."""
        columns, rows = read.rows(self.path)
        self._columns = self._columns or columns
        return rows

    def _left(self) -> list[dict[str, str]]:
        """Reads the rows that somebody who changed the file has left, and says so."""
        try:
            rows = self._rows()
        except read.BrokenFile:
            rows = []
        until = f", up to step {rows[-1]['step']}" if rows else ""
        log.warning(
            "%s: somebody else has changed it; it goes on with the %d rows that are left%s",
            self.path,
            len(rows),
            until,
        )
        return rows

    def _write(self, rows: list[dict[str, str]], columns: list[str]) -> None:
        header = dict(zip(columns, columns, strict=True))
        self._file.replace(_lines([header, *rows], columns))
        self._columns = columns


def without_table(loggers: Iterable[Logger]) -> list[str]:
    """Says what a run with these loggers lacks, if none of them is a table."""
    if any(isinstance(own, MetricsCSV | DummyLogger) for own in loggers):
        return []
    return [
        "no logger.csv: summary.json and reports have no metrics of this run, and it is compared "
        "by nothing but the metric of best.ckpt"
    ]


def _behind(rows: Iterable[Mapping[str, str]]) -> Mark:
    return Mark().after(row["step"] for row in rows)


def _lines(rows: Iterable[Mapping[str, str]], columns: Sequence[str]) -> str:
    lines = io.StringIO()
    # All keys of the rows are columns: a DictWriter, which looks at each key, takes twice as long.
    table = csv.writer(lines, lineterminator="\n")
    table.writerows([row.get(column, "") for column in columns] for row in rows)
    return lines.getvalue()


def _text(value: Any) -> str:
    """Returns the shortest text that reads back as the same number."""
    number = float(value)
    is_short = number.is_integer() and abs(number) < 1e15
    return f"{number:.0f}" if is_short else repr(number)
