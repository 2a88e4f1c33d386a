"""Sweeps: a folder per job, one bad job does not stop the others, and nothing is run twice."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from commands import run_train, train_in_process
from project import runs

LINEAR = ["-m", "experiment=linear", "accelerator=cpu", "logger=csv", "trainer.max_steps=3"]
CURVE = ["datamodule=random_regression", "callbacks=curve_fit"]  # fails where x has more than one column


def sweep(log_dir: Path, *words: str) -> Path:
    """Start a sweep; its folder."""
    run_train(*LINEAR, *words, f"paths.log_dir={log_dir}")
    return folder(log_dir)


def folder(log_dir: Path) -> Path:
    return log_dir / "sweeps" / "linear"


def summaries(sweep_dir: Path) -> dict[str, dict[str, Any]]:
    """What each job's summary.json says, by the readable part of its folder's name."""
    return {
        path.parent.name.rpartition("-")[0]: json.loads(path.read_text())
        for path in sorted(sweep_dir.glob("*/summary.json"))
    }


def written(sweep_dir: Path) -> dict[str, int]:
    """Every job's files, and when they were last written."""
    jobs = sweep_dir.glob("*-????????/**/*")
    return {str(path): path.stat().st_mtime_ns for path in jobs if path.is_file()}


@pytest.mark.slow
def test_a_grid_has_a_folder_per_job_and_runs_no_job_twice(tmp_path: Path) -> None:
    sweep_dir = sweep(tmp_path, "optimizer=sgd,adam", "init=zero,randn")
    names = {path.name for path in sweep_dir.iterdir()}
    assert {"multirun.yaml", ".locks"} < names
    jobs = sorted(names - {"multirun.yaml", ".locks"})
    assert [re.sub("-[0-9a-f]{8}$", "-HASH", name) for name in jobs] == [
        f"optimizer={optimizer},init={init}-HASH" for optimizer in ("adam", "sgd") for init in ("randn", "zero")
    ]
    for name in jobs:
        config, summary = runs.load_config(sweep_dir / name), summaries(sweep_dir)[name.rpartition("-")[0]]
        assert (summary["status"], summary["steps"]) == ("finished", 3)
        assert summary["config_hash"] == runs.config_hash(config)
        assert name.endswith(f"-{summary['config_hash'][:8]}")
        assert f"optimizer={config.optimizer._target_.rpartition('.')[2].lower()}," in name
        assert f"init={config.init._target_.rpartition('.')[2]}-" in name
    assert len(list(tmp_path.rglob(".hydra/config.yaml"))) == 4  # none elsewhere

    before = written(sweep_dir)
    sweep(tmp_path, "init=zero,randn,he", "optimizer=sgd")  # in another order, and one job more
    after = written(sweep_dir)
    assert before.items() <= after.items()
    new = {Path(path).relative_to(sweep_dir).parts[0].rpartition("-")[0] for path in after.keys() - before.keys()}
    assert new == {"init=he"}

    run_train(*LINEAR[1:], "init=randn", "optimizer=sgd", f"paths.log_dir={tmp_path / 'alone'}")
    (alone,) = tmp_path.glob("alone/runs/linear/*/metrics.csv")
    (job,) = sweep_dir.glob("optimizer=sgd,init=randn-*/metrics.csv")
    assert job.read_text() == alone.read_text()


@pytest.mark.slow
def test_a_failing_and_a_diverging_job_do_not_stop_the_others(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, "module=two_layer,linear", "optimizer.lr=1e30,0.01", *CURVE)
    assert stop.value.code == 1
    endings = {name: (job["status"], job["error"] is None) for name, job in summaries(folder(tmp_path)).items()}
    assert endings == {
        "module=two_layer,lr=1e+30": ("failed", False),
        "module=two_layer,lr=0.01": ("failed", False),
        "module=linear,lr=1e+30": ("diverged", True),
        "module=linear,lr=0.01": ("finished", True),
    }

    before = written(folder(tmp_path))
    sweep(tmp_path, "module=linear", "optimizer.lr=1e30", *CURVE)  # diverged: done, and no failure
    assert written(folder(tmp_path)) == before
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, "module=two_layer", "optimizer.lr=0.01", *CURVE)  # failed: reported once more
    assert stop.value.code == 1
    assert written(folder(tmp_path)) == before
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, "module=two_layer", "optimizer.lr=0.01", *CURVE, "sweep.retry=failed")
    assert stop.value.code == 1
    again = {path for path, time in written(folder(tmp_path)).items() if time != before.get(path)}
    assert {Path(path).name for path in again} == {"metrics.csv", "summary.json", "train.log"}


@pytest.mark.slow
def test_a_mistake_that_only_the_data_can_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["datamodule=digits", "callbacks=default", "module=lenet", "trainer.limit_val_batches=0"]
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, *words, "module.num_classes=7,10")
    assert stop.value.code == 2
    says = "error: module.num_classes=7: DigitsDataModule has 10 classes; set module.num_classes=10."
    assert says in capsys.readouterr().err.splitlines()
    assert {name: job["status"] for name, job in summaries(folder(tmp_path)).items()} == {"num_classes=10": "finished"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stopped_by", "code"),
    [pytest.param(signal.SIGTERM, 143, id="SIGTERM"), pytest.param(signal.SIGINT, 130, id="Ctrl-C")],
)
def test_a_stopped_sweep_goes_on_where_it_was(stopped_by: int, code: int, tmp_path: Path) -> None:
    words = [*LINEAR, "seed=1,2", f"paths.log_dir={tmp_path}"]
    assert train_in_process(words, kill_at="on_train_batch_end:2", kill_with=stopped_by) == code
    jobs = summaries(folder(tmp_path))
    assert {name: (job["status"], job["steps"]) for name, job in jobs.items()} == {"seed=1": ("interrupted", 2)}
    run_train(*words)
    jobs = summaries(folder(tmp_path))
    assert {name: (job["status"], job["steps"]) for name, job in jobs.items()} == {
        "seed=1": ("finished", 3),
        "seed=2": ("finished", 3),
    }


def test_another_folder_for_a_sweep(tmp_path: Path) -> None:
    sweep(tmp_path / "logs", "seed=1", f"hydra.sweep.dir={tmp_path}/mine")
    assert (tmp_path / "mine" / "multirun.yaml").exists()
    assert {name: job["status"] for name, job in summaries(tmp_path / "mine").items()} == {"default": "finished"}
    assert not folder(tmp_path / "logs").exists()
