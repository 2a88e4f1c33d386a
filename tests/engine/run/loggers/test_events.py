"""Files of events, as TensorBoard's own reader sees them: it compares the records' checksums."""

import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import SessionLog

from engine.fence.tensorboard import Event, Summary
from engine.files import CannotWrite
from engine.run.loggers import events
from engine.run.loggers.events import Events
from limited import limited_to


def begun(folder: Path) -> Events:
    """A file that has an event of step 1."""
    writer = Events(str(folder), "", folder)
    writer.add_event(Event(step=1))
    return writer


def steps(path: Path) -> list[int]:
    """The steps of a file's events, the first of which says the version."""
    version, *others = EventFileLoader(str(path)).Load()
    assert version.file_version == "brain.Event:2"
    return [event.step for event in others]


@pytest.mark.parametrize("holds", [False, True], ids=["at once", "held"])
def test_events_are_in_the_file_when_they_should_be(holds: bool, tmp_path: Path) -> None:
    writer = Events(str(tmp_path / "new"), ".mine", tmp_path, holds=holds)
    assert not list(tmp_path.iterdir())
    writer.add_event(Event(step=3))
    writer.add_event(Event(step=4))
    assert writer.path.exists() != holds
    assert holds or steps(writer.path) == [3, 4]
    for _ in range(2):
        writer.flush()
        assert steps(writer.path) == [3, 4]
    writer.add_event(Event(step=5))
    writer.close()
    assert steps(writer.path) == [3, 4, 5]
    assert list(Path(writer.get_logdir()).iterdir()) == [writer.path]
    assert writer.path.name.endswith(".mine")


def test_a_wrong_byte_is_noticed(tmp_path: Path) -> None:
    path = begun(tmp_path).path
    whole = bytearray(path.read_bytes())
    assert steps(path) == [1]
    whole[-5] ^= 1  # the last before the checksum
    path.write_bytes(whole)
    assert steps(path) == []


BLAMED = "{}: somebody else has changed it; its curves may have gaps"


def test_what_a_file_begins_with_comes_with_the_next_event(tmp_path: Path) -> None:
    writer = Events(str(tmp_path), "", tmp_path)
    writer.begin_with(Event(step=3))
    writer.flush()
    writer.close()
    assert not list(tmp_path.iterdir())
    writer.add_event(Event(step=4))
    assert steps(writer.path) == [3, 4]


def test_events_that_were_there_before_a_checkpoint_come_again_behind_its_step(
    tmp_path: Path,
) -> None:
    """TensorBoard hides all of its step, and what was logged by hand has that already."""
    before = Events(str(tmp_path / "a"), "", tmp_path)
    assert before.place()[1] == 0
    value = Summary(value=[Summary.Value(tag="by hand", simple_value=0.5)])
    for step in (3, 4, 4, 5):
        before.add_event(Event(step=step, summary=value))
    place = before.place()
    before.add_event(Event(step=4, summary=value))  # after the checkpoint
    before.add_event(Event(step=6, summary=value))
    before.close()
    after = Events(str(tmp_path / "a"), "", tmp_path)
    after.begin_with(Event(step=4, session_log=SessionLog(status=SessionLog.START)))
    after.begin_again(place, 4)
    after.add_event(Event(step=5, summary=value))
    assert steps(after.path) == [4, 4, 4, 5, 5]
    assert place == (f"a/{before.path.name}", place[1])
    shown = EventAccumulator(str(tmp_path / "a")).Reload().Scalars("by hand")
    assert [point.step for point in shown] == [3, 4, 4, 5, 5]


def test_events_that_come_again_are_in_the_file_before_a_checkpoint_names_it(
    tmp_path: Path,
) -> None:
    """As it happened: a second kill before the next event lost them."""
    value = Summary(value=[Summary.Value(tag="by hand", simple_value=0.5)])
    place = ("", 0)
    for number in range(3):
        writer = Events(str(tmp_path), "", tmp_path)
        writer.begin_with(Event(step=4, session_log=SessionLog(status=SessionLog.START)))
        writer.begin_again(place, 4)
        if number == 0:
            writer.add_event(Event(step=1000, summary=value))
        writer.flush()  # as before each checkpoint
        place = writer.place()
    shown = EventAccumulator(str(tmp_path)).Reload().Scalars("by hand")
    assert [point.step for point in shown] == [1000]


@pytest.mark.parametrize("damage", ["cut", "garbage", "a bit", "gone"])
def test_a_damaged_file_gives_what_it_has_and_is_named(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: no run could go on from it."""
    value = Summary(value=[Summary.Value(tag="by hand", simple_value=0.5)])
    before = Events(str(tmp_path), "", tmp_path)
    for step in (5, 6):
        before.add_event(Event(step=step, summary=value))
    place = before.place()
    before.close()
    content = bytearray(before.path.read_bytes())
    content[-6] ^= 1
    damaged = {"cut": bytes(content[:-20]), "garbage": b"\xff" * 99, "a bit": bytes(content)}
    if damage == "gone":
        before.path.unlink()
    else:
        before.path.write_bytes(damaged[damage])
    after = Events(str(tmp_path), "", tmp_path)
    after.begin_again(place, 4)
    after.add_event(Event(step=7, summary=value))
    assert steps(after.path) == ([5, 7] if damage in ("cut", "a bit") else [7])
    assert f"{place[0]}: is damaged; what was logged by hand may be lacking" in caplog.text


def test_a_handler_that_logs_amid_a_write_neither_waits_nor_loses_its_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Lightning's for Slurm's signal, which flushes all loggers."""
    writer = begun(tmp_path)
    append = writer._file.append

    def interrupted(content: bytes) -> bool:
        monkeypatch.setattr(writer._file, "append", append)
        writer.add_event(Event(step=3))
        writer.flush()
        return append(content)

    monkeypatch.setattr(writer._file, "append", interrupted)
    writer.add_event(Event(step=2))
    writer.close()
    assert steps(writer.path) == [1, 2, 3]


@pytest.mark.parametrize("way", ["removed", "its folder is removed", "emptied", "cut", "longer"])
def test_a_file_that_somebody_changes_is_left_as_it_is_and_a_later_one_goes_on(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Events(str(tmp_path / "events"), "", tmp_path)
    writer.add_event(Event(step=1))
    changed, content = writer.path, writer.path.read_bytes()
    if way == "its folder is removed":
        shutil.rmtree(changed.parent)
    elif way == "removed":
        changed.unlink()
    else:
        changed.write_bytes({"emptied": b"", "cut": content[:-3], "longer": content + b"x"}[way])
    for step in (2, 3):
        writer.add_event(Event(step=step))
    writer.close()
    assert steps(writer.path) == [2, 3]
    assert writer.path.name > changed.name  # TensorBoard reads files in the order of their names
    assert caplog.messages == [BLAMED.format(changed)]


def test_a_file_that_is_changed_after_its_last_event_is_named_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = begun(tmp_path)
    writer.close()
    writer.add_event(Event(step=2))
    writer.close()
    assert caplog.messages == []
    writer.path.write_bytes(b"")
    writer.close()
    assert caplog.messages == [BLAMED.format(writer.path)]


def test_after_a_full_disk_nothing_is_lost_and_nobody_is_blamed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that takes a part of a record."""
    writer = begun(tmp_path)
    for step, room in ((2, 5), (3, 0)):
        size = writer.path.stat().st_size
        with limited_to(size + room), pytest.raises(CannotWrite, match=r"events\."):
            writer.add_event(Event(step=step))
        assert writer.path.stat().st_size == size
    writer.add_event(Event(step=4))
    writer.close()
    assert steps(writer.path) == [1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == [writer.path]
    assert caplog.messages == []


def test_a_run_s_folder_that_somebody_removes_is_not_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    writer = begun(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(CannotWrite, match=r"events\..*: cannot be written: No such file"):
        writer.add_event(Event(step=2))
    assert not (tmp_path / "run").exists()
    assert caplog.messages == []  # the error says it


def test_events_of_a_resumed_run_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two files of one second, that of the lower process number would come first."""
    monkeypatch.setattr(events, "time", SimpleNamespace(time=lambda: 1_700_000_000.5))
    for second in (1_700_000_000, 1_700_000_001, 1_700_000_002):
        path = Events(str(tmp_path), "", tmp_path).path
        assert path.name.startswith(f"events.out.tfevents.{second}.{socket.gethostname()}.")
        path.with_name(path.name.replace(f".{os.getpid()}.", ".99999999.")).touch()


@pytest.mark.parametrize("name", ["1700003600.host.7.0", "99999999999999999.host.7.0", "zzz"])
def test_after_a_clock_that_was_ahead_names_come_later(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: a run that was copied from another machine waited for an hour."""
    now = 1_700_000_000.5
    monkeypatch.setattr(events, "time", SimpleNamespace(time=lambda: now))
    (tmp_path / f"events.out.tfevents.{name}").touch()
    later = Events(str(tmp_path), "", tmp_path).path.name
    number = later.removeprefix("events.out.tfevents.").partition(".")[0]
    assert number == ("1700003601" if name.startswith("1700003600") else "1700000000")
