"""Reads the runs below a folder: config, summary, and the latest metrics where there is none."""

import contextlib
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import locks
from engine.config.keys import FOLD
from engine.errors import UserError
from engine.run import folder_names, identity
from engine.run.folders import CONFIG, OVERRIDES
from engine.run.records import read as files
from engine.run.records.read import BrokenFile
from engine.run.summaries import SUMMARY, Objective, final_metrics, objective_of, tests_others

# The statuses of runs without a summary.
RUNNING, INTERRUPTED, UNFINISHED = "running", "interrupted", "interrupted or running"
RECENT = 120  # seconds; a run that has written within them counts as running
# Where one of them is, there is, or was, a run.
SIGNS = {".hydra", SUMMARY, "metrics.csv", "checkpoints"}


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
        rows: that its metrics.csv had when it ended; None if nobody has counted them.
        error: the first line of it.
        made_with: device, git commit and versions.
        code: a digest of each of the user's modules, by name.
        data: a digest of the data, or of the names, sizes and times of their files; "" if unknown.
        objective: what the run is compared by; None for a run that has not finished.
        tests_others: whether its metrics of the test are of other weights than the objective.
        overrides: the words of the command line that made the run.
    """

    path: Path
    folder: str
    config: dict[str, Any]
    status: str
    metrics: dict[str, float]
    seconds: float = math.nan
    rows: int | None = None
    error: str = ""
    made_with: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    data: str = ""
    objective: Objective | None = None
    tests_others: bool = False
    overrides: tuple[str, ...] = ()

    @property
    def said(self) -> dict[str, str]:
        """Returns what the command line says, by key."""
        words = (word.lstrip("+").partition("=") for word in self.overrides)
        return {key: value for key, _, value in words}

    @property
    def trial(self) -> int | None:
        """Returns the run's number among the trials of a search; None outside one."""
        return self.config.get("sweep.trial.number")

    @property
    def study(self) -> str:
        """Returns the name of the search that the run is a trial of; "" outside one."""
        return str(self.config.get("sweep.trial.study", ""))

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
    """Yields the folders of runs at any depth, `folder` itself included, each once.

    The older copies of jobs that were run again are left out. Links are followed where they lead
    out of the folder.
    """
    root = os.path.realpath(folder)
    seen: set[str] = set()
    for parent, children, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        is_within = f"{real}/".startswith(f"{root}/")
        is_linked = is_within and os.path.relpath(real, root) != os.path.relpath(parent, folder)
        if real in seen or is_linked:  # it is met by its own name; or links lead in a circle
            children.clear()
            continue
        seen.add(real)
        if SIGNS & {*children, *names}:
            yield Path(parent)
        if ".hydra" in children:  # else a file of a run's has strayed to a folder of runs
            children.clear()
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
    problems += [problem for run in runs for problem in lost_files(run)]
    if not runs:
        unread = [f" The first that cannot be read: {one.file}: {one.reason}" for one in problems]
        why = "".join(unread[:1])
        raise UserError(f"{folder}: no runs in it (folders with a .hydra/config.yaml).{why}")
    return runs, problems


def read(path: Path, folder: str) -> Run | Problem:
    """Reads the run in a folder; returns what is wrong if one of its files is broken."""
    try:
        config = files.config(path / CONFIG)
        words = files.overrides(path / OVERRIDES)
        if summary := files.summary(path / SUMMARY):
            outcome = of_summary(summary)
        else:
            outcome = {"metrics": final_metrics(path), "status": unfinished(path)}
        made_of = identity.load(path) or {}
        outcome["code"] = made_of.get("code", {})
        data = made_of.get("data", {})
        outcome["data"] = data.get("digest") or data.get("files") or ""
        if changes := made_of.get("mixed"):
            said = f"not exact: since it began, {'; '.join(changes)}"
            outcome["error"] = "; ".join(filter(None, [outcome.get("error"), said]))
    except BrokenFile as broken:
        name = os.path.relpath(broken.path, path)
        return Problem(os.path.join(folder, name), first_line(broken.reason))
    return Run(path, folder, config, **outcome, overrides=tuple(words or ()))


def lost_files(run: Run) -> Iterator[Problem]:
    """Yields the files that a run has lost, and that a report can do without."""
    summary = {"status": run.status, "rows": run.rows}
    if not os.path.lexists(run.path / OVERRIDES):
        yield Problem(f"{run.folder}/{OVERRIDES}", "missing; its command is not known")
    if identity.is_lost(run.path, summary):
        yield Problem(f"{run.folder}/{identity.MADE_OF}", "missing; its data are not known")


def of_summary(summary: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a `Run` that its summary.json has; null metrics become NaN."""
    versions = summary.get("versions") or {}
    made_with = {"device": summary.get("device"), "git": summary.get("git"), **versions}
    metrics = (summary.get("metrics") or {}).items()
    return {
        "status": str(summary["status"]),
        "metrics": {str(name): as_float(value) for name, value in metrics},
        "seconds": as_float(summary.get("seconds")),
        "rows": summary.get("rows"),
        "error": first_line(str(summary.get("error") or "")),
        "made_with": {key: str(value) for key, value in made_with.items() if value},
        "objective": objective_of(summary),
        "tests_others": tests_others(summary),
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


def as_float(value: Any) -> float:
    return math.nan if value is None else float(value)


def first_line(text: str, longest: int = 300) -> str:
    """Returns the first line that is not blank, cut to what a table can hold."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= longest else line[: longest - 1] + "…"
