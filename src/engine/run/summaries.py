"""summary.json: how a run ended, and with which metrics."""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine import files
from engine.run.records import read
from engine.run.records.read import BrokenFile

log = logging.getLogger(__name__)

SUMMARY = "summary.json"
METRICS = "metrics.csv"
TRAINING_LOSSES = ("train/loss", "train_loss", "loss")
COMPLETE = ("finished", "diverged")  # as opposed to failed and interrupted


def load(run_dir: Path) -> dict[str, Any] | None:
    """Reads a run's summary.json; None while the run goes on, or after a kill.

    One whose content is broken is left out: the run goes on from its checkpoint and writes it anew.

    Raises:
        BrokenFile: if there is a folder in its place.
    """
    path = run_dir / SUMMARY
    try:
        return read.summary(path)
    except BrokenFile as broken:
        if path.is_dir():
            raise
        log.warning("%s: left out, as it is broken: %s", path, broken.reason)
        return None


def save(run_dir: Path, summary: Mapping[str, Any], name: str = SUMMARY) -> None:
    """Writes summary.json whole or not at all; NaN and infinities become null, as JSON wants."""
    plain = json.loads(json.dumps(summary), parse_constant=lambda not_finite: None)
    files.write_whole(run_dir / name, json.dumps(plain, indent=2) + "\n")


def objective(summary: Mapping[str, Any]) -> float:
    """Returns the number that a sweep compares; NaN for a run without one, such as a diverged."""
    value = summary.get("objective")
    return math.nan if value is None else float(value)


def training_loss(metrics: Iterable[str]) -> str | None:
    """Returns the metric that is the training loss, by its name; None if there is none.

    The names are that of `SupervisedModule` and those of Lightning's own documents. Where a module
    logs a loss both for steps and for epochs, Lightning adds `_epoch` to the mean over an epoch.
    """
    known = set(metrics)
    names = [f"{name}{end}" for name in TRAINING_LOSSES for end in ("", "_epoch")]
    return next((name for name in names if name in known), None)


def final_metrics(run_dir: Path) -> dict[str, float]:
    """Returns the last value of every metric in metrics.csv.

    Raises:
        BrokenFile: if the file cannot be read.
    """
    return last_values(*read.rows(run_dir / METRICS))


def last_values(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> dict[str, float]:
    """Returns the last value of every metric in a table of metrics."""
    last: dict[str, str] = {}
    for row in rows:
        last |= row
    kept = [key for key in columns if key in last and key not in ("epoch", "step", "lr")]
    return {key: float(last[key]) for key in kept}


def table(metrics: Mapping[str, float]) -> str:
    """Returns metrics as lines of name and value, aligned."""
    width = max(map(len, metrics), default=0)
    return "\n".join(f"  {name:<{width}}  {value:.6g}" for name, value in metrics.items())


def closing_words(summary: Mapping[str, Any], run_dir: Path) -> str:
    """Returns the last lines of a run's log: its metrics, how and when it ended, its folder."""
    after = f"{summary['steps']:,} steps, {summary['seconds']:.1f} s"
    return f"{table(summary['metrics'])}\n{summary['status']} after {after}: {run_dir}"
