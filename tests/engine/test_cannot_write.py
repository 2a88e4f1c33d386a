"""What the system does not let a command write: two lines, and after that the same bits."""

import errno
import logging
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from commands import environment, only_run, run_evaluate, run_report, run_train
from engine.files import CannotRead, CannotWrite, cannot_write, writing
from identical import assert_bit_identical
from resuming import SMALL
from warm import python

RUN = [*SMALL, "trainer.max_epochs=2", "trainer.log_every_n_steps=1"]


HERE = Path(__file__).parent
GONE = Path("/gone")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device", "/a/b"), "/a/b: cannot be written: No space"),
        (OSError(28, "No space left on device"), f"{HERE}: cannot be written: No space"),
        (OSError(28, "No space left on device", 7), f"{HERE}: cannot be written: No space"),
        (OSError(13, "Permission denied", f"{HERE}/x"), f"{HERE}/x: cannot be written: Perm"),
        (OSError(13, "Permission denied", f"{HERE}s/x"), None),
        (OSError(13, "Permission denied", 7), None),
        (OSError(2, "No such file or directory", f"{HERE}/x"), None),
        (OSError(2, "No such file or directory", "/data/x"), None),
        (OSError(111, "Connection refused"), None),
        (OSError(12, "Cannot allocate memory"), None),
        (ValueError("no"), None),
    ],
)
def test_what_counts_as_writing(error: Exception, says: str | None) -> None:
    wrapped = RuntimeError("a library's")
    wrapped.__cause__ = error
    for raised in (error, wrapped):
        found = cannot_write(raised, HERE)
        assert (found is None) if says is None else str(found).startswith(says)
    if says:
        assert len(str(cannot_write(error, HERE)).splitlines()) == 2


def test_a_missing_file_counts_where_the_whole_folder_is_missing() -> None:
    error = OSError(2, "No such file or directory", f"{GONE}/x")
    assert str(cannot_write(error, GONE)).startswith("/gone/x: cannot be written: No such file")
    assert cannot_write(error, HERE) is None


def test_an_error_that_another_has_replaced_does_not_count() -> None:
    error = RuntimeError("no")
    error.__context__ = OSError(28, "No space left on device")
    assert cannot_write(error)
    error.__suppress_context__ = True  # as `from None` does
    assert cannot_write(error) is None


def test_a_database_on_a_full_disk_cannot_be_written() -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE kept (value)")
        with pytest.raises(sqlite3.OperationalError) as full:
            database.execute("INSERT INTO kept VALUES (zeroblob(100000))")
    assert str(cannot_write(full.value)).startswith(
        "a file: cannot be written: database or disk is full.\nFree some space there"
    )


def test_an_error_gets_the_name_of_what_is_written() -> None:
    with pytest.raises(CannotWrite) as refused, writing(Path("/a")), writing(Path("/a/b")):
        open("/dev/null/c")  # noqa: SIM115  it cannot be opened
    assert str(refused.value).startswith("/a/b: cannot be written: Not a directory.\n")
    with pytest.raises(CannotRead) as unread, writing(Path("/a"), CannotRead):
        open("/dev/null/c")  # noqa: SIM115  it cannot be opened
    assert str(unread.value).startswith("/a: cannot be read: Not a directory.\nMake it readable")
    with pytest.raises(ZeroDivisionError), writing(Path("/a")):
        _ = 1 // 0


@pytest.mark.parametrize("mode", [[], ["-m", "seed=1,2"]], ids=["run", "sweep"])
@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("/dev/null/logs", "Not a directory.\nChoose a folder that can be written to"),
        ("/proc/logs", "No such file or directory.\nChoose a folder that can be written to"),
        (f"/tmp/{'x' * 256}", "File name too long.\nChoose a shorter name or folder."),
    ],
    ids=["no folder", "read-only", "too long"],
)
def test_a_log_dir_that_cannot_be_made(
    place: str, says: str, mode: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(*mode, *RUN, f"paths.log_dir={place}")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {place}")
    verb = "read" if mode and "too long" in says else "written"  # a sweep looks for its jobs
    assert f": cannot be {verb}: {says}" in error
    assert len(error.splitlines()) == 2


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/../b", ".", "a//b", "x" * 256, "'a\nb'"])
@pytest.mark.parametrize("mode", [[], ["-m"]], ids=["run", "sweep"])
def test_a_name_stays_below_log_dir(
    name: str, mode: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(*mode, *RUN, f"name={name}", f"paths.log_dir={tmp_path / 'a/b'}")
    assert stop.value.code == 2
    assert "must be the name of a folder below paths.log_dir" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_name_may_have_folders_of_its_own(tmp_path: Path) -> None:
    run_train(*RUN, "name=a/..b/1", f"paths.log_dir={tmp_path}", draws=False)
    assert only_run(tmp_path).parent == tmp_path / "runs/a/..b/1"


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (run_report, ""),
        (run_evaluate, "run="),
        (run_train, "resume="),
        (run_train, "init_from="),
        (run_train, "paths.data_dir="),
    ],
)
def test_a_name_that_no_file_can_have(
    command: Callable[..., None],
    key: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [f"{key}{'x' * 300}"]
    if command is run_train and key != "resume=":
        words += ["experiment=digits", "accelerator=cpu", f"paths.log_dir={tmp_path}"]
    with pytest.raises(SystemExit) as stop:
        command(*words)
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(OSError(errno.ENOSPC, "No space left on device", "/a"), 2), (None, 130)],
    ids=["full", "Ctrl-C"],
)
def test_a_longer_run_whose_copy_finds_no_space(
    error: OSError | None,
    code: int,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def copy(source: str, place: str, **options: Any) -> None:
        if error:
            raise error
        signal.raise_signal(signal.SIGINT)

    before = sorted(whole.parent.iterdir())
    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(SystemExit) as stop:
        run_train(f"resume={whole}", "trainer.max_epochs=4")
    assert stop.value.code == code
    said = capsys.readouterr().err
    if code == 2:
        assert len(said.splitlines()) == 2
        assert ": cannot be written: No space left on device" in said
    assert sorted(whole.parent.iterdir()) == before


def test_a_current_folder_that_was_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for command, word in ((run_train, "seed=1"), (run_evaluate, "run=x")):
        with pytest.raises(SystemExit) as stop:
            command(word)
        assert stop.value.code == 2
        assert capsys.readouterr().err == (
            "error: the current folder: No such file or directory. Was it removed?\n"
            "Go to another one: cd DIR\n"
        )


@pytest.mark.parametrize("step", [2, 3, 10], ids=["a row", "a checkpoint", "an epoch"])
@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_a_folder_that_is_removed_under_the_run(
    logger: str, step: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    words = [word for word in RUN if "tensorboard" not in word or logger == "tensorboard"]
    breaks = ["_target_=breaking.Breaks", "file=''", "way=removed", f"step={step}"]
    words += [f"logger={logger}", *(f"+callbacks.breaks.{word}" for word in breaks)]
    with pytest.raises(SystemExit) as stop:
        run_train(*words, f"paths.log_dir={tmp_path}", draws=False)
    assert stop.value.code == 1
    (said,) = [record.getMessage() for record in caplog.records]
    first, second = said.splitlines()
    assert first.endswith(": cannot be written: No such file or directory.")
    assert second == "Somebody has removed the run's folder: begin a new run."
    assert list(tmp_path.glob("runs/linear/*")) == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("whole")
    run_train(*RUN, f"paths.log_dir={log_dir}", draws=False)
    return only_run(log_dir)


def limited(most: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Trains in a process that can write no file larger than `most` bytes."""
    return subprocess.run(
        [python(), "-m", "limited", str(most), *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        "",  # not a byte can be written
        ".hydra/config.yaml",
        "summary.json",
        "metrics.csv",
        "events.out.tfevents.*",
        "checkpoints/last.ckpt",
    ],
)
def test_where_the_disk_is_full_the_run_ends_and_then_goes_on_as_if_nothing_had_been(
    file: str, whole: Path, tmp_path: Path
) -> None:
    """The limit of a process has the same effect in each write as a full disk.

    Here the limit is a byte less than a file has at the end; larger files meet it earlier.
    """
    sizes = [path.stat().st_size for path in whole.glob(file)] if file else [1]
    done = limited(max(sizes) - 1, *RUN, f"paths.log_dir={tmp_path}")
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in (1, 2)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "train.log" not in line]
    assert any("cannot be written: File too large." in line for line in lines)
    again = [f"resume={path}" for path in tmp_path.glob("runs/linear/*")]
    assert bool(again) == (done.returncode == 1)
    run_train(*(again or [*RUN, f"paths.log_dir={tmp_path}"]), draws=False)
    assert_bit_identical(only_run(tmp_path), whole)
    assert list(only_run(tmp_path).rglob(".*.ckpt")) == []


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "vectorized"])
def test_a_sweep_on_a_full_disk_goes_on_when_there_is_space(
    launcher: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", "experiment=linear", "accelerator=cpu", "logger=csv", "seed=1,2"]
    words += ["trainer.max_steps=7", "callbacks.checkpoints.every_n_steps=3"]
    words += [f"hydra/launcher={launcher}"]
    run_train(*words, f"paths.log_dir={tmp_path / 'whole'}", draws=False)
    (checkpoint, *_) = tmp_path.rglob("last.ckpt")
    words += [f"paths.log_dir={tmp_path / 'full'}"]
    done = limited(checkpoint.stat().st_size - 1, *words)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1
    assert "2 jobs: 2 failed" in done.stdout
    run_train(*words, draws=False)
    for job in (tmp_path / "full/sweeps/linear").glob("seed=*"):
        assert_bit_identical(job, tmp_path / "whole/sweeps/linear" / job.name)


def test_a_log_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.messages import to_file

    (tmp_path / "train.log").symlink_to("/dev/full")
    with to_file(tmp_path / "train.log"):
        for _ in range(3):
            logging.getLogger("of a test").error("hello")
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path / 'train.log'}: cannot be written: No space left on device."
    ]
