"""Launchers: jobs in other processes, each run once, whichever of them are killed."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import joblib
import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir

import ending
import fake_slurm
from commands import CONF, TESTS, environment, killable, run_train
from engine import signals
from engine.launch.joblib_launcher import JoblibLauncher
from test_readme import COMMANDS
from warm import python

CURVE = ["experiment=curve_fit", "callbacks=default", "logger=csv", "accelerator=cpu"]
STEPS = 300
LONG = [
    *CURVE,
    f"datamodule.steps_per_epoch={STEPS}",
    "trainer.log_every_n_steps=50",
    "callbacks.checkpoints.every_n_steps=100",
]


def in_readme(launcher: str) -> list[str]:
    """The words of the README's command for a launcher."""
    (command,) = [command for command in COMMANDS if command.endswith(f"hydra/launcher={launcher}")]
    assert command.startswith("python -m project.train -m ")
    return shlex.split(command)[4:]


def command(log_dir: Path, *words: str) -> list[str]:
    return [python(), "-m", "project.train", "-m", *words, f"paths.log_dir={log_dir}"]


Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Run:
    """Run a sweep in this process, its jobs in others; returns what it says."""
    caplog.set_level("INFO")
    monkeypatch.setenv("PYTHONPATH", str(TESTS))  # whose callbacks the jobs have
    monkeypatch.setattr(sys, "executable", python())

    def run(log_dir: Path, *words: str) -> str:
        caplog.clear()
        run_train("-m", *words, f"paths.log_dir={log_dir}")
        return "\n".join(record.getMessage() for record in caplog.records)

    return run


@pytest.mark.slow
def test_vectorized(tmp_path: Path, run: Run) -> None:
    """The README has 256 jobs, whose files take most of the time."""
    words = in_readme("vectorized")
    assert "seed=range(256)" in words
    printed = run(tmp_path, *words, "seed=range(40)", "accelerator=cpu")
    assert "40 jobs together" in printed
    assert "\n40 jobs: 40 finished\n" in printed
    summaries = [
        json.loads(path.read_text()) for path in tmp_path.glob("sweeps/curve_fit/*/summary.json")
    ]
    assert sorted(summary["seed"] for summary in summaries) == list(range(40))
    assert {summary["status"] for summary in summaries} == {"finished"}
    assert all(
        (folder / "metrics.csv").read_text().count("\n") == 101
        for folder in folders(tmp_path).values()
    )


def folders(log_dir: Path) -> dict[str, Path]:
    """The folder of each job, by the readable part of its name."""
    return {
        path.parent.parent.name[:-9]: path.parent.parent
        for path in log_dir.glob("sweeps/*/*/.hydra/config.yaml")
    }


def summary(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return read


def assert_each_ran_once(log_dir: Path, seeds: range, killed: int) -> None:
    """Check that every job began once and ended once; the killed one began twice.

    The second time, that one began at its checkpoint.
    """
    for seed in seeds:
        folder = folders(log_dir)[f"seed={seed}"]
        assert (summary(folder)["status"], summary(folder)["steps"]) == ("finished", STEPS)
        log = (folder / "train.log").read_text()
        assert re.findall(r"starts at step (\d+)", log) == (
            ["0", "200"] if seed == killed else ["0"]
        )
        assert log.count(f"finished after {STEPS} steps") == 1
        rows = (folder / "metrics.csv").read_text().splitlines()
        assert len(rows) == 1 + STEPS // 50


def wait_for(state: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not state():
        assert time.monotonic() < until
        time.sleep(0.1)


def ray_node(*words: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    return subprocess.Popen(
        [*command, "--object-store-memory=80000000", *words], stdout=subprocess.DEVNULL
    )


def ray_cpus() -> float:
    """How many the cluster has; none while it is not there."""
    import ray

    try:
        ray.init(logging_level="error")
    except (ConnectionError, RuntimeError):
        return 0
    try:
        return float(ray.cluster_resources().get("CPU", 0))
    finally:
        ray.shutdown()


def is_free(lock: Path) -> bool:
    with FileLock(lock).acquire(blocking=False):
        return True


@pytest.mark.slow
def test_joblib(tmp_path: Path) -> None:
    """One process is killed, and three jobs end badly; the others do not suffer from it."""
    how = {1: "kill", 3: "exit", 4: "mistake", 5: "bug"}
    words = [*in_readme("joblib"), *LONG, "hydra.launcher.n_jobs=2", "seed=range(6)", "threads=2"]
    words += ending.words(how, tmp_path / "first", 250)
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
    assert_each_ran_once(tmp_path, seeds=range(3), killed=1)
    ended = {name: summary(folder) for name, folder in folders(tmp_path).items()}
    assert {
        name: (job["status"], job["error"])
        for name, job in ended.items()
        if job["status"] != "finished"
    } == {
        "seed=3": ("interrupted", None),
        "seed=4": ("failed", "a mistake"),
        "seed=5": ("failed", "RuntimeError: a bug"),
    }
    assert {job["device"].partition(", ")[2] for job in ended.values()} == {"2 threads)"}
    assert "6 jobs: 3 finished, 3 failed" in done.stdout
    assert done.stdout.count(" of 6: seed=") == 6
    assert "epoch 1/1" not in done.stdout  # which is in the jobs' logs

    run_train(
        *LONG,
        *ending.words({}, tmp_path / "first", 250),
        "threads=2",
        "seed=1",
        f"paths.log_dir={tmp_path}",
    )
    (alone,) = tmp_path.glob("runs/*/*/metrics.csv")
    assert (folders(tmp_path)["seed=1"] / "metrics.csv").read_text() == alone.read_text()


@pytest.mark.slow
def test_submitit_local(tmp_path: Path, run: Run) -> None:
    words = [*in_readme("submitit_local"), *LONG, "hydra.launcher.n_jobs=1", "seed=range(2)"]
    printed = run(tmp_path, *words, *ending.words({1: "kill"}, tmp_path / "first", 250))
    assert_each_ran_once(tmp_path, seeds=range(2), killed=1)
    assert "2 jobs: 2 finished" in printed


@pytest.mark.slow
def test_submitit_slurm(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Slurm is here: checks what Slurm is told, and a job in the environment that it gives."""
    fake_slurm.install(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    more = ["mem_gb=3", "slurm_partition=big", "slurm_setup=[pwd]"]
    words = [
        *in_readme("submitit_slurm"),
        *CURVE,
        *(f"hydra.launcher.{word}" for word in more),
        "seed=range(2)",
    ]
    run(tmp_path, *words, "threads=2")
    assert [summary(folders(tmp_path)[name])["status"] for name in ("seed=0", "seed=1")] == [
        "finished"
    ] * 2
    asked = re.findall("#SBATCH --(.*)", (tmp_path / "script.sh").read_text())
    assert {
        "array=0-1%2",
        "cpus-per-task=2",
        "mem=3GB",
        "partition=big",
        "time=240",
        "job-name=curve_fit",
    } < set(asked)


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two nodes of one CPU each, on this machine; RAY_ADDRESS tells of them."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # its sockets allow no long path
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))  # of the workers
    head = [
        "--head",
        f"--port={address.partition(':')[2]}",
        f"--temp-dir={folder}",
        "--include-dashboard=false",
    ]
    nodes = [ray_node(*head)]
    try:
        wait_for(lambda: ray_cpus() == 1)
        nodes.append(ray_node(f"--address={address}"))
        wait_for(lambda: ray_cpus() == 2)
        yield
    finally:
        for node in nodes:
            node.terminate()  # and its processes with it
        for node in nodes:
            node.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_ray(tmp_path: Path, run: Run) -> None:
    words = [*in_readme("ray"), *LONG, "seed=range(4)"]
    handler = signal.getsignal(signal.SIGTERM)
    printed = run(tmp_path, *words, *ending.words({1: "kill"}, tmp_path / "first", 250))
    assert_each_ran_once(tmp_path, seeds=range(4), killed=1)
    assert "4 jobs: 4 finished" in printed
    assert signal.getsignal(signal.SIGTERM) == handler


ENDLESS = [*LONG, "datamodule.steps_per_epoch=100000", "hydra.launcher.n_jobs=1", "seed=0"]


def wait_for_checkpoint(log_dir: Path) -> None:
    wait_for(lambda: list(log_dir.glob("sweeps/*/*/checkpoints/last.ckpt")) != [])


def assert_interrupted(log_dir: Path, launcher: str, run: Run) -> None:
    """No process holds the job; and the sweep knows it."""
    (lock,) = log_dir.glob("sweeps/*/.locks/*.lock")
    assert is_free(lock)
    assert "1 job: 1 interrupted" in run(
        log_dir, *ENDLESS, f"hydra/launcher={launcher}", "sweep.dry_run=true"
    )


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
@pytest.mark.parametrize(
    ("launcher", "sent", "code"),
    [("joblib", signal.SIGKILL, -9), ("submitit_local", signal.SIGTERM, 143)],
)
def test_a_stopped_sweep(launcher: str, sent: int, code: int, tmp_path: Path, run: Run) -> None:
    words = killable(["-m", *ENDLESS, f"hydra/launcher={launcher}", f"paths.log_dir={tmp_path}"])
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as process:
        try:
            wait_for_checkpoint(tmp_path)
            process.send_signal(sent)
            printed, _ = process.communicate(timeout=15)  # no worker has its end of the pipe
        finally:
            process.kill()
    assert process.returncode == code
    assert "Traceback" not in printed
    assert_interrupted(tmp_path, launcher, run)


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
    ("launcher", "package"), [("joblib",) * 2, ("submitit_slurm", "submitit"), ("ray",) * 2]
)
def test_a_missing_extra(
    launcher: str,
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(SystemExit) as stop:
        run_train("-m", *CURVE, f"hydra/launcher={launcher}", f"paths.log_dir={tmp_path}")
    assert stop.value.code == 2
    install = f'pip install -c constraints.txt -e ".[{package}]"'
    needs = f"hydra/launcher={launcher} needs {package}: {install}"
    assert capsys.readouterr().err.splitlines() == [f"error: {needs}"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["joblib", "hydra.launcher.n_jobs=0"],
            "hydra.launcher.n_jobs=0: must be a whole number from 1 or null.",
        ),
        (
            ["submitit_slurm"],
            'hydra.launcher: Could not detect "srun", are you indeed on a slurm cluster?',
        ),
        (
            ["ray", "hydra.launcher.address=127.0.0.1:1"],
            "hydra.launcher.address=127.0.0.1:1: no Ray cluster there; ",
        ),
    ],
    ids=["joblib", "submitit_slurm", "ray"],
)
def test_an_option_that_is_wrong(
    words: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(
            "-m",
            *CURVE,
            "seed=1,2",
            f"hydra/launcher={words[0]}",
            *words[1:],
            f"paths.log_dir={tmp_path}",
        )
    assert stop.value.code == 2
    assert f"error: {error}" in capsys.readouterr().err
    assert not folders(tmp_path)


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
    work: Any = None
    answers = JoblibLauncher(n_jobs=1).answers([work])
    with pytest.raises(signals.Interrupted), signals.heeded(signal.SIGTERM), closing(answers):
        next(answers)
    assert done == ["made", "started", "ended"]


def test_what_a_launcher_needs_is_imported_when_it_launches() -> None:
    ask = "from hydra.core.plugins import Plugins; Plugins.instance(); "
    ask += "import sys; print(*sys.modules)"
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    modules = set(asked.stdout.split())
    assert {"engine.vectorized.launcher", "engine.launch.submitit_launcher"} <= modules
    assert not modules & {"joblib", "submitit", "ray", "torch"}


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
