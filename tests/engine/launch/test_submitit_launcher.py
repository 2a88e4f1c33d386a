"""Jobs with submitit: in new processes of this machine, and as Slurm starts them."""

import os
import re
import tempfile
from pathlib import Path

import pytest

import ending
import fake_slurm
from launching import CURVE, KILLED_AT, LONG, Run, assert_each_ran_once, folders, in_readme, summary


@pytest.mark.slow
def test_submitit_local(tmp_path: Path, run: Run) -> None:
    words = [*in_readme("submitit_local"), *LONG, "hydra.launcher.n_jobs=1", "seed=range(2)"]
    printed = run(tmp_path, *words, *ending.words({1: "kill"}, tmp_path / "first", KILLED_AT))
    assert_each_ran_once(tmp_path, range(2), 1)
    assert "2 jobs: 2 finished" in printed


@pytest.mark.slow
def test_a_local_job_takes_a_gpu_by_its_name(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such GPU is here, so the job computes on the CPU, after it has taken one."""
    name = f"GPU-of-tests-{os.getpid()}"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{name},MIG-{name}/1/0")
    words = [*in_readme("submitit_local"), *CURVE, "accelerator=auto", "seed=0"]
    printed = run(tmp_path, *words, "trainer.max_epochs=1", "hydra.launcher.n_jobs=1")
    assert "1 job: 1 finished" in printed
    (taken,) = Path(tempfile.gettempdir()).glob(f"engine-gpus-*/*{name}*")
    assert taken.name == f"{name}.0.lock"
    taken.unlink()


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
