"""Says what a run is compared by, and what its summary.json has."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.resolved import Config
from engine.run.records import read
from engine.run.summaries import (
    BEST_EPOCH,
    COMPLETE,
    LAST_PASS,
    LAST_VALUE,
    METRICS,
    OF_MEAN,
    Objective,
    is_validation,
    last_values,
    of_last_pass,
    tested_with,
    training_loss,
)

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

log = logging.getLogger(__name__)


def has_diverged(trainer: Any) -> bool:
    """Tells whether training was stopped for, or ended with, a loss that is no number."""
    stopped = any(getattr(own, "diverged", False) for own in trainer.callbacks)
    return stopped or not math.isfinite(trainer.callback_metrics.get("train/loss", 0.0))


def cause_of_divergence(trainer: Any) -> str:
    """Returns what the loss of a run that diverged was: `train/loss is nan at step 12`."""
    stopped = [own for own in trainer.callbacks if getattr(own, "diverged", False)]
    causes = [getattr(own, "cause", "") for own in stopped]
    return next(filter(None, causes), "the training loss is no number")


def chooser(trainer: Any) -> Any:
    """Returns the callback that chooses best.ckpt, whichever else writes checkpoints beside it."""
    ours = (own for own in trainer.checkpoint_callbacks if hasattr(own, "best_score"))
    return next(ours, trainer.checkpoint_callback)


def compared(
    trainer: "Trainer", metrics: Mapping[str, float], rows: Iterable[Mapping[str, str]]
) -> Objective | None:
    """Returns what a sweep compares of a run, under its name; None where there is nothing.

    It is the best value of the metric that the checkpoints follow, or its value of a mean of
    weights with which training ends, or its last value where no checkpoint is the best. A run
    without validation is compared by its training loss, over the last pass over the data: the last
    row may be of one small batch. A run with a validation never is: its validation may be NaN, or
    go by another name.

    Args:
        trainer: that has trained the run.
        metrics: the last value of each metric that the run has logged.
        rows: of the run's table of metrics.
    """
    callback = chooser(trainer)
    monitor = getattr(callback, "monitor", None) or ""
    best = getattr(callback, "best_score", None)
    mode = getattr(callback, "mode", "min")
    if monitor and best is not None:
        return Objective(monitor, BEST_EPOCH, mode, float(best))
    of_mean = getattr(callback, "mean_score", None)
    if of_mean is not None:
        return Objective(monitor, OF_MEAN, mode, float(of_mean))
    loss = training_loss(metrics)
    if monitor in metrics and monitor != loss:
        value = metrics[monitor]
        return Objective(monitor, BEST_EPOCH if math.isnan(value) else LAST_VALUE, mode, value)
    if loss is None or (monitor != loss and any(map(is_validation, metrics))):
        return None
    mean = of_last_pass(rows, loss, *_pass_of(trainer))
    if mean is None:
        return Objective(loss, LAST_VALUE, "min", metrics[loss])
    return Objective(loss, LAST_PASS, "min", mean)


def _pass_of(trainer: Any) -> tuple[int | None, int, Callable[[int], int]]:
    """Returns what `of_last_pass` has to know of a pass over the training data.

    An epoch of a `TensorDataModule` may have any number of steps. With all others, and where the
    same few batches are learnt again and again, a pass is an epoch: None if of unknown length.
    """
    from engine.data.datamodule import TensorDataModule
    from engine.steps.callback import overrides
    from engine.steps.length import batches_after

    data = getattr(trainer, "datamodule", None)
    if (
        not isinstance(data, TensorDataModule)
        or overrides(data, TensorDataModule, ["train_dataloader"])
        or trainer.overfit_batches
    ):
        batches = trainer.num_training_batches
        steps = (
            None if math.isinf(batches) else math.ceil(batches / trainer.accumulate_grad_batches)
        )
        return steps, 1, int
    after = batches_after(trainer)
    samples = len(data.splits["train"])
    if getattr(trainer.lightning_module, "averages_loss", True):
        return samples, data.batch_size, after
    return math.ceil(samples / data.batch_size), 1, after  # of sums, each batch weighs the same


def outcome(
    config: Config, run_dir: Path, trainer: "Trainer", summary: dict[str, Any]
) -> dict[str, Any]:
    """Returns summary.json without status; TensorBoard gets the final metrics, too.

    Args:
        config: the run's.
        run_dir: the run's folder.
        trainer: that has trained the run.
        summary: status and error, and the objective that `train(run)` has returned. Without it,
            it is the value of what `compared` returns; NaN for nothing.

    Raises:
        BrokenFile: if a finished run has no objective, and its table cannot be read.
    """
    from engine.run import versions
    from engine.run.loggers import tabs

    is_given = "objective" in summary
    broken = None
    columns: list[str] = []
    rows: list[dict[str, str]] = []
    try:
        columns, rows = read.rows(run_dir / METRICS)
    except read.BrokenFile as error:  # somebody has changed it since its last row
        if not is_given and summary["status"] == "finished":
            raise
        broken = str(error)
        log.warning("%s", broken)
    metrics = last_values(columns, rows)
    value = of = None
    if summary["status"] == "finished":
        found = compared(trainer, metrics, rows)
        value = summary["objective"] if is_given else (found.value if found else math.nan)
        of = _named(trainer, found, value)
    if summary["status"] in (*COMPLETE, "pruned"):
        shown = (of.name, value) if of and value is not None and math.isfinite(value) else None
        monitor = getattr(chooser(trainer), "monitor", None) or ""
        tabs.log_end(trainer, config, run_dir, metrics, shown, monitor)
    diverged = cause_of_divergence(trainer) if summary["status"] == "diverged" else None
    return {
        "error": summary["error"] or broken or diverged,
        "objective": value,
        "objective_of": of and {"metric": of.metric, "taken": of.taken, "mode": of.mode},
        "metrics": metrics,
        "tested": tested_with(trainer, run_dir),
        "rows": len(rows),
        "config_hash": config.hash,
        "seed": config["seed"],
        "steps": trainer.global_step,
        "device": versions.device(trainer),
        "versions": versions.versions(),
        "git": versions.git_commit(versions.root()),
    }


def _named(trainer: "Trainer", found: Objective | None, value: float | None) -> Objective | None:
    """Returns what a value is that `train(run)` returned: what a sweep compares, or its own.

    Args:
        trainer: that has trained the run.
        found: what a sweep would compare.
        value: what `train(run)` returned.
    """
    if value is None or math.isnan(value) or (found and value == found.value):
        return found
    return Objective("returned by train(run)", "", getattr(chooser(trainer), "mode", "min"))
