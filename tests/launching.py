"""Runs sweeps whose jobs are in other processes, and reads what the jobs have left."""

import json
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from test_readme import COMMANDS
from warm import python

CURVE = ["experiment=curve_fit", "callbacks=default", "logger=csv", "accelerator=cpu"]
STEPS = 60
LONG = [
    *CURVE,
    f"datamodule.steps_per_epoch={STEPS}",
    "trainer.log_every_n_steps=10",
    "callbacks.checkpoints.every_n_steps=20",
]
ENDLESS = [*LONG, "datamodule.steps_per_epoch=100000", "hydra.launcher.n_jobs=1", "seed=0"]
KILLED_AT = 50
Run = Callable[..., str]


def in_readme(launcher: str) -> list[str]:
    """The words of the README's command for a launcher."""
    (command,) = [command for command in COMMANDS if command.endswith(f"hydra/launcher={launcher}")]
    assert command.startswith("python -m project.train -m ")
    return shlex.split(command)[4:]


def command(log_dir: Path, *words: str) -> list[str]:
    return [python(), "-m", "project.train", "-m", *words, f"paths.log_dir={log_dir}"]


def folders(log_dir: Path) -> dict[str, Path]:
    """The folder of each job, by the readable part of its name."""
    return {
        path.parent.parent.name[:-9]: path.parent.parent
        for path in log_dir.glob("sweeps/*/*/.hydra/config.yaml")
    }


def summary(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return read


def assert_each_ran_once(log_dir: Path, seeds: range, *killed: int) -> None:
    """Check that every job began once and ended once; those that were killed began twice.

    The second time, these began at their checkpoints.
    """
    for seed in seeds:
        folder = folders(log_dir)[f"seed={seed}"]
        assert (summary(folder)["status"], summary(folder)["steps"]) == ("finished", STEPS)
        log = (folder / "train.log").read_text()
        assert re.findall(r"starts at step (\d+)", log) == (
            ["0", "40"] if seed in killed else ["0"]
        )
        assert log.count(f"finished after {STEPS} steps") == 1
        rows = (folder / "metrics.csv").read_text().splitlines()
        assert len(rows) == 1 + STEPS // 10


def wait_for(state: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not state():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_free(lock: Path) -> bool:
    with FileLock(lock).acquire(blocking=False):
        return True


def wait_for_checkpoint(log_dir: Path) -> None:
    wait_for(lambda: list(log_dir.glob("sweeps/*/*/checkpoints/last.ckpt")) != [])


def assert_interrupted(log_dir: Path, launcher: str, run: Run) -> None:
    """No process holds the job; and the sweep knows it."""
    (lock,) = log_dir.glob("sweeps/*/.locks/*.lock")
    assert is_free(lock)
    assert "1 job: 1 interrupted" in run(
        log_dir, *ENDLESS, f"hydra/launcher={launcher}", "sweep.dry_run=true"
    )
