"""TensorBoard and its writer in PyTorch: what is used of them beyond their documentation."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event as Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary as Summary  # type: ignore[import-untyped]
from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # type: ignore[import-untyped]
from torch.utils.tensorboard.writer import FileWriter, SummaryWriter


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


class WriterUpon(SummaryWriter):
    """A SummaryWriter whose events something else takes than TensorBoard's thread.

    Args:
        make_events: makes it, for a folder and the end of a file's name; it has the methods of an
            EventFileWriter, and `begin_with`, which takes an event before all others.
        log_dir: the folder.
        options: further ones of SummaryWriter.
    """

    def __init__(
        self, make_events: Callable[[str, str], Any], log_dir: str, **options: Any
    ) -> None:
        self.make_events = make_events
        super().__init__(log_dir, **options)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Gives each value to a file in a folder of its own, as SummaryWriter does."""
        writers: Any = vars(self)
        folder = self._get_file_writer().event_writer.get_logdir()
        for name in tag_scalar_dict:
            below = f"{folder}/{main_tag.replace('/', '_')}_{name}"
            if below not in writers["all_writers"]:  # SummaryWriter would make one with a thread
                writers["all_writers"][below] = self._upon(below)
        super().add_scalars(main_tag, tag_scalar_dict, global_step, walltime)

    def _upon(self, folder: str) -> FileWriter:
        made: FileWriter = FileWriter.__new__(FileWriter)
        vars(made)["event_writer"] = self.make_events(folder, self.filename_suffix)
        return made

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            made: Any = self._upon(self.log_dir)
            self.file_writer = made
            vars(self)["all_writers"] = {self.log_dir: made}
            if self.purge_step is not None:
                start = SessionLog(status=SessionLog.START)
                made.event_writer.begin_with(Event(step=self.purge_step, session_log=start))
                self.purge_step = None
        writer: FileWriter = self.file_writer  # type: ignore[assignment]
        return writer
