"""Jobs as tasks of a Ray cluster: each runs once, whichever of them are killed."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import ending
from commands import TESTS
from launching import KILLED_AT, LONG, Run, assert_each_ran_once, in_readme, wait_for
from warm import python


def ray_node(*words: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=2"]
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


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster of one node on this machine, with two CPUs; RAY_ADDRESS tells of it."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # its sockets allow no long path
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))  # of the workers
    job = {"runtime_env": {"py_executable": python()}}  # so that no worker imports Lightning
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    monkeypatch.setenv("RAY_enable_worker_prestart", "0")  # workers of another Python
    head = [
        "--head",
        f"--port={address.partition(':')[2]}",
        f"--temp-dir={folder}",
        "--include-dashboard=false",
        "--include-log-monitor=false",
        "--no-monitor",
    ]
    node = ray_node(*head)
    try:
        wait_for(lambda: ray_cpus() == 2)
        yield
    finally:
        node.terminate()  # and its processes with it
        node.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_ray(tmp_path: Path, run: Run) -> None:
    words = [*in_readme("ray"), *LONG, "seed=range(2)"]
    handler = signal.getsignal(signal.SIGTERM)
    printed = run(tmp_path, *words, *ending.words({1: "kill"}, tmp_path / "first", KILLED_AT))
    assert_each_ran_once(tmp_path, range(2), 1)
    assert "2 jobs: 2 finished" in printed
    assert signal.getsignal(signal.SIGTERM) == handler
