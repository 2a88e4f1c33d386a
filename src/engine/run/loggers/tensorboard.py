"""Writes metrics to TensorBoard, one event for a row."""

import itertools
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from pydantic import AfterValidator
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from engine.config.ranges import is_below_its_folder
from engine.errors import UserError
from engine.fence.lightning import open_writer, prefix_of, rank_zero_experiment, writer_of
from engine.fence.tensorboard import Event, Summary, WriterUpon, events_of
from engine.files import make_folder
from engine.run.folder_names import is_of_job
from engine.run.loggers.events import Events, Place
from engine.run.loggers.table import Row
from engine.run.summaries import SPLITS, is_of_one_class

log = logging.getLogger(__name__)

CHARTS = "train and val"  # the name of the charts that show both in TensorBoard


def tag_of(metric: str, names: Container[str] = ()) -> str:
    """Returns the name of a metric in TensorBoard, which shows names by their first part, sorted.

    `train/loss` and `val/loss` are `loss/train` and `loss/val`, so that they stand side by side.
    `val/acc/cat` is `per class/val/acc/cat`, apart from `val/acc`, the mean over all classes.
    `test/loss`, which has one point, stays as it is.

    Args:
        metric: its name in metrics.csv.
        names: of all that is logged with it.
    """
    split, _, name = metric.partition("/")
    if split in SPLITS and is_of_one_class(metric, names):
        return f"per class/{metric}"
    return f"{name}/{split}" if split in SPLITS[:2] and name else metric


def _is_within_the_run(name: str | int | None) -> str | int | None:
    if name not in ("", None) and not is_below_its_folder(name):
        raise ValueError("the name of a folder that lies in the run's own, or empty")
    return name


WithinTheRun = Annotated[str | int | None, AfterValidator(_is_within_the_run)]


class _RowEvent:
    """Holds an event with a row of metrics: to fill in numbers is faster than to make one anew."""

    def __init__(self, names: list[str], prefix: str) -> None:
        self.names = names
        shown = [name for name in names if name != "epoch"]
        self.tags = [tag_of(name, names) for name in shown]
        values = [Summary.Value(tag=f"{prefix}-{tag}" if prefix else tag) for tag in self.tags]
        self._event = Event(summary=Summary(value=values))
        self._places = list(zip(shown, self._event.summary.value, strict=True))
        self._lock = threading.Lock()

    def give(self, rows: Iterable[Row], events: Any) -> None:
        """Gives rows with these metrics to a writer of events."""
        event = self._event
        with self._lock:
            for row in rows:
                event.wall_time = time.time() if row.time is None else row.time
                event.step = int(row.step)
                for name, value in self._places:
                    value.simple_value = float(row.values[name])
                events.add_event(event)


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger with one event for a whole row of metrics.

    An event for each metric costs more than a small step. Each event is in the file at once, unless
    the logger `holds` them: `max_queue` and `flush_secs` change nothing. A run has one file from
    stage to stage, until `close`, or until somebody else changes the file.

    Args:
        save_dir: the run's folder, on this machine.
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
        if "://" in str(save_dir):
            raise UserError(f"save_dir={save_dir}: only Lightning's TensorBoardLogger takes a URL.")
        folders: dict[str, Any] = {"name": name, "version": version, "sub_dir": sub_dir}
        super().__init__(save_dir, **folders, **options)
        # Whether events stay in memory until `save`: a process may write hundreds of runs at once.
        self.holds = False
        self._charts: dict[str, list[Any]] = {}
        self._last: _RowEvent | None = None
        self._metrics: dict[str, set[str]] = {}  # of each chart
        # The Graphs tab takes one network a run; Lightning logs it again in the test. A run that
        # begins with its first step once more hides what it had logged there.
        self._wants_graph = not options.get("purge_step")

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        writer: SummaryWriter | None = writer_of(self)
        if writer is None:
            make_folder(Path(self.save_dir))
            writer = _upon_events(self, Path(self.save_dir), self.holds)
        return writer

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if any(isinstance(value, Mapping) for value in metrics.values()):
            self._say_what_is_mixed(metrics)
            row = {
                tag_of(name, metrics): value for name, value in metrics.items() if name != "epoch"
            }
            super().log_metrics(row, step)
            self.show_charts(row)
        else:
            self.log_rows([Row(step or 0, metrics)])

    @rank_zero_only
    def log_rows(self, rows: Iterable[Row]) -> None:
        """Logs rows of metrics, one event a row."""
        events = events_of(self.experiment)
        for names, alike in itertools.groupby(rows, lambda row: list(row.values)):
            last = self._last
            if last is None or last.names != names:
                self._last = last = _RowEvent(names, prefix_of(self))
                self.show_charts(last.tags)
                self._say_what_is_mixed(names)
            last.give(alike, events)

    def _say_what_is_mixed(self, names: Collection[str]) -> None:
        """Warns once of two metrics in one chart, such as `train/loss` and `loss/train`."""
        for name in names:
            mixed = self._metrics.setdefault(tag_of(name, names), set())
            if name not in mixed:
                mixed.add(name)
                if len(mixed) > 1:
                    both = " and ".join(sorted(mixed))
                    log.warning(
                        "TensorBoard shows %s in one chart, %s: log them by other names; "
                        "metrics.csv has them apart",
                        both,
                        tag_of(name, names),
                    )

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
            try:
                # It prints the whole of an error, with all numbers of the weights that this names,
                # and warns of what a picture need not have, such as random numbers.
                with redirect_stdout(StringIO()), warnings.catch_warnings(action="ignore"):
                    super().log_graph(model, input_array)  # type: ignore[arg-type]
            except Exception as error:  # torch.jit.trace takes no layers with backward hooks, say
                log.info("no graph in TensorBoard: %s", str(error).partition("\n")[0])

    @rank_zero_only
    def save(self) -> None:
        """Writes what is held; Lightning's would add hparams.yaml, a part of the config."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if writer_of(self) is not None:
            self.save()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_last": None}


def write_events(logger: TensorBoardLogger, run_dir: Path) -> None:
    """Makes a logger of a run write by `Events`; not one that has a writer or a place of its own.

    Lightning's would begin a thread and a file at each stage. Of a second's files TensorBoard reads
    the tenth of a process before its ninth, and drops metrics: so it would be in a sweep.

    Args:
        logger: Lightning's, ours or of a class derived from them.
        run_dir: the run's folder.
    """
    if type(logger).experiment in OURS and "://" not in str(logger.save_dir):
        _upon_events(logger, run_dir)


def _upon_events(logger: TensorBoardLogger, run_dir: Path, holds: bool = False) -> SummaryWriter:
    make_events = partial(Events, run_dir=run_dir, holds=holds)
    kind = partial(WriterUpon, make_events, has_row=is_of_job(run_dir))
    writer: SummaryWriter = open_writer(logger, kind)
    return writer


# Writers that `Events` may stand for.
OURS = (TensorBoardLogger.experiment, TensorBoard.experiment)


@rank_zero_only
def close(logger: TensorBoardLogger) -> None:
    """Ends a run's file; of several processes, the first one has it."""
    if writer := writer_of(logger):
        writer.close()


def places_of(logger: TensorBoardLogger) -> list[Place]:
    """Returns where a logger's events end, in its own folder first, and in each below that.

    There are none if its writer is not ours, or not there yet.
    """
    writer = writer_of(logger)
    made = writer.all_events() if isinstance(writer, WriterUpon) else ()
    return [events.place() for events in made]


def go_on_from(logger: TensorBoardLogger, places: Sequence[Place], step: int) -> None:
    """Has a logger go on from places that `places_of` returned, and from a step."""
    writer = writer_of(logger)
    if places and isinstance(writer, WriterUpon):
        own, *_ = writer.all_events()
        own.begin_again(places[0], step)
        root, *folders = [os.path.dirname(name) for name, _ in places]
        for place, folder in zip(places[1:], folders, strict=True):
            below = os.path.relpath(folder or ".", root or ".")
            if not is_below_its_folder(below):  # nobody has written that checkpoint here
                continue
            writer.events_below(f"{own.get_logdir()}/{below}").begin_again(place, step)


def tensorboards(trainer: Trainer) -> list[TensorBoardLogger]:
    """Returns the TensorBoard loggers of a Trainer; there may be none."""
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
