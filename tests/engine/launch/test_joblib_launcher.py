"""Jobs in processes of this machine: each runs once, whichever of them are killed."""

import os
import signal
import subprocess
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import joblib
import pytest
from hydra import compose, initialize_config_dir

import ending
from commands import CONF, environment, run_train
from engine import signals
from engine.launch.joblib_launcher import JoblibLauncher
from launching import (
    CURVE,
    ENDLESS,
    KILLED_AT,
    LONG,
    Run,
    assert_each_ran_once,
    assert_interrupted,
    command,
    folders,
    in_readme,
    summary,
    wait_for_checkpoint,
)


@pytest.mark.slow
def test_joblib(tmp_path: Path) -> None:
    """Two processes get a signal, and three jobs end badly; the others do not suffer from it."""
    how = {1: "kill", 2: "term", 3: "exit", 4: "mistake", 5: "bug"}
    words = [*in_readme("joblib"), *LONG, "hydra.launcher.n_jobs=2", "seed=range(6)", "threads=2"]
    words += ending.words(how, tmp_path / "first", KILLED_AT)
    passive = {"HYDRA_FULL_ERROR": "", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        command(tmp_path, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment(), **passive},
        timeout=300,
    )
    assert done.returncode == 1, done.stdout
    assert_each_ran_once(tmp_path, range(3), 1, 2)
    assert (folders(tmp_path)["seed=3"] / "train.log").read_text().count("starts at step") == 1
    ended = {name: summary(folder) for name, folder in folders(tmp_path).items()}
    assert {
        name: (job["status"], job["error"])
        for name, job in ended.items()
        if job["status"] != "finished"
    } == {
        "seed=3": ("failed", "RuntimeError: the code would end the process: SystemExit: 3"),
        "seed=4": ("failed", "a mistake"),
        "seed=5": ("failed", "RuntimeError: a bug"),
    }
    assert {job["device"].partition(", ")[2] for job in ended.values()} == {"2 threads)"}
    assert "6 jobs: 3 finished, 3 failed" in done.stdout
    assert done.stdout.count(" of 6: seed=") == 6
    assert "epoch 1/1" not in done.stdout  # which is in the jobs' logs

    run_train(
        *LONG,
        *ending.words({}, tmp_path / "first", KILLED_AT),
        "threads=2",
        "seed=1",
        f"paths.log_dir={tmp_path}",
    )
    (alone,) = tmp_path.glob("runs/*/*/metrics.csv")
    assert (folders(tmp_path)["seed=1"] / "metrics.csv").read_text() == alone.read_text()


@pytest.mark.slow
def test_a_sweep_stopped_by_ctrl_c(tmp_path: Path, run: Run) -> None:
    """As one types it in a shell."""
    words = command(tmp_path, *ENDLESS, "hydra/launcher=joblib")
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            wait_for_checkpoint(tmp_path)
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=15)  # no worker has its end of the pipe
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in printed
    assert_interrupted(tmp_path, "joblib", run)


@pytest.mark.slow
def test_a_job_of_two_processes(tmp_path: Path, run: Run) -> None:
    """The sweep leaves no process, though this one, which called it, goes on."""
    two = ["accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]
    before = workers()
    run(tmp_path, *CURVE, *two, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "seed=0")
    assert workers() == before
    (folder,) = folders(tmp_path).values()
    assert (summary(folder)["status"], summary(folder)["steps"]) == ("finished", 100)
    assert summary(folder)["device"].startswith("2 × cpu")
    assert (folder / "train.log").read_text().count("finished after 100 steps") == 1


@pytest.mark.parametrize(
    ("words", "gpus", "at_once"),
    [
        (["threads=1"], "", 8),
        (["threads=3"], "", 2),
        (["threads=9"], "", 1),
        (["threads=2", "trainer.devices=2"], "", 2),
        (["accelerator=auto"], "0,1,2", 3),
        (["accelerator=gpu", "threads=4"], "0,1,2", 2),
        (["accelerator=gpu"], "0", 8),
        (["accelerator=cpu"], "0,1,2", 8),
    ],
)
def test_as_many_jobs_as_fit(
    words: list[str], gpus: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    launcher = JoblibLauncher()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        launcher.config = compose("config", overrides=words)
    assert launcher.at_once() == at_once


def test_a_signal_does_not_lose_a_process_that_is_just_being_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    class Pool:
        def __init__(self, **_: Any) -> None:
            done.append("made")

        def submit(self, work: Any) -> Future[float]:
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("started")
            return Future()

        def shutdown(self, kill_workers: bool) -> None:
            done.append("ended")

    monkeypatch.setattr(joblib.externals.loky, "ProcessPoolExecutor", Pool)
    work: Any = SimpleNamespace(job=None)
    answers = JoblibLauncher(n_jobs=1).answers([work])
    with pytest.raises(signals.Interrupted), signals.heeded(signal.SIGTERM), closing(answers):
        next(answers)
    assert done == ["made", "started", "ended"]


@pytest.mark.parametrize("again", [False, True])
def test_a_job_that_runs_again_has_a_new_process(again: bool, tmp_path: Path) -> None:
    """A process of before an edit finds that the job has ended as it is to be."""
    launcher = JoblibLauncher(n_jobs=1)
    of_before: Any = mock.Mock()
    of_before.submit.return_value = ended = Future[float]()
    ended.set_result(0.25)
    new: Any = mock.Mock()
    new.submit.return_value = anew = Future[float]()
    anew.set_result(0.5)
    launcher.idle.append(of_before)
    work: Any = SimpleNamespace(job=mock.Mock(launched_as=(tmp_path, 3) if again else None))
    with mock.patch("joblib.externals.loky.ProcessPoolExecutor", return_value=new):
        assert list(launcher.answers([work])) == [(0, 0.5 if again else 0.25)]
    assert of_before.shutdown.call_count == again
    assert launcher.idle == [new if again else of_before]


def workers() -> set[str]:
    """The numbers of loky's processes that this one has started."""
    ours = {
        number
        for path in Path("/proc/self/task").glob("*/children")
        for number in path.read_text().split()
    }
    return {
        number
        for number in ours
        if b"popen_loky" in (Path("/proc") / number / "cmdline").read_bytes()
    }
