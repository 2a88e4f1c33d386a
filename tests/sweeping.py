"""Runs sweeps of a small model, and reads what their jobs have left."""

import json
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from commands import run_train
from engine.config.resolved import Config
from engine.sweep.jobs import Job
from project.train import train

LINEAR = ["-m", "experiment=linear", "accelerator=cpu", "logger=csv", "trainer.max_steps=3"]
FAILING = ["datamodule=random_regression", "+callbacks.fails._target_=ways.FailsOnColumns"]


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


def made(sweep_dir: Path, *words: str) -> list[Job]:
    train.open()
    with initialize_config_dir(str(train.conf), version_base="1.3"):
        configs = [Config.resolve(compose("config", overrides=[word]), [word]) for word in words]
    return [Job(config, sweep_dir, config.overrides) for config in configs]
