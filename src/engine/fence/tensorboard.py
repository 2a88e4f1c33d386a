"""TensorBoard and its writer in PyTorch: what is used of them beyond their documentation."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event as Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary as Summary  # type: ignore[import-untyped]
from tensorboard.plugins.hparams.metadata import EXPERIMENT_TAG  # type: ignore[import-untyped]
from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # type: ignore[import-untyped]
from torch.utils.tensorboard.summary import hparams, scalar
from torch.utils.tensorboard.writer import FileWriter, SummaryWriter

# How the tags of all parts of a row of HParams begin: the list of columns, its start, its end.
OF_ROWS = EXPERIMENT_TAG.removesuffix("experiment")


def hparams_events(
    name: str, values: Mapping[str, bool | float | str], metrics: Mapping[str, float], step: int
) -> list[Any]:
    """Returns the events of a file of its own: a row of HParams, without a list of all columns.

    PyTorch's `add_hparams` writes such a list for each run, of which TensorBoard takes any one for
    all runs. Where there is none, TensorBoard finds the columns of all runs.

    Args:
        name: what TensorBoard calls the row; rows of one name would be averaged.
        values: what the run was given, by column.
        metrics: what came of it, by column.
        step: of the metrics.
    """
    now = time.time()
    scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()]
    return [
        Event(wall_time=now, file_version="brain.Event:2"),
        Event(wall_time=now, summary=hparams_pb(values, name, now)),
        Event(wall_time=now, step=step, summary=Summary(value=scalars)),
    ]


def events_of(writer: Any) -> Any:
    """Return what takes a writer's events."""
    return writer._get_file_writer().event_writer


class _Upon(FileWriter):
    """Gives events to something else than TensorBoard's thread, and leaves some summaries out."""

    def __init__(self, events: Any, left_out: str) -> None:
        self.event_writer = events
        self._left_out = left_out  # how the tags of these begin

    def add_summary(
        self, summary: Any, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        if not any(value.tag.startswith(self._left_out) for value in summary.value):
            super().add_summary(summary, global_step, walltime)


class WriterUpon(SummaryWriter):
    """A SummaryWriter whose events something else takes than TensorBoard's thread.

    Of what it is given for HParams, it leaves out the list of all columns: TensorBoard takes the
    list of any one run for all runs, and then shows the columns of that run only.

    Args:
        make_events: makes it, for a folder and the end of a file's name; it has the methods of an
            EventFileWriter, and `begin_with`, which takes an event before all others.
        log_dir: the folder.
        has_row: whether somebody else writes the run's row of HParams, so that there is no other.
        options: further ones of SummaryWriter.
    """

    def __init__(
        self,
        make_events: Callable[[str, str], Any],
        log_dir: str,
        has_row: bool = False,
        **options: Any,
    ) -> None:
        self.make_events = make_events
        self.left_out = OF_ROWS if has_row else EXPERIMENT_TAG
        self.begun: set[str] = set()  # folders that have been told where a resumed run goes on
        super().__init__(log_dir, **options)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Gives each value to a file in a folder of its own, as SummaryWriter does."""
        folder = self._get_file_writer().event_writer.get_logdir()
        for name in tag_scalar_dict:  # SummaryWriter would make writers with a thread
            self._below(f"{folder}/{main_tag.replace('/', '_')}_{name}")
        super().add_scalars(main_tag, tag_scalar_dict, global_step, walltime)

    def add_hparams(
        self,
        hparam_dict: dict[str, Any],
        metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list[Any]] | None = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Gives a row of HParams to a file in a folder of its own, as SummaryWriter does."""
        folder = self._get_file_writer().event_writer.get_logdir()
        writer = self._below(f"{folder}/{run_name or time.time()}")
        make: Any = hparams
        row = make(hparam_dict, metric_dict, hparam_domain_discrete)
        show: Any = scalar
        for part in (*row, *(show(name, value) for name, value in metric_dict.items())):
            writer.add_summary(part, global_step)
        writer.flush()

    def events_below(self, folder: str) -> Any:
        """Returns what takes the events of a folder below this writer's own."""
        self._get_file_writer()
        return self._below(folder).event_writer

    def all_events(self) -> list[Any]:
        """Returns what takes the events of each folder, the writer's own first."""
        self._get_file_writer()
        return [writer.event_writer for writer in vars(self)["all_writers"].values()]

    def _below(self, folder: str) -> FileWriter:
        writers: dict[str, FileWriter] = vars(self)["all_writers"]
        if folder not in writers:
            events = self.make_events(folder, self.filename_suffix)
            # Each folder has points of its own that a resumed run gives once more.
            if self.purge_step is not None and folder not in self.begun:
                start = SessionLog(status=SessionLog.START)
                events.begin_with(Event(step=self.purge_step, session_log=start))
            self.begun.add(folder)
            writers[folder] = _Upon(events, self.left_out)
        return writers[folder]

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            vars(self)["all_writers"] = {}
            vars(self)["file_writer"] = self._below(self.log_dir)
        return vars(self)["file_writer"]  # type: ignore[no-any-return]
