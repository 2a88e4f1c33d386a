"""Writes metrics to TensorBoard and to metrics.csv, a table of the same numbers."""

import contextlib
import csv
import io
import itertools
import logging
import math
import os
import re
import socket
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TextIO

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from pydantic import AfterValidator
from torch import Tensor, nn

from engine.config.objects import arguments_of
from engine.config.ranges import is_below_its_folder
from engine.errors import UserError
from engine.fence.lightning import prefix_of, rank_zero_experiment, writer_of
from engine.fence.tensorboard import add_row
from engine.files import write_whole, writing
from engine.run import plain
from engine.run.records import read
from engine.run.records.read import BrokenFile

log = logging.getLogger(__name__)

FIRST = ["epoch", "step"]
SPLITS = ("train", "val", "test")
CHARTS = "train and val"  # the name of the charts that show both in TensorBoard


def tag_of(metric: str) -> str:
    """Returns the name of a metric in TensorBoard, which shows names by their first part, sorted.

    `train/loss` and `val/loss` are `loss/train` and `loss/val`, so that they stand side by side.
    `val/acc/cat` is `per class/val/acc/cat`, apart from the means over all classes. `test/loss`,
    which has one point, stays as it is.
    """
    split, _, name = metric.partition("/")
    if split in SPLITS and "/" in name:
        return f"per class/{metric}"
    return f"{name}/{split}" if split in SPLITS[:2] and name else metric


class Row(NamedTuple):
    """The metrics of some steps, the last of which is `step`; `time` is in seconds since 1970."""

    step: int
    values: Mapping[str, float]
    time: float = 0.0


def _is_within_the_run(name: str | int | None) -> str | int | None:
    if name not in ("", None) and not is_below_its_folder(name):
        raise ValueError("the name of a folder that lies in the run's own, or empty")
    return name


WithinTheRun = Annotated[str | int | None, AfterValidator(_is_within_the_run)]


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger with one event for a whole row of metrics.

    An event for each metric costs more than a small step. A run has one file, which stays open from
    stage to stage, until `close`: TensorBoard reads a run's files in the order of their names, the
    tenth of a process before its ninth, and would forget the metrics of the test.

    Args:
        save_dir: the run's folder.
        name: of a folder in it.
        version: of a folder in that one.
        sub_dir: of a folder in that one.
        options: further ones of Lightning's logger.
    """

    def __init__(
        self,
        save_dir: str | Path,
        name: WithinTheRun = "",
        version: WithinTheRun = "",
        sub_dir: WithinTheRun = None,
        **options: Any,
    ) -> None:
        folders: dict[str, Any] = {"name": name, "version": version, "sub_dir": sub_dir}
        super().__init__(save_dir, **folders, **options)
        self._charts: dict[str, list[Any]] = {}
        # The Graphs tab takes one network a run; Lightning logs it again in the test. A run that
        # begins with its first step once more hides what it had logged there.
        self._wants_graph = not options.get("purge_step")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {tag_of(name): value for name, value in metrics.items() if name != "epoch"}
        if prefix_of(self) or any(isinstance(value, Mapping) for value in metrics.values()):
            super().log_metrics(row, step)
        else:
            add_row(self.experiment, row, step)
        self.show_charts(row)

    def show_charts(self, tags: Iterable[str]) -> None:
        """Adds a chart with training and validation for each metric of validation that is new."""
        names = [name for name, _, split in (tag.rpartition("/") for tag in tags) if split == "val"]
        if new := [name for name in names if name not in self._charts and "/" not in name]:
            own = {name: rf"^{re.escape(name)}/(train|val)$" for name in new}
            self._charts |= {name: ["Multiline", [pattern]] for name, pattern in own.items()}
            self.experiment.add_custom_scalars({CHARTS: self._charts})

    @rank_zero_only
    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:
        if self._wants_graph:
            self._wants_graph = False
            super().log_graph(model, input_array)  # type: ignore[arg-type]

    @rank_zero_only
    def save(self) -> None:
        """Writes what is buffered; Lightning's would add hparams.yaml, a part of the config."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if writer_of(self) is not None:
            self.save()

    @rank_zero_only
    def close(self) -> None:
        """Ends the run's file, and the thread that writes it."""
        if writer := writer_of(self):
            writer.close()
            # Of this process: that of another one may have been cut by a kill.
            for path in Path(self.log_dir).glob(f"events.out.tfevents.*.{_process()}.*"):
                if not _begins_whole(path):  # TensorBoard makes a file anew that was removed
                    log.warning("%s: its beginning is lost: somebody else has changed it", path)


def _begins_whole(path: Path) -> bool:
    """Tells whether a file of events has its first record, which has the version."""
    with open(path, "rb") as file:
        return b"brain.Event" in file.read(64)


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
    Lightning's `CSVLogger`, this one keeps the rows of a resumed run. It drops the rows of steps
    from `purge_step` on, which TensorBoard hides, too.

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
        self.count = 0  # rows so far; a checkpoint has this number
        self._columns: list[str] = []
        self._size = 0  # bytes of the file, as this process has left it

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @property
    @rank_zero_experiment
    def experiment(self) -> NoWriter:
        """Keeps the rows of an interrupted run; Lightning asks for this once, before training."""
        if not self._columns and self.path.exists():
            kept = self.kept()
            self.count = len(kept)
            self._columns, _ = read.rows(self.path)
            self._write(kept)
        return NoWriter()

    def kept(self) -> list[dict[str, str]]:
        """Returns the rows that are there, but for those that a resumed run writes again.

        Raises:
            BrokenFile: if the file cannot be read.
        """
        end = math.inf if self.purge_step is None else self.purge_step
        _, rows = read.rows(self.path)
        return [row for row in rows if int(row["step"]) < end]

    def lost(self, count: int) -> str:
        """Says which rows of a resumed run are lost, of as many as there were; '' if none are."""
        try:
            rows = self.kept()
        except BrokenFile as broken:
            return f"its {count} rows are lost: {broken.reason}"
        if len(rows) >= count:
            return ""
        until = f", the last of them of step {rows[-1]['step']}" if rows else ""
        return f"{count - len(rows)} of {count} rows are lost: {len(rows)} are left{until}"

    def put_aside(self) -> None:
        """Renames the table, if it cannot be read."""
        try:
            self.kept()
        except BrokenFile:
            self.path.rename(self.path.with_suffix(".unusable"))

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Writes nothing: the config lies beside the table, in `.hydra/config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.log_rows([Row(step or 0, metrics)])

    def log_rows(self, rows: Iterable[Row]) -> None:
        """Appends several rows, with one write."""
        texts = [
            {"step": str(step), **{key: _text(value) for key, value in metrics.items()}}
            for step, metrics, _ in rows
        ]
        self.count += len(texts)
        if not set().union(*texts) <= set(self._columns):
            is_changed = bool(self._columns) and self._size != _size_of(self.path)
            self._add(texts, is_changed)
        elif texts and not self._append(texts):
            self._add(texts, is_changed=True)

    def _append(self, texts: list[dict[str, str]]) -> bool:
        """Appends rows; returns whether it did: not to a file that somebody else has changed."""
        options: Any = {"newline": "", "encoding": "utf-8", "opener": _that_is_there}
        gone = contextlib.suppress(FileNotFoundError)
        with writing(self.path), gone, open(self.path, "a", **options) as file:
            if file.tell() == self._size:
                _table(file, self._columns).writerows(texts)
                self._size = file.tell()
                return True
        return False

    def _add(self, texts: list[dict[str, str]], is_changed: bool) -> None:
        """Writes the file anew, with more rows, and with a column for each of their keys."""
        known = self._left() if is_changed else self._rows()
        # Somebody who changed the file may have added a column.
        new = itertools.chain(*known, *texts)
        self._columns = list(dict.fromkeys([*FIRST, *self._columns, *new]))
        self._write([*known, *texts])

    def _rows(self) -> list[dict[str, str]]:
        """Reads the whole rows of the file; none if there is no file."""
        columns, rows = read.rows(self.path)
        self._columns = self._columns or columns
        return rows

    def _left(self) -> list[dict[str, str]]:
        """Reads the rows that somebody who changed the file has left, and says so."""
        try:
            rows = self._rows()
        except BrokenFile:
            rows = []
        until = f", up to step {rows[-1]['step']}" if rows else ""
        log.warning(
            "%s: somebody else has changed it; it goes on with the %d rows that are left%s",
            self.path,
            len(rows),
            until,
        )
        return rows

    def _write(self, rows: list[dict[str, str]]) -> None:
        file = io.StringIO()
        writer = _table(file, self._columns)
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path, file.getvalue())
        self._size = _size_of(self.path)


def _table(file: TextIO, columns: Sequence[str]) -> "csv.DictWriter[str]":
    # All keys of the rows are columns. csv would check that in each row.
    return csv.DictWriter(file, columns, "", extrasaction="ignore", lineterminator="\n")


def _that_is_there(path: str, flags: int) -> int:
    """Opens a file, and makes none: it would be an empty table for whoever reads it then."""
    return os.open(path, flags & ~os.O_CREAT)


def _size_of(path: Path) -> int:
    """Returns the bytes of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _text(value: Any) -> str:
    """Returns the shortest text that reads back as the same number."""
    number = float(value)
    is_short = number.is_integer() and abs(number) < 1e15
    return str(int(number)) if is_short else repr(number)


def given(
    kind: type[Logger], node: Mapping[str, Any], folder: Path, resumes_at: int | None
) -> dict[str, Any]:
    """Returns the options that the engine gives a logger, beside those of its node.

    Args:
        kind: the logger's class.
        node: of the config.
        folder: the run's.
        resumes_at: the step that a resumed run goes on with.
    """
    options: dict[str, Any] = {"save_dir": str(folder)} if _takes(kind, "save_dir") else {}
    if _takes(kind, "purge_step") or issubclass(kind, TensorBoardLogger):
        options["purge_step"] = resumes_at
    if issubclass(kind, CSVLogger | TensorBoardLogger) and node.get("version") is None:
        options["version"] = 0  # Lightning would begin another version at each resume
    return options


def in_words(logger: Logger) -> Logger:
    """Makes a logger take hyper-parameters as `plain.in_words` returns them."""
    log_hyperparams = logger.log_hyperparams

    def log_words(params: Any, *args: Any, **options: Any) -> None:
        named = vars(params) if isinstance(params, Namespace) else params
        log_hyperparams(plain.in_words(named or {}), *args, **options)

    vars(logger)["log_hyperparams"] = log_words
    return logger


def goes_on(kind: type[Logger]) -> bool:
    """Tells whether the rows of a resumed run follow those before, each once."""
    return _takes(kind, "purge_step") or issubclass(kind, CSVLogger | TensorBoardLogger)


def _takes(kind: type, argument: str) -> bool:
    return argument in (arguments_of(kind) or ())


def wait_for_a_later_name(folder: Path) -> None:
    """Waits until new events of TensorBoard would come after those that a folder has.

    TensorBoard reads files in the order of their names. These have the second in which they were
    begun, and then the number of the process, which may be lower for the later one.
    """
    latest = max((path.name for path in folder.glob("events.out.tfevents.*")), default="")
    while f"events.out.tfevents.{int(time.time()):010d}.{_process()}" <= latest:
        time.sleep(0.05)


def _process() -> str:
    """Returns what TensorBoard calls this process in the names of its files."""
    return f"{socket.gethostname()}.{os.getpid()}"


def tensorboards(trainer: Trainer) -> list[TensorBoardLogger]:
    """Returns the TensorBoard loggers of a Trainer; there may be none."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
