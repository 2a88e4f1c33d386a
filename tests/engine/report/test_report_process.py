"""`project.report` in a process of its own: what it imports, and many groups."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from commands import run_report
from synthetic_runs import write_run, write_sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "sweep")


COMMAND = """
import atexit, runpy, sys
atexit.register(lambda: print("imported:", *sys.modules, file=sys.stderr))
runpy.run_module("project.report", run_name="__main__", alter_sys=True)
"""


def test_neither_torch_nor_for_a_mistake_pandas_is_imported(sweep: Path) -> None:
    """And a reader who goes early, such as `head`, is no error."""
    words = [sys.executable, "-W", "error", "-c", COMMAND, str(sweep)]
    unread, stdout = os.pipe()
    os.close(unread)
    done = subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE, text=True)
    os.close(stdout)
    (imported,) = done.stderr.splitlines()
    assert done.returncode == 0
    assert "pandas" in imported.split()
    assert {"torch", "lightning", "tensorboard", "matplotlib.pyplot"} & set(
        imported.split()
    ) == set()
    done = subprocess.run([*words, "--group-by", "optimiser"], capture_output=True, text=True)
    error, imported = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert error.startswith("error: --group-by optimiser: no such key. ")
    assert {"pandas", "scipy", "matplotlib", "yaml"} & set(imported.split()) == {"yaml"}


@pytest.mark.slow
def test_many_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        curve = {step: {"train/loss": 2.0 - step / 500} for step in range(50)}
        changes = {"optimizer.lr": number // 2 % 10, "trainer.max_epochs": number // 20}
        metrics = {"val/acc": rng.uniform(), "train/loss": 1.0}
        write_run(
            tmp_path / str(number), seed=number % 2, metrics=metrics, curve=curve, changes=changes
        )
    run_report(str(tmp_path))
    assert capsys.readouterr().out.startswith("60 runs (60 finished) in 30 groups; val/acc")
