"""Does whole runs, and reads what they leave."""

import csv
import json
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from commands import CONF, only_run, run_train
from engine.config.resolved import Config
from project.train import train

SHORT = ["accelerator=cpu", "logger=csv", "trainer.max_steps=3", "trainer.log_every_n_steps=1"]
LINEAR = ["experiment=linear", "accelerator=cpu", "logger=csv"]


def run(log_dir: Path, *words: str) -> Path:
    """The folder of a run that is the only one below `log_dir`."""
    run_train(*words, f"paths.log_dir={log_dir}")
    return only_run(log_dir)


def summary_of(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "summary.json").read_text())


def column(run_dir: Path, name: str) -> list[float]:
    """The values of a metric in metrics.csv, in order."""
    with open(run_dir / "metrics.csv", newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def files(run_dir: Path) -> dict[str, int]:
    """Every file below a folder, and when it was last written."""
    return {
        str(path.relative_to(run_dir)): path.stat().st_mtime_ns
        for path in run_dir.rglob("*")
        if path.is_file()
    }


def composed(*words: str) -> DictConfig:
    train.open()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(words))


def done(chosen: DictConfig, run_dir: Path) -> float:
    """The objective of a run of this config in a folder."""
    return train.do(Config.resolve(chosen), run_dir)
