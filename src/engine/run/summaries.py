"""summary.json: how a run ended, and with which metrics."""

import csv
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import files
from engine.config.resolved import Config

if TYPE_CHECKING:  # a sweep that has nothing to run does not wait for Lightning
    from lightning.pytorch import Trainer

log = logging.getLogger(__name__)

SUMMARY = "summary.json"
TRAINING_LOSSES = ("train/loss", "train_loss", "loss")
COMPLETE = ("finished", "diverged")  # as opposed to failed and interrupted


def load(run_dir: Path) -> dict[str, Any] | None:
    """Reads a run's summary.json; None while the run goes on, or after a kill."""
    path = run_dir / SUMMARY
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        log.warning("%s: left out, as it is broken: %s", path, error)
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
    """Returns the last value of every metric in metrics.csv."""
    path = run_dir / "metrics.csv"
    rows = csv.reader(io.StringIO(files.whole_lines(path) if path.exists() else ""))
    columns = next(rows, [])
    last: dict[str, str] = {}
    for row in rows:
        last |= {key: text for key, text in zip(columns, row, strict=False) if text}
    return {key: float(text) for key, text in last.items() if key not in ("epoch", "step", "lr")}


def table(metrics: Mapping[str, float]) -> str:
    """Returns metrics as lines of name and value, aligned."""
    width = max(map(len, metrics), default=0)
    return "\n".join(f"  {name:<{width}}  {value:.6g}" for name, value in metrics.items())


def closing_words(summary: Mapping[str, Any], run_dir: Path) -> str:
    """Returns the last lines of a run's log: its metrics, how and when it ended, its folder."""
    after = f"{summary['steps']:,} steps, {summary['seconds']:.1f} s"
    return f"{table(summary['metrics'])}\n{summary['status']} after {after}: {run_dir}"


def has_diverged(trainer: "Trainer") -> bool:
    """Tells whether training was stopped for, or ended with, a loss that is no number."""
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    stopped = any(getattr(callback, "diverged", False) for callback in callbacks)
    return stopped or not math.isfinite(trainer.callback_metrics.get("train/loss", 0.0))


def objective_of(trainer: "Trainer", run_dir: Path) -> float:
    """Returns what a sweep compares of a run; NaN if it diverged."""
    return math.nan if has_diverged(trainer) else compared(trainer, run_dir)[1]


def compared(trainer: "Trainer", run_dir: Path) -> tuple[str | None, float]:
    """Returns the name and the value of what a sweep compares of a run; None and NaN for nothing.

    It is the best value of the metric that the checkpoints follow. Where no validation has that
    metric, it is the metric's last value; where there is none, that of the training loss.
    """
    callback = trainer.checkpoint_callback
    monitor = getattr(callback, "monitor", None)
    best = getattr(callback, "best_score", None)
    if best is not None:
        return f"best {monitor}", float(best)
    metrics = final_metrics(run_dir)
    name = monitor if monitor in metrics else training_loss(metrics)
    return (f"last {name}", metrics[name]) if name else (None, math.nan)


def outcome(
    config: Config, run_dir: Path, trainer: "Trainer", summary: dict[str, Any]
) -> dict[str, Any]:
    """Returns summary.json without status and error; logs the final metrics to HParams, too."""
    from engine.run import hparams, versions

    metrics = final_metrics(run_dir)
    objective = summary["objective"] if summary["status"] == "finished" else None
    if summary["status"] == "finished":
        tests = hparams.names_of_tests(trainer.lightning_module)
        tested = {name: value for name, value in metrics.items() if name in tests}
        final = math.nan if objective is None else objective
        hparams.log_final(trainer, {"objective": final, **tested})
    return {
        "objective": objective,
        "metrics": metrics,
        "config_hash": config.hash,
        "seed": config["seed"],
        "steps": trainer.global_step,
        "device": versions.device(trainer),
        "versions": versions.versions(),
        "git": versions.git_commit(Path(config["paths.root"])),
    }
