"""summary.json: how a run ended, and with which metrics."""

import csv
import io
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine import files

log = logging.getLogger(__name__)

SUMMARY = "summary.json"
COMPLETE = ("finished", "diverged")  # as opposed to failed and interrupted


def load(run_dir: Path) -> dict[str, Any] | None:
    """What a run's summary.json says; nothing while it runs, or after it was killed."""
    path = run_dir / SUMMARY
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        log.warning("%s: left out, as it is broken: %s", path, error)
        return None


def save(run_dir: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json whole or not at all; NaN and infinities become null, as JSON wants."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(inner) for key, inner in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    files.write_whole(
        run_dir / SUMMARY, json.dumps(plain(summary), indent=2, allow_nan=False) + "\n"
    )


def objective(summary: Mapping[str, Any]) -> float:
    """What a sweep compares: NaN for a run without one, such as a diverged."""
    value = summary.get("objective")
    return math.nan if value is None else float(value)


def final_metrics(run_dir: Path) -> dict[str, float]:
    """The last value of every metric in metrics.csv."""
    path = run_dir / "metrics.csv"
    rows = csv.reader(io.StringIO(files.whole_lines(path) if path.exists() else ""))
    columns = next(rows, [])
    last: dict[str, str] = {}
    for row in rows:
        last |= {key: text for key, text in zip(columns, row, strict=False) if text}
    return {key: float(text) for key, text in last.items() if key not in ("epoch", "step", "lr")}


def table(metrics: Mapping[str, float]) -> str:
    """Metrics as lines of name and value, aligned."""
    width = max(map(len, metrics), default=0)
    return "\n".join(f"  {name:<{width}}  {value:.6g}" for name, value in metrics.items())


def verdict(summary: Mapping[str, Any], run_dir: Path) -> str:
    """One line: how a run ended, after what, and where it lies."""
    return f"{summary['status']} after {summary['steps']:,} steps, {summary['seconds']:.1f} s: {run_dir}"


def closing_words(summary: Mapping[str, Any], run_dir: Path) -> str:
    """Return the last lines of a run's log: its metrics and its verdict."""
    return f"{table(summary['metrics'])}\n{verdict(summary, run_dir)}"
