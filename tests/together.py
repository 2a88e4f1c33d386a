"""Runs sweeps whose jobs train together, and reads the files of the jobs."""

import json
from pathlib import Path
from typing import Any

from commands import run_train

CURVE = ["experiment=curve_fit", "accelerator=cpu"]


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
