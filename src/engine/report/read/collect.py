"""Reads the runs below a folder: config, summary, and the latest metrics where there is none."""

import contextlib
import functools
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
from engine.config import plain_yaml
from engine.config.keys import FOLD
from engine.config.resolved import dotted
from engine.errors import UserError
from engine.run import folder_names, identity
from engine.run.summaries import SUMMARY, Objective, final_metrics, objective_of

# The statuses of runs without a summary.
RUNNING, INTERRUPTED, UNFINISHED = "running", "interrupted", "interrupted or running"
RECENT = 120  # seconds; a run that has written within them counts as running
# Where a key of the first level begins, or the signature.
PART = re.compile(r"^(?=[\w#])", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One run, as its files describe it.

    Args:
        path: the run's folder.
        folder: the same, relative to the folder of the report.
        config: by dotted key.
        status: of its summary; one of those above, where it has none.
        metrics: the final ones; the latest ones of a run without a summary.
        seconds: that it took.
        error: the first line of it.
        made_with: device, git commit and versions.
        objective: what the run is compared by; None for a run that has not finished.
        overrides: the words of the command line that made the run.
    """

    path: Path
    folder: str
    config: dict[str, Any]
    status: str
    metrics: dict[str, float]
    seconds: float = math.nan
    error: str = ""
    made_with: dict[str, str] = field(default_factory=dict)
    objective: Objective | None = None
    overrides: tuple[str, ...] = ()

    @property
    def experiment(self) -> str:
        """Returns the experiment that the command line chose; "" for none."""
        words = (word.lstrip("+").partition("=") for word in self.overrides)
        return next((value for key, _, value in words if key == "experiment"), "")

    @property
    def trial(self) -> int | None:
        """Returns the run's number among the trials of a search; None outside one."""
        return self.config.get("sweep.trial.number")

    @property
    def seed(self) -> Any:
        return self.config.get("seed")

    @property
    def fold(self) -> Any:
        return self.config.get(FOLD)


@dataclass(frozen=True)
class Problem:
    """A file that could not be read, and why."""

    file: str
    reason: str


def run_dirs(folder: Path) -> Iterator[Path]:
    """Yields the folders of runs at any depth, `folder` itself included.

    The older copies of jobs that were run again are left out.
    """
    for parent, children, _ in os.walk(folder):
        if (Path(parent) / ".hydra" / "config.yaml").is_file():
            children.clear()
            yield Path(parent)
        else:
            children[:] = sorted(name for name in children if not folder_names.is_set_aside(name))


def collect(folder: Path) -> tuple[list[Run], list[Problem]]:
    """Reads all runs below a folder; returns those, and the files that could not be read.

    A run with such a file is left out.

    Raises:
        UserError: if there is no such folder, or no run that can be read in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    results = [read(path, os.path.relpath(path, folder)) for path in run_dirs(folder)]
    runs = [result for result in results if isinstance(result, Run)]
    problems = [result for result in results if isinstance(result, Problem)]
    if not runs:
        unread = [f" The first that cannot be read: {one.file}: {one.reason}" for one in problems]
        why = "".join(unread[:1])
        raise UserError(f"{folder}: no runs in it (folders with a .hydra/config.yaml).{why}")
    return runs, problems


def read(path: Path, folder: str) -> Run | Problem:
    """Reads the run in a folder; returns what is wrong if one of its files is broken."""
    file = ".hydra/config.yaml"
    try:
        config = config_in(path / file)
        file = ".hydra/overrides.yaml"
        words = listed(loaded(path / file)) if (path / file).exists() else []
        file = SUMMARY if (path / SUMMARY).exists() else "metrics.csv"
        if file == SUMMARY:
            outcome = of_summary(mapping(json.loads((path / file).read_text("utf-8"))))
        else:
            outcome = {"metrics": final_metrics(path), "status": unfinished(path)}
        file = str(identity.MADE_OF)
        if changes := identity.mixture(path):
            said = f"not exact: since it began, {'; '.join(changes)}"
            outcome["error"] = "; ".join(filter(None, [outcome.get("error"), said]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        return Problem(os.path.join(folder, file), first_line(str(error)) or type(error).__name__)
    return Run(path, folder, config, **outcome, overrides=tuple(map(str, words)))


def loaded(path: Path) -> Any:
    """Returns what a YAML file holds."""
    return plain_yaml.load(plain_yaml.text_of(path))


def config_in(path: Path) -> dict[str, Any]:
    """Returns the config in a YAML file, by dotted key.

    It is read by its first-level keys: most parts are in many runs of a sweep.

    Raises:
        ValueError: if the file holds no mapping.
    """
    config: dict[str, Any] = {}
    for part in PART.split(plain_yaml.text_of(path)):
        config |= _part_of_config(part)
    return mapping(config or None)


@functools.cache
def _part_of_config(text: str) -> dict[str, Any]:
    return dotted(mapping(plain_yaml.load(text) or {}))


def of_summary(summary: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a `Run` that its summary.json has; null metrics become NaN."""
    versions = summary.get("versions") or {}
    made_with = {"device": summary.get("device"), "git": summary.get("git"), **versions}
    metrics = (summary.get("metrics") or {}).items()
    return {
        "status": str(summary["status"]),
        "metrics": {str(name): as_float(value) for name, value in metrics},
        "seconds": as_float(summary.get("seconds")),
        "error": first_line(str(summary.get("error") or "")),
        "made_with": {key: str(value) for key, value in made_with.items() if value},
        "objective": objective_of(summary),
    }


def unfinished(path: Path) -> str:
    """Returns the status of a run without a summary.

    A run runs as long as its lock is held. One without a lock, of an earlier version, counts as
    running while it writes.
    """
    with contextlib.suppress(PermissionError):  # a folder of somebody else's
        if (lock := folder_names.lock_of(path)).exists():
            return RUNNING if locks.is_held(lock) else INTERRUPTED
    written = ("metrics.csv", "train.log", "checkpoints", ".hydra/config.yaml")
    files = [path / name for name in written if (path / name).exists()]
    newest = max((file.stat().st_mtime for file in files), default=0.0)
    return RUNNING if time.time() - newest < RECENT else UNFINISHED


def mapping(value: Any) -> dict[str, Any]:
    """Returns a value that is a mapping.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(value, dict):
        raise ValueError("not a mapping")
    return value


def listed(value: Any) -> list[Any]:
    """Returns a value that is a list.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def as_float(value: Any) -> float:
    return math.nan if value is None else float(value)


def first_line(text: str, longest: int = 300) -> str:
    """Returns the first line that is not blank, cut to what a table can hold."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= longest else line[: longest - 1] + "…"
