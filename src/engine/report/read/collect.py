"""The runs below a folder, as their files tell them: config, summary, and of those without one their latest metrics."""

import json
import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from engine import locks
from engine.config.resolved import dotted
from engine.errors import UserError
from engine.run.summaries import SUMMARY, final_metrics

RUNNING, INTERRUPTED, UNFINISHED = "running", "interrupted", "interrupted or running"  # of runs without a summary
RECENT = 120  # seconds: a run that wrote within them is taken to be running
SET_ASIDE = re.compile(r"-[0-9a-f]{8}\.\d+$")  # <slug>-<hash8>.<n>: an older copy of a job that was run again
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast


@dataclass(frozen=True)
class Run:
    """One run; `config` by dotted key, `metrics` the final ones or, of a run that goes on, the latest."""

    path: Path
    folder: str  # relative to the folder of the report
    config: dict[str, Any]
    status: str
    metrics: dict[str, float]
    seconds: float = math.nan
    error: str = ""
    made_with: dict[str, str] = field(default_factory=dict)  # device, git and versions

    @property
    def seed(self) -> Any:
        return self.config.get("seed")

    @property
    def fold(self) -> Any:
        return self.config.get("datamodule.fold")


@dataclass(frozen=True)
class Problem:
    """A file that could not be read, and why."""

    file: str
    reason: str


def run_dirs(folder: Path) -> Iterator[Path]:
    """The folders of runs at any depth, `folder` itself included; without the older copies of jobs run again."""
    for parent, children, _ in os.walk(folder):
        if (Path(parent) / ".hydra" / "config.yaml").is_file():
            children.clear()
            yield Path(parent)
        else:
            children[:] = sorted(child for child in children if not SET_ASIDE.search(child))


def collect(folder: Path) -> tuple[list[Run], list[Problem]]:
    """All runs below a folder, and the files that could not be read: their runs are left out.

    Raises:
        UserError: if there is no such folder, or no run that can be read in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    found: list[Run] = []
    problems: list[Problem] = []
    for path in run_dirs(folder):
        one = read(path, os.path.relpath(path, folder))
        found.append(one) if isinstance(one, Run) else problems.append(one)
    if not found:
        why = f" The first that cannot be read: {problems[0].file}: {problems[0].reason}" if problems else ""
        raise UserError(f"{folder}: no runs in it (folders with a .hydra/config.yaml).{why}")
    return found, problems


def read(path: Path, folder: str) -> Run | Problem:
    """The run in a folder, or what is wrong with its files."""
    file, config, summary, latest = ".hydra/config.yaml", {}, None, {}
    try:
        config = dotted(mapping(yaml.load((path / file).read_text("utf-8"), YAML_LOADER)))
        file = SUMMARY
        if (path / file).exists():
            summary = of_summary(mapping(json.loads((path / file).read_text("utf-8"))))
        else:
            file = "metrics.csv"
            latest = final_metrics(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        return Problem(os.path.join(folder, file), first_line(str(error)) or type(error).__name__)
    return Run(path, folder, config, **(summary or {"status": unfinished(path), "metrics": latest}))


def of_summary(summary: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `Run` that its summary.json tells; null metrics become NaN."""
    versions = summary.get("versions") or {}
    made_with = {"device": summary.get("device"), "git": summary.get("git"), **versions}
    return {
        "status": str(summary["status"]),
        "metrics": {str(name): as_float(value) for name, value in (summary.get("metrics") or {}).items()},
        "seconds": as_float(summary.get("seconds")),
        "error": first_line(str(summary.get("error") or "")),
        "made_with": {key: str(value) for key, value in made_with.items() if value},
    }


def unfinished(path: Path) -> str:
    """Whether a run without summary is going on: a sweep's job has a lock; of others it is known by what they write."""
    if (lock := locks.of_job(path.parent, path.name[-8:])).exists():
        return RUNNING if locks.is_held(lock) else INTERRUPTED
    files = [path / name for name in ("metrics.csv", "train.log", "checkpoints", ".hydra/config.yaml")]
    newest = max((file.stat().st_mtime for file in files if file.exists()), default=0.0)
    return RUNNING if time.time() - newest < RECENT else UNFINISHED


def mapping(value: Any) -> dict[str, Any]:
    """The value, if it is a mapping; or else ValueError."""
    if not isinstance(value, dict):
        raise ValueError("not a mapping")
    return value


def as_float(value: Any) -> float:
    return math.nan if value is None else float(value)


def first_line(text: str, longest: int = 300) -> str:
    """The first line that says something, cut to what a table can hold."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= longest else line[: longest - 1] + "…"
