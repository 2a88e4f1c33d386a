"""Two processes on the CPU give the results of one, for all losses, batches and splits."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from commands import only_run, run_train
from engine import door
from engine.run import children, folders
from warm import python

TWO = ["accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]
# DIGITS has 1,221 samples in batches of 100, the last of 21; REGRESSION has 64 and 100 samples in
# batches of 27, the last of 10 and of 19.
DIGITS = [
    "datamodule.batch_size=100",
    "datamodule.steps_per_epoch=null",
    "datamodule.eval_batch_size=101",
    "logger=csv",
    "trainer.max_epochs=1",
    "seed=3",
    "trainer.log_every_n_steps=5",
    "callbacks.classification.grid_images=0",
]
REGRESSION = ["callbacks=default", "datamodule.batch_size=27", "trainer.max_steps=7", "logger=csv"]


def train_as_a_user_does(*words: str) -> str:
    """`python -m project.train …` in a shell; what it prints."""
    command = [python(), "-m", "project.train", *words]
    environment = {**os.environ, "HYDRA_FULL_ERROR": ""}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def assert_same(two: Path, one: Path) -> None:
    """Rows of metrics, metrics and weights alike, to rounding; the summary tells of two devices."""
    ours, theirs = (json.loads((run / "summary.json").read_text()) for run in (two, one))
    assert ours["device"].startswith("2 × cpu")
    assert theirs["device"].startswith("1 × cpu")
    same = ("status", "steps", "seed")
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    assert ours["config_hash"] != theirs["config_hash"]  # they may differ by rounding
    assert ours["status"] == "finished"
    assert ours["metrics"] == pytest.approx(theirs["metrics"], rel=1e-4)
    assert rows(two) == [pytest.approx(row, rel=1e-4) for row in rows(one)]
    weights, expected = (
        torch.load(run / folders.LAST, weights_only=True)["state_dict"] for run in (two, one)
    )
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], rtol=1e-4, atol=1e-6)


def rows(run_dir: Path) -> list[list[float]]:
    lines = (run_dir / "metrics.csv").read_text().splitlines()[1:]
    return [[float(cell) if cell else -math.inf for cell in line.split(",")] for line in lines]


@pytest.mark.slow
def test_a_classifier(tmp_path: Path) -> None:
    run_train(*DIGITS, "accelerator=cpu", f"paths.log_dir={tmp_path / 'one'}")
    printed = train_as_a_user_does(*DIGITS, *TWO, f"paths.log_dir={tmp_path / 'two'}")
    two = only_run(tmp_path / "two")
    assert_same(two, only_run(tmp_path / "one"))
    assert (
        printed.count("run folder:") == printed.count("finished after 13 steps") == 1
    )  # the first process's word
    assert sorted(path.name for path in two.iterdir()) == [
        ".hydra",
        "checkpoints",
        "figures",
        "metrics.csv",
        "summary.json",
        "train.log",
    ]


@pytest.mark.slow
def test_a_sweep(tmp_path: Path) -> None:
    """One job has a summed loss, one a mean loss.

    The second must not find traces of the processes of the first.
    """
    jobs = {"two_layer": "random_regression", "curve_fit": "parabola"}
    train_as_a_user_does(
        "-m", f"experiment={','.join(jobs)}", *REGRESSION, *TWO, f"paths.log_dir={tmp_path / 'two'}"
    )
    for experiment in jobs:
        log_dir = tmp_path / experiment
        run_train(
            f"experiment={experiment}", *REGRESSION, "accelerator=cpu", f"paths.log_dir={log_dir}"
        )
        (two,) = (tmp_path / "two").glob(f"sweeps/{experiment}/experiment={experiment}-*")
        assert_same(two, only_run(log_dir))


def test_joinable_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["project.train", "-m", "seed=1,2"]
    monkeypatch.setattr(sys, "argv", words[:])
    before: dict[str, Any] = dict(os.environ)
    digest = "0" * 64
    with children.joinable(tmp_path, "project.train", digest):
        assert sys.argv == ["project.train", f"resume={tmp_path}", f"trust={digest}"]
        os.environ |= {"LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "1"}
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
    assert sys.argv == words
    assert dict(os.environ) == before
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(("digest", "expected"), [("0" * 64, [door.GRACE]), ("true", [])])
def test_a_further_process_ends_with_the_first_one(
    digest: str, expected: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: one that had just begun lived on after the first one was killed."""
    graces: list[float] = []

    def end(grace: float, parent: int | None) -> None:
        assert parent == 4321
        graces.append(grace)

    monkeypatch.setattr("engine.signals.end_with_parent", end)
    monkeypatch.setenv(children.PARENT, "4321")
    with pytest.raises(SystemExit) as stop:
        run_train(f"resume={tmp_path}", f"trust={digest}")
    assert (stop.value.code, graces) == (2, expected)


PARENT = """
import os, subprocess, sys
child = "import time; from engine.signals import end_with_parent as end; end(0.1); print(); "
command = [sys.executable, "-c", child + "time.sleep(60)"]
process = subprocess.Popen(command, stdout=subprocess.PIPE)
process.stdout.readline()
print("begun", flush=True)
os._exit(0)
"""


def test_a_process_ends_after_its_parent() -> None:
    command = [sys.executable, "-c", PARENT]
    # The child has an end of the pipe for errors, so this waits for its end: not for 60 seconds.
    done = subprocess.run(command, capture_output=True, check=True, timeout=20)
    assert done.stdout == b"begun\n"


def test_a_process_ends_whose_parent_is_gone_before_it_looks() -> None:
    """As it happened: it took the process that it was left to for its parent."""
    gone = "import time; from engine.signals import end_with_parent as end; end(0.1, 1); "
    done = subprocess.run([sys.executable, "-c", gone + "time.sleep(60)"], timeout=20)
    assert done.returncode == -signal.SIGKILL


def test_a_run_that_ends_well_tells_of_processes_that_have_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: one that failed at the end was killed before it had said why."""
    monkeypatch.setattr(children, "PATIENCE", 1.0)
    ends = ("raise SystemExit(3)", "", "import time; time.sleep(60)")
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen([sys.executable, "-c", end])) for end in ends
        ]
        stack.callback(started[-1].kill)
        monkeypatch.setattr("engine.fence.lightning.taken_children", lambda trainer: started)
        children.await_others(SimpleNamespace())  # type: ignore[arg-type]
        assert started[-1].poll() is None
    assert caplog.messages == [
        "process 1 of the run has failed, by exit code 3",
        "process 3 of the run is still at work, and ends with this command",
    ]


@pytest.mark.parametrize("rank", [0, 1])
def test_of_processes_that_have_failed_the_first_one_tells_and_ends_the_others(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: each printed a traceback, before the first step of a folder that was gone."""
    did: list[Any] = []
    monkeypatch.setattr(
        "engine.fence.lightning.kill_children", lambda trainer, patience: did.append(trainer)
    )
    monkeypatch.setattr("time.sleep", did.append)
    trainer: Any = SimpleNamespace(is_global_zero=rank == 0)
    children.end_others(trainer)
    assert did == [children.PATIENCE if rank else trainer]
