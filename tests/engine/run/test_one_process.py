"""Two processes at one run's folder: the second says who has the folder, and changes nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from commands import (
    environment,
    killable,
    only_run,
    run_evaluate,
    run_train,
    train_in_process,
)
from engine import locks
from engine.report.read.collect import INTERRUPTED, RUNNING, unfinished
from engine.run import folders
from engine.run.folder_names import lock_of
from engine.run.run import Run
from identical import assert_bit_identical
from project.train import train
from resuming import RUN, contents, refused


@contextmanager
def standing_still(words: list[str], moment: str, lock: Callable[[], Path]) -> Iterator[Path]:
    """Runs a command that stops at a moment and holds a lock; yields the lock.

    The process is killed at the end.

    Args:
        words: of the command line.
        moment: as `moments.at` takes it.
        lock: finds the lock; fails until it is there.
    """
    command = killable(words, moment, signal.SIGSTOP)
    with subprocess.Popen(command, env=environment()) as process:
        try:
            until = time.monotonic() + 120
            while not _stands_still(lock):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            yield lock()
        finally:
            process.kill()
    while locks.is_held(lock()):  # its process is another one than the one that it was asked for by
        time.sleep(0.05)


def _stands_still(lock: Callable[[], Path]) -> bool:
    try:
        path = lock()
        words = locks.owner(path).split()
        status = subprocess.check_output(["ps", "-o", "stat=", "-p", words[1]], text=True)
    except (OSError, ValueError, IndexError, subprocess.CalledProcessError):
        return False
    return status.startswith("T")


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A run that was killed at step 17 of 20, with a checkpoint of step 15."""
    words = [*RUN, f"paths.log_dir={tmp_path / 'killed'}"]
    assert train_in_process(words, kill_at="on_train_batch_end:17") == -9
    return only_run(tmp_path / "killed")


def test_a_run_s_folder_is_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While it trains, nobody resumes it or makes it longer; it can be measured."""
    words = [*RUN, f"paths.log_dir={tmp_path / 'a'}"]
    with standing_still(
        words, "on_train_batch_end:15", lambda: lock_of(only_run(tmp_path / "a"))
    ) as lock:
        run_dir = only_run(tmp_path / "a")
        assert lock == run_dir / ".hydra/lock"
        pid = lock.read_text().split()[1]
        before = contents(run_dir)
        for more in ([], ["insist=true"], ["trainer.max_epochs=9"]):
            says = refused(run_train, capsys, f"resume={run_dir}", *more)
            assert says.startswith(f"error: {run_dir}: process {pid} on ")
            assert contents(run_dir) == before
        assert list(run_dir.parent.iterdir()) == [run_dir]
        run_evaluate(f"run={run_dir}", draws=False)
        measured = json.loads((run_dir / "evaluation/test.json").read_text())
        assert measured["checkpoint"] == "checkpoints/best.ckpt"
        assert unfinished(run_dir) == RUNNING
    assert unfinished(run_dir) == INTERRUPTED
    run_train(f"resume={run_dir}", draws=False)  # the dead have no locks
    run_train(*RUN, f"paths.log_dir={tmp_path / 'b'}", draws=False)
    rows = [(only_run(tmp_path / name) / "metrics.csv").read_text() for name in ("a", "b")]
    assert rows[0] == rows[1]


def test_a_run_is_resumed_once(killed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with standing_still(
        [f"resume={killed}"], "on_train_batch_end:18", lambda: lock_of(killed)
    ) as lock:
        before = contents(killed)
        says = refused(run_train, capsys, f"resume={killed}")
        assert f"process {lock.read_text().split()[1]} on " in says
        link = killed.parent / "link"
        link.symlink_to(killed)
        assert refused(run_train, capsys, f"resume={link}").startswith(f"error: {link}: process ")
        link.unlink()
        assert contents(killed) == before
    run_train(f"resume={killed}", draws=False)


def test_of_three_processes_that_resume_a_run_one_does(killed: Path, tmp_path: Path) -> None:
    """As it happened: metrics.csv was spoilt in 8 of 8 cases of two processes."""
    codes: list[int] = []

    def resume() -> None:
        codes.append(train_in_process([f"resume={killed}"]))

    threads = [threading.Thread(target=resume) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One that comes late finds a finished run.
    assert 0 in codes
    assert set(codes) <= {0, 2}
    run_train(*RUN, f"paths.log_dir={tmp_path / 'whole'}", draws=False)
    whole = only_run(tmp_path / "whole")
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_a_job_that_a_sweep_runs_is_not_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", *RUN, "seed=1,2", f"paths.log_dir={tmp_path}"]

    def first() -> Path:
        (job,) = tmp_path.glob("sweeps/linear/*seed=*")
        return job

    with standing_still(words, "on_train_batch_end:15", lambda: lock_of(first())) as lock:
        job = first()
        assert lock == job.parent / ".locks" / f"{job.name[-8:]}.lock"
        before = contents(job)
        says = refused(run_train, capsys, f"resume={job}")
        assert says.startswith(f"error: {job}: process {lock.read_text().split()[1]} on ")
        assert contents(job) == before
        assert not (job / ".hydra/lock").exists()


def test_whoever_only_looks_at_a_lock_keeps_nobody_out(tmp_path: Path) -> None:
    """To look is to hold it for a moment."""
    lock = tmp_path / ".hydra/lock"
    lock.parent.mkdir()
    look = FileLock(lock, thread_local=False)
    look.acquire()
    moment = threading.Timer(0.2, look.release)
    moment.start()
    with folders.held(tmp_path):
        assert not look.is_locked
        assert locks.is_ours(lock)
    moment.join()


@pytest.mark.slow
def test_a_sweep_leaves_a_job_to_the_process_that_resumes_it(tmp_path: Path) -> None:
    words = ["-m", *RUN, "seed=1,2", f"paths.log_dir={tmp_path}"]
    assert train_in_process(words, kill_at="on_train_batch_end:15") == -9
    (job,) = tmp_path.glob("sweeps/linear/*seed=*")
    codes: list[int] = []
    sweep = threading.Thread(target=lambda: codes.append(train_in_process(words)))
    with standing_still([f"resume={job}"], "on_train_batch_end:17", lambda: lock_of(job)):
        before = contents(job)
        sweep.start()
        while len(done := list(job.parent.glob("*seed=*/summary.json"))) == 0:
            assert sweep.is_alive()
            time.sleep(0.05)
        time.sleep(0.5)
        assert [path.parent for path in done] != [job]
        assert contents(job) == before
        assert sweep.is_alive()  # it waits
    sweep.join()
    assert codes == [0]
    assert len(list(job.parent.glob("*seed=*/summary.json"))) == 2
    run_train(*RUN, "seed=1", f"paths.log_dir={tmp_path / 'alone'}", draws=False)
    alone = only_run(tmp_path / "alone")
    for seed in job.parent.glob("*seed=1-*"):
        assert_bit_identical(seed, alone)


def test_the_lock_of_a_dead_process_is_free_though_its_child_lives(tmp_path: Path) -> None:
    with FileHolder(tmp_path / "lock") as holder:
        assert locks.is_held(holder.path)
        holder.process.kill()
        holder.process.wait()
        assert os.getpgid(holder.child) == holder.pid
        assert not locks.is_held(holder.path)


def test_two_that_measure_one_split(killed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each split has a lock of its own: it is all that is written."""
    other = FileHolder(killed / ".hydra/test.lock")
    with other:
        says = refused(run_evaluate, capsys, f"run={killed}")
        assert says.startswith(f"error: {killed}: process {other.pid} on ")
        assert " is at work on it (test).\n" in says
        assert not (killed / "evaluation").exists()
        run_evaluate(f"run={killed}", "split=val", draws=False)
    run_evaluate(f"run={killed}", draws=False)
    assert {path.name for path in (killed / "evaluation").iterdir()} == {"val.json", "test.json"}


class FileHolder:
    """A process that holds a lock, and a child of it that lives on: as a DataLoader's worker may.

    Args:
        path: the lock's.
    """

    CODE = """
import os, sys, time
from pathlib import Path
from engine import locks
lock = locks.acquire(Path(sys.argv[1]))
if os.fork() == 0:
    print(os.getppid(), os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
sys.stdin.read()
"""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pid = self.child = 0

    def __enter__(self) -> "FileHolder":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.CODE, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout
        self.pid, self.child = map(int, self.process.stdout.readline().split())
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            stream.close()


def test_of_several_processes_that_train_together_the_first_one_holds_the_folder(
    killed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others come when the first has it, and would be refused."""
    config = folders.load_config(killed)
    seen: list[bool] = []

    def held(run: Run) -> float:
        seen.append(locks.is_held(lock_of(killed)))
        return 0.0

    Run(config, killed, train.module).execute(held)
    monkeypatch.setenv("LOCAL_RANK", "1")
    Run(config, killed, train.module).execute(held)
    assert seen == [True, False]
    with FileHolder(lock_of(killed)):
        Run(config, killed, train.module).execute(held)  # is not refused
        monkeypatch.setenv("LOCAL_RANK", "0")
        refused(run_train, capsys, f"resume={killed}")
    assert seen == [True, False, True]
