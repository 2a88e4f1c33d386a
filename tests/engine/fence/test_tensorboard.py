"""What is relied on of TensorBoard and its writer beyond their documentation."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter

from engine.fence import tensorboard as fence
from engine.run.loggers.events import content_of


class Kept:
    """Takes events as TensorBoard's EventFileWriter does, and keeps them."""

    def __init__(self, folder: str, suffix: str) -> None:
        self.folder, self.suffix = folder, suffix
        self.events: list[Any] = []
        self.calls: list[str] = []

    def add_event(self, event: Any) -> None:
        self.events.append(event)

    begin_with = add_event

    def get_logdir(self) -> str:
        return self.folder

    def flush(self) -> None:
        self.calls.append("flush")

    def close(self) -> None:
        self.calls.append("close")


def test_events_of_takes_a_writers_events(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    fence.events_of(writer).add_event(fence.Event(step=3, wall_time=1.0))
    writer.close()
    (file,) = tmp_path.iterdir()
    assert [event.step for event in EventFileLoader(str(file)).Load()] == [0, 3]


def test_writer_upon_gives_its_events_to_another(tmp_path: Path) -> None:
    folder = str(tmp_path / "new")
    writer = fence.WriterUpon(Kept, log_dir=folder, purge_step=5, filename_suffix=".mine")
    kept: Kept = fence.events_of(writer)
    assert (kept.folder, kept.suffix) == (folder, ".mine")
    writer.add_scalar("a", 0.5, 6)
    writer.add_histogram("b", torch.arange(4.0), 7)
    writer.add_graph(torch.nn.Linear(1, 1), torch.ones(1, 1))
    writer.add_scalar("c", 0.5, 8)
    assert [event.step for event in kept.events][:3] == [5, 6, 7]  # the first one purges
    assert kept.events[0].session_log.status == kept.events[0].session_log.START
    assert kept.events[-1].step == 8
    writer.flush()
    writer.close()
    assert kept.calls == ["flush", "flush", "close"]
    assert not (tmp_path / "new").exists()  # nor is there a thread that would write
    assert fence.events_of(writer) is not kept  # as SummaryWriter opens a file again


def test_writer_upon_has_all_that_summary_writer_sets(tmp_path: Path) -> None:
    options = {"purge_step": 5, "max_queue": 3, "filename_suffix": ".mine"}
    for name in ("first", "second"):  # the second one has what the first one's options gave
        folder = str(tmp_path / name)
        theirs = SummaryWriter(folder, **options)
        ours = vars(fence.WriterUpon(Kept, log_dir=folder, **options))
        made = vars(theirs).copy()
        theirs.close()
        assert made.keys() == ours.keys() - {"make_events", "left_out", "begun"}
        assert [made.pop("purge_step"), ours.pop("purge_step")] == [None, 5]  # of later folders
        assert ours.pop("begun") == {folder}
        assert ours.pop("left_out") == "_hparams_/experiment"
        for values in (made, ours):
            assert list(values.pop("all_writers")) == [folder]
            assert values.pop("file_writer").event_writer.get_logdir() == folder
        assert ours.pop("make_events") is Kept
        assert made == ours
    with pytest.raises(TypeError, match="flush_seconds"):
        fence.WriterUpon(Kept, log_dir=folder, flush_seconds=3)


def test_writer_upon_gives_each_of_several_scalars_to_a_folder_as_summary_writer_does(
    tmp_path: Path,
) -> None:
    writer = fence.WriterUpon(Kept, log_dir=str(tmp_path / "ours"), filename_suffix="")
    theirs = SummaryWriter(str(tmp_path / "theirs"))
    for own in (writer, theirs):
        own.add_scalars("train/loss", {"a": 0.5, "b/c": 0.25}, 3)
        own.add_scalars("train/loss", {"a": 0.75}, 4)
    theirs.close()
    found = {}
    for path in (tmp_path / "theirs").rglob("events*"):
        events = [event for event in EventFileLoader(str(path)).Load() if event.step]
        found[str(path.parent).replace("theirs", "ours")] = [event.step for event in events]
    kept = {folder: own.event_writer for folder, own in vars(writer)["all_writers"].items()}
    assert all(isinstance(own, Kept) for own in kept.values())
    assert {folder: [event.step for event in own.events] for folder, own in kept.items()} == found
    assert len(found) == 3


def test_writer_upon_tells_each_folder_once_where_a_resumed_run_goes_on(tmp_path: Path) -> None:
    """As it happened: points of `add_scalars` came twice, as the main folder alone was told."""
    writer = fence.WriterUpon(Kept, log_dir=str(tmp_path), purge_step=5)
    steps = []
    for step in (6, 7):
        writer.add_scalars("loss", {"a": 0.5}, step)
        steps.append([[event.step for event in own.events] for own in writer.all_events()])
        writer.close()  # a later file is of this run: what it had in the first one stays
    assert steps == [[[5], [5, 6]], [[], [7]]]


@pytest.mark.parametrize("has_row", [False, True])
def test_writer_upon_leaves_out_the_list_of_columns_and_a_second_row(
    has_row: bool, tmp_path: Path
) -> None:
    writer = fence.WriterUpon(Kept, log_dir=str(tmp_path / "ours"), has_row=has_row)
    theirs = SummaryWriter(str(tmp_path / "theirs"))
    for own in (writer, theirs):
        own.add_hparams({"lr": 0.5}, {"acc": 0.25}, run_name="row", global_step=3)
    theirs.close()
    (path,) = (tmp_path / "theirs/row").glob("events*")
    _, listed, *rest = EventFileLoader(str(path)).Load()
    assert listed.summary.value[0].tag == "_hparams_/experiment"
    _, kept = writer.all_events()
    assert kept.folder == str(tmp_path / "ours/row")
    tags = [[value.tag for value in event.summary.value] for event in kept.events]
    names = [[value.tag for value in event.summary.value] for event in rest]
    assert names == [["_hparams_/session_start_info"], ["_hparams_/session_end_info"], ["acc"]]
    assert tags == (names[2:] if has_row else names)
    assert kept.events[-1].step == 3


def test_hparams_events_are_a_row_without_a_list_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.0"
    values = {"init": "he", "lr": 0.5, "bias": True}
    row = fence.hparams_events("sweep/job", values, {"★ val/acc": 0.75}, 9)
    path.write_bytes(content_of(row))
    _, start, last = EventFileLoader(str(path)).Load()
    (value,) = start.summary.value
    assert value.tag == "_hparams_/session_start_info"
    content = value.metadata.plugin_data.content
    row = HParamsPluginData.FromString(content).session_start_info
    assert row.group_name == "sweep/job"
    assert {key: getattr(own, own.WhichOneof("kind")) for key, own in row.hparams.items()} == values
    assert last.step == 9
    assert [scalar.tag for scalar in last.summary.value] == ["★ val/acc"]
