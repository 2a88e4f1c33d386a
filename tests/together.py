"""Runs sweeps whose jobs train together, and reads the files of the jobs."""

import csv
import json
from pathlib import Path
from typing import Any

from commands import run_train

WITHOUT_GRAPH = "logger.tensorboard.log_graph=false"  # which takes longer than some runs
CURVE = ["experiment=curve_fit", "accelerator=cpu", "datamodule.steps_per_epoch=30"]
SHORT_LENET = [
    "experiment=lenet",
    "datamodule=digits",
    "accelerator=cpu",
    "datamodule.steps_per_epoch=12",
    "datamodule.val_fraction=0.02",  # of 1,797 images, which would take longer than the steps
    "datamodule.test_fraction=0.02",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=5",
]
MINIBATCHES = [
    *CURVE,
    "datamodule.batch_size=30",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=7",
    "datamodule.folds=3",
    "datamodule.steps_per_epoch=null",
    "seed=0,1",
]
# The tolerances of float32 over some steps: the first row agrees to 1e-6, later rows to 1e-4.
FIRST, LATER = 1e-6, 1e-4


def sweep(log_dir: Path, *words: str, together: bool = True) -> Path:
    """Runs a sweep, its jobs together or one by one, and returns the sweep's folder.

    Jobs one by one draw no figures, either.
    """
    launcher = ["hydra/launcher=vectorized"] if together else []
    run_train("-m", *launcher, *words, f"paths.log_dir={log_dir}", draws=together)
    return folder(log_dir)


def folder(log_dir: Path) -> Path:
    (made,) = log_dir.glob("sweeps/*")
    return made


def jobs(sweep_dir: Path) -> dict[str, Path]:
    return {
        path.parent.parent.name: path.parent.parent
        for path in sorted(sweep_dir.glob("*-????????/.hydra/config.yaml"))
    }


def summary(run_dir: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    return read


def statuses(sweep_dir: Path) -> dict[str, str]:
    return {name[:-9]: summary(run_dir)["status"] for name, run_dir in jobs(sweep_dir).items()}


def rows(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(row: dict[str, str]) -> dict[str, float]:
    return {key: float(text) for key, text in row.items() if text}
