"""Keeps last.ckpt, to resume from, and best.ckpt, to test."""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint, Timer
from torch import Tensor

from engine import files, processes
from engine.callbacks import averaged
from engine.callbacks.so_far import (
    differing,
    prepare,
    restore_to_measure,
    restored,
    resume,
    sharing,
    so_far,
)
from engine.config.ranges import Count
from engine.errors import UserError, nearest, said
from engine.fence.lightning import go_on_with_found, is_last_batch, stops, whole_checkpoint
from engine.kept.attributes import Attributes
from engine.kept.structure import Structure, optimizers_of
from engine.run import plain
from engine.run.checkpoint.choice import CHOSEN
from engine.run.checkpoint.file import read, some
from engine.run.folders import BEST, LAST, PREVIOUS, note_training
from engine.run.loggers.table import MetricsCSV
from engine.run.loggers.tensorboard import places_of, tensorboards
from engine.run.summaries import is_validation
from engine.steps.callback import EACH_JOB, reached
from engine.steps.following import FollowsMetric, may_validate

log = logging.getLogger(__name__)


class Checkpoints(FollowsMetric, Checkpoint):
    """Keeps checkpoints/last.ckpt and checkpoints/best.ckpt in the run's folder.

    last.ckpt is written after every epoch, and every n steps where all loaders can go on within an
    epoch. The one before is kept as previous.ckpt. best.ckpt has the best value of a metric, as it
    was when the validation or the epoch ended that logged it. All have what Lightning's own lack,
    see so_far.py. This is not Lightning's `ModelCheckpoint`: after a step before a due validation,
    that would make the resumed run skip the validation, and that forgets the best value when the
    folder has moved.

    Args:
        every_n_steps: optimiser steps between two writings of last.ckpt.
        monitor: the metric that best.ckpt has the best value of; NaN is never best.
        mode: "min" or "max".
    """

    in_a_stack = EACH_JOB

    def __init__(self, every_n_steps: Count, monitor: str, mode: Literal["min", "max"]) -> None:
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self.mode = mode
        self.best_score: float | None = None
        self.ends_with_mean = False  # whether best.ckpt has a mean, which no epoch ended with
        self.mean_score: float | None = None  # what a validation of the mean has given
        self._resumed: dict[str, Any] = {}
        self._loaded: dict[str, Any] = {}  # the checkpoint of the run that is resumed
        self._attributes: Attributes | None = None
        self._structure: Structure | None = None
        self._share: Callable[[], None] = lambda: None  # see `sharing`
        self._named: set[str] = set()  # what no checkpoint can have, or nobody can load
        self._trains = self._has_stepped = self._has_said = self._has_told_of_mean = False
        self._is_unchecked = False  # whether a hook failed before the first step
        self._is_last = False  # whether a last.ckpt is being written
        self.best_model_path = ""  # what Lightning takes `ckpt_path="best"` for

    @property
    def best_model_score(self) -> Tensor | None:
        """Returns the best value of the metric, as Lightning's `ModelCheckpoint` calls it."""
        return None if self.best_score is None else torch.tensor(self.best_score)

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        for other in trainer.checkpoint_callbacks:
            if isinstance(other, ModelCheckpoint):
                _check_files(other, Path(trainer.default_root_dir))
        best = Path(trainer.default_root_dir) / BEST
        if self._resumed and self.best_score is not None and best.exists():
            # A run that was killed after it had written one goes on from before, and does so again.
            is_of_before = read(best)["global_step"] <= self._loaded["global_step"]
            self.best_model_path = str(best) if is_of_before else ""
        self._attributes = Attributes(trainer, module, restored(self._resumed))
        self._structure = Structure(trainer, module)
        if self._resumed:
            self._share = sharing(trainer, module)
            prepare(trainer, module, self._resumed)

    def on_training_begun(self, trainer: Trainer, module: LightningModule) -> None:
        self._trains = True
        if self._attributes and self._structure:
            self._attributes.begin()
            self._structure.begin()
        if self._resumed:
            if refused := resume(trainer, module, self._resumed, self._share):
                log.warning("not exact: these take no value of a checkpoint: %s", some(refused))
            if names := differing(trainer, module, self._loaded):
                log.warning(
                    "not exact: what runs at each start of a training ran once more, and changed "
                    "what the checkpoint has: %s",
                    some(names),
                )
            averaged.resume(trainer, module, self._loaded["callbacks"])
            self._loaded = {}
        try:
            checkpoint = whole_checkpoint(trainer)
        except Exception:  # a hook of a user's may need what only a step makes
            self._is_unchecked = True
        else:
            self._check(trainer, module, checkpoint)

    def _check(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Finds out what checkpoints will lack, by one that is as if it was written now.

        Raises:
            UserError: if a resumed run would need it.
        """
        if self._attributes:
            self._attributes.leave_out(module.state_dict().keys() - checkpoint["state_dict"].keys())
        if dropped := plain.check(trainer, checkpoint):
            log.info(
                "checkpoints lack hyper-parameters that are no plain values: %s; "
                "load_from_checkpoint needs them as arguments",
                ", ".join(map(str, dropped)),
            )

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return (step + 1) % self.every_n_steps == 0

    def on_batch_done(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._has_stepped:  # the first step makes the states of optimisers
            self._has_stepped = True
            states = [trainer.strategy.optimizer_state(own) for own in trainer.optimizers]
            plain.check(trainer, {"optimizer_states": states})
        if self._is_unchecked:
            self._is_unchecked = False
            try:
                checkpoint = whole_checkpoint(trainer)
            except UserError:
                raise
            except Exception as error:  # it may need what only a validation makes
                log.warning(
                    "no checkpoint can be written yet, so that a stop loses all: %s", said(error)
                )
            else:
                self._check(trainer, module, checkpoint)
        # After an epoch's last batch, the epoch's end follows.
        ends = is_last_batch(trainer) or stops(trainer)
        is_exact: bool = getattr(trainer, "saves_within_epochs", True)
        if reached(trainer, self.every_n_steps) and is_exact and not ends:
            self._save(trainer, LAST)

    def on_value(self, trainer: Trainer, module: LightningModule, value: Tensor) -> None:
        # One process decides for all: each may have another value.
        score = float(trainer.strategy.broadcast(value.item()))
        if self._is_better(score):
            self.best_score = score
            self._save(trainer, BEST)

    # Callbacks that keep checkpoints come last, so that the weights have changed places already.
    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        super().on_validation_epoch_start(trainer, module)
        averaged.show_trained(trainer, module)
        self._say_no_mean(trainer)

    def on_epoch_done(self, trainer: Trainer, module: LightningModule) -> None:
        averaged.wait(trainer, module)
        self._say_no_mean(trainer)
        # The default is a name of validation, and there may be none.
        is_due = self._has_validated or not (is_validation(self.monitor) or may_validate(trainer))
        if is_due and self.monitor not in trainer.callback_metrics:
            self._say_what_is_not_logged(trainer)
        super().on_epoch_done(trainer, module)
        self._save(trainer, LAST)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        says_so = any(getattr(own, "diverged", False) for own in callbacks)
        if stops(trainer) and not self._resumed.get("stopped") and not says_so:
            log.info("stopped at step %s: %s", f"{trainer.global_step:,}", why_stopped(trainer))

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._trains:
            if self._resumed:  # Lightning has made the loaders of training since
                restore_to_measure(trainer, module, self._resumed)
            averaged.finish(trainer, module)
        self._resumed = {}  # a door may train once more
        score = trainer.callback_metrics.get(self.monitor)
        is_nan = score is not None and math.isnan(score)
        if (self._has_said or is_nan) and self.best_score is None:
            log.warning("no best.ckpt, so the last weights take its place")
        ends_with_mean = averaged.ends_with_mean(trainer)
        self.ends_with_mean, self.mean_score = bool(ends_with_mean), None
        if ends_with_mean:
            self.best_score = None  # the test loads it with the weights, which are no epoch's
            schedules = [*trainer.lr_scheduler_configs]
            trainer.lr_scheduler_configs.clear()  # a run without a step left has none, either
            self._save(trainer, BEST)
            trainer.lr_scheduler_configs.extend(schedules)
            lacks = averaged.lacks_statistics(trainer)
            statistics = ", and the batch statistics of the last weights" if lacks else ""
            log.info("best.ckpt has the mean of the last epochs%s", statistics)
        elif ends_with_mean is False:
            said = "no mean of the last epochs: training ended in epoch %d, before it was made"
            log.warning(said, trainer.current_epoch)
        paths = (Path(trainer.default_root_dir) / name for name in (BEST, LAST))
        self.best_model_path = next((str(path) for path in paths if path.exists()), "")

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        others = self._others(module, checkpoint["state_dict"])
        attributes, lost = self._attributes.changed(others) if self._attributes else ({}, [])
        names = {name for process in processes.gathered(lost) for name in process}
        # A validation may have set what it takes back at its end: best.ckpt is written before.
        if self._is_last and (new := sorted(names - self._named)):
            self._named |= names
            log.warning("not exact: training changes what no checkpoint can have: %s", some(new))
        begins_with = self._structure.optimizers() if self._structure else optimizers_of(trainer)
        checkpoint["so_far"] = so_far(trainer, module, attributes, begins_with)
        tables = [own for own in trainer.loggers if isinstance(own, MetricsCSV)]
        checkpoint["rows"] = [list(table.mark) for table in tables]
        checkpoint["events"] = [places_of(own) for own in tensorboards(trainer)]
        checkpoint["fit"] = getattr(trainer, "fit_number", 1)
        checkpoint[CHOSEN] = self.best_score is not None

    def _others(self, module: LightningModule, state: Mapping[str, Any]) -> list[str]:
        """Names what no checkpoint has beside attributes; says where none can be loaded.

        A step or a validation may have hooks until it ends. Other checkpoints are written within.
        """
        if self._structure is None or not self._is_last:
            return []
        unfit = self._structure.unfit(state)
        if new := [name for name in unfit if name not in self._named]:
            self._named |= {*new}
            said = "no run can be resumed from here: training makes what %s does not begin with: %s"
            log.warning(said, type(module).__name__, some(new))
        return [] if unfit else self._structure.lost(state)

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == "fit":
            # Lightning's finders load what they have saved before their search.
            is_runs = Path(str(trainer.ckpt_path)).name in (LAST.name, PREVIOUS.name)
            if is_runs and not self._resumed:
                self._resumed, self._loaded = checkpoint.get("so_far", {}), checkpoint
                if self._resumed and not go_on_with_found(trainer, self._resumed["found"]):
                    raise UserError(
                        f"{trainer.ckpt_path}: this run begins with other callbacks that search "
                        "for a batch size or a rate.\nTake the code of then, or begin a new run."
                    )
        elif averaged.running_mean(trainer) is not None:
            # After a training with WeightAveraging, that callback has loaded the last weights.
            module.load_state_dict(checkpoint["state_dict"], strict=module.strict_loading)

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_score = state["best_score"]

    def _say_no_mean(self, trainer: Trainer) -> None:
        if not self._has_told_of_mean and averaged.begins_later(trainer):
            self._has_told_of_mean = True
            log.info(
                "no mean yet: until it begins, the trained weights are validated and kept; "
                "Lightning alone would take the initial ones"
            )

    def _say_what_is_not_logged(self, trainer: Trainer) -> None:
        if not self._has_said:
            self._has_said = True
            names = list(trainer.callback_metrics)
            log.warning(
                "callbacks.checkpoints.monitor=%s: not logged by the end of epoch %d, so that "
                "nothing chooses best.ckpt.%s Logged are: %s",
                self.monitor,
                trainer.current_epoch,
                nearest(self.monitor, names),
                ", ".join(names) or "nothing",
            )

    def _save(self, trainer: Trainer, name: Path) -> None:
        run_dir = Path(trainer.default_root_dir)
        with files.writing(run_dir):
            run_dir.stat()  # somebody may have removed it, and the checkpoint would make it anew
        self._is_last = name == LAST
        trainer.save_checkpoint(run_dir / name, weights_only=False)
        self._is_last = False
        if name == BEST:
            self.best_model_path = str(run_dir / name)
        if name == LAST and trainer.is_global_zero:
            note_training(run_dir)

    def _is_better(self, score: float) -> bool:
        if self.best_score is None:
            return not math.isnan(score)
        return score < self.best_score if self.mode == "min" else score > self.best_score


def _check_files(other: ModelCheckpoint, run_dir: Path) -> None:
    """Refuses a callback that would write a run's own checkpoints, with what others have in them.

    No run could go on exactly from them, and other weights than the best would be tested.
    """
    own = [(run_dir / name).resolve() for name in (LAST, PREVIOUS, BEST)]
    names = {"filename": other.filename}
    if other.save_last:
        names["save_last"] = other.CHECKPOINT_NAME_LAST
    for option, name in names.items():
        path = Path(other.dirpath or run_dir, f"{name}{other.FILE_EXTENSION}")
        if path.resolve() in own:
            raise UserError(
                f"{type(other).__name__}: {option}={getattr(other, option)}: the run writes "
                f"checkpoints/{path.name} itself.\nLeave {option} out, or give the callback a "
                "dirpath."
            )


def why_stopped(trainer: Trainer) -> str:
    """Says who stopped training, as far as Lightning's callbacks tell."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            text = callback.stopping_reason_message.removeprefix("Monitored metric ")
            text = text.removesuffix(" Signaling Trainer to stop.")
            return text.replace(". Best score:", ", best")  # one line of a terminal
        if isinstance(callback, Timer):
            left = callback.time_remaining()
            if left is not None and left <= 0:
                return f"its time is over ({callback.time_elapsed():.0f} s)"
        if getattr(callback, "diverged", False):
            return "its loss is no number"
    return "the module or a callback set trainer.should_stop"
