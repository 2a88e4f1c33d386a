"""Copies the repository, so that a test may change the copy and run commands there."""

import os
import shutil
import subprocess
from pathlib import Path

import warm
from commands import ROOT

PARTS = (
    "src",
    "conf",
    "tests",
    "docs",
    "benchmarks",
    "README.md",
    "Makefile",
    "pyproject.toml",
    "CONTRIBUTING.md",
)


def copied(folder: Path) -> Path:
    """Copies the files of the repository, without the files of runs.

    What Python has compiled of the sources goes with them: a process would compile them all again.
    """
    for part in PARTS:
        if (ROOT / part).is_dir():
            compiled = [] if part == "src" else ["__pycache__"]
            ignored = shutil.ignore_patterns("*.egg-info", "*.part.json", *compiled)
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with the copy's sources before the installed ones."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
    environment.pop("HYDRA_FULL_ERROR", None)
    return subprocess.run(
        [warm.python(), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
