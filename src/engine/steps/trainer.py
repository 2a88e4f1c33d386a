"""Takes blocks: several optimiser steps in one call of Lightning's `training_step`.

A call of Lightning's takes longer than a small step. A step that some callback watches is an
ordinary Lightning step, with all its hooks; the steps between two watched steps are taken together.
So the result is the same, bit by bit, however many steps a block has.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Literal, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.strategies import SingleDeviceStrategy

from engine import signals
from engine.config.ranges import Count
from engine.errors import UserError
from engine.fence.fused import any_fused_steps
from engine.fence.lightning import (
    OF_LOOPS,
    LoopCounts,
    average_whole_numbers,
    batch_of_epoch,
    batch_of_training,
    before_stage,
    has_validation,
    hook_of,
    is_within_epoch,
    kill_children,
    steps_to_row,
    validation_interval,
    watch_loops,
)
from engine.fence.torch import changes_its_step
from engine.steps.block import Batch, Block
from engine.steps.callback import PER_STEP, StepCallback, overrides
from engine.steps.compiled import CannotCompile, CompiledStep
from engine.steps.length import steps_of
from engine.steps.rows import steps_of_a_row

log = logging.getLogger(__name__)

# Seconds that a block takes, about. Between two blocks, progress is shown and signals are heeded.
BLOCK_SECONDS = 0.3
NUMBER = re.compile(r"=\d+")
# What a step goes by. Where a network changes it, Lightning has to end that very step.
GOES_BY = attrgetter(
    "should_stop",
    "gradient_clip_val",
    "accumulate_grad_batches",
    "log_every_n_steps",
    "val_check_batch",
    "fit_loop.max_batches",
    "fit_loop.epoch_loop.max_steps",
)
# What a strategy or a precision does in a step, unless the object has a function in its place.
TAKEN_BY = (
    "batch_to_device",
    "training_step",
    "train_step_context",
    "pre_backward",
    "backward",
    "post_backward",
    "optimizer_step",
)
NOT_COMPILED = "compile=true, but the steps are not compiled: %s"


class BlockTrainer(Trainer):
    """Lightning's Trainer, which can take several optimiser steps in one call of `training_step`.

    Where the model, the data, a callback or an option rules that out, the Trainer takes one step a
    call and says why.

    Args:
        steps_per_call: the most steps of a block; a block ends earlier where something is due, or
            where a longer one would take more than `BLOCK_SECONDS`.
        compiled: whether a step is one compiled function. The first step, and the steps that a
            callback looks into, are not.
        log_every_n_steps: the optimiser steps that a row of metrics covers; "auto" for about 100
            rows in a run. Then the number is known when training starts, and checkpoints have it.
        callbacks: as Lightning's Trainer takes them.
        options: of Lightning's Trainer.
    """

    def __init__(
        self,
        steps_per_call: int = 1,
        compiled: bool = False,
        log_every_n_steps: Count | Literal["auto"] = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
        **options: Any,
    ) -> None:
        given = [callbacks] if isinstance(callbacks, Callback) else callbacks or []
        # Lightning takes 0 for "no rows"; here it means that the number is not known yet.
        every = 0 if log_every_n_steps == "auto" else log_every_n_steps
        super().__init__(callbacks=[*given, _Begins()], log_every_n_steps=every, **options)
        if self.world_size > 1:
            average_whole_numbers(self)
        self.steps_per_call, self.wants_compiled = steps_per_call, compiled
        self.steps_before_batch = 0
        self.fit_number = 1  # which training of a run this is
        self.tested: str | None = None  # the checkpoint of the last test; "": the module as it was
        self.begun_with = ""  # the checkpoint of the training or the test that runs
        self.only_by_run = False  # whether a training has to be one of a run's, which go on exactly
        self._batches = 0  # of all epochs before
        self._searches = False
        self.trainings = 0  # that have begun; searches of Lightning's are such
        self._told: float | None = None  # Lightning's number of steps, in a line of the log
        self.saves_within_epochs = True  # whether a loader can go on within an epoch
        self.log_every_n_steps: int = every
        self.before_training: Callable[[], None] = lambda: None  # called when all is set up
        self._way: list[Any] = []  # what steps went by as a block began
        self._met: list[Callback] = []
        self.row_of_block: dict[str, float] = {}  # that is not logged
        self.batch_of_step: Batch | None = None  # of the step of a block that is taken now
        self.begins_step = False  # whether callbacks are told of it
        self.end_blocks()
        watch_loops(
            self,
            begun=self._begin_training,
            batch_done=self._end_batch,
            epoch_done=self._end_epoch,
        )
        before_stage(self, self._note_checkpoint)
        self.has_step_seed = False  # whether a callback seeds each step
        self.own_names = frozenset({*vars(self), *OF_LOOPS})  # others are of a user's

    @property
    def estimated_stepping_batches(self) -> float:
        """Returns the steps of all training, also where windows of accumulated gradients change.

        Lightning takes the window that is set as it is asked for that of all epochs. It returns -1
        for data of unknown length in training without an end, and this property infinity.
        """
        steps, lightnings = steps_of(self), super().estimated_stepping_batches
        if lightnings not in (steps, -1, self._told):
            self._told = lightnings
            said = (
                "trainer.estimated_stepping_batches is %d, the steps to come; Lightning counts %d"
            )
            log.info(said, steps, lightnings)
        return steps

    @property
    def has_validation(self) -> bool:
        """Tells whether training validates at all."""
        return has_validation(self)

    @property
    def callback_metrics(self) -> dict[str, Any]:
        """Returns the last value of each metric; within a block, also of its last row."""
        self._log_row()
        return super().callback_metrics

    @property
    def progress_bar_metrics(self) -> dict[str, Any]:
        """Returns the metrics that the progress bar shows; within a block, also of its last row."""
        self._log_row()
        return super().progress_bar_metrics

    def _log_row(self) -> None:
        """Logs the row of a block that goes on. To log each would take longer than a small step."""
        row = self.row_of_block
        module = cast("Any", self.lightning_module)
        if row and hook_of(module) == "training_step":  # else an error has ended the block
            self.row_of_block = {}
            module.log_row(row)

    def fit(self, *args: Any, **options: Any) -> None:
        """Trains as Lightning does, and lets a fused optimiser train what any other one can."""
        with any_fused_steps():
            super().fit(*args, **options)

    def save_checkpoint(self, *args: Any, **options: Any) -> None:
        """Writes a checkpoint, and before it the rows that loggers still have in memory."""
        for logger in self.loggers:
            logger.save()
        super().save_checkpoint(*args, **options)

    def begin_blocks(self) -> None:
        """Finds out, when training starts, whether there can be blocks and compiled steps.

        Where there cannot, the log says why.
        """
        if self._searches or not self.log_every_n_steps:
            self._searches = False
            steps = self.num_training_batches / self.accumulate_grad_batches
            self.log_every_n_steps = steps_of_a_row(steps, self.max_epochs, self.max_steps)
        # When the last block began and the steps it was given; the steps within `BLOCK_SECONDS`.
        self._last_block: tuple[float, int] | None = None
        self._steps_in_time = 1
        self._said: set[str] = set()
        self._has_blocks = self.steps_per_call > 1 and self._may_block()
        self._compiled = self._compile() if self.wants_compiled else None
        self._meet_callbacks()

    def _meet_callbacks(self) -> None:
        """Finds the callbacks that steps have to know; one of them may append others."""
        self._met = [*self.callbacks]  # type: ignore[attr-defined]
        steppers = [callback for callback in self._met if isinstance(callback, StepCallback)]
        self._watching = [own for own in steppers if overrides(own, StepCallback, ["watches"])]
        self._looking_inside = [callback for callback in self._watching if callback.looks_inside]
        self._step_starts = [
            partial(callback.on_step_start, self, self.lightning_module)
            for callback in steppers
            if overrides(callback, StepCallback, ["on_step_start"])
        ]

    def _note_checkpoint(self) -> None:
        self.begun_with = str(self.ckpt_path or "")

    def _begin_training(self) -> None:
        self.trainings += 1
        if not self.log_every_n_steps:  # a search of Lightning's, without our callbacks
            self.log_every_n_steps, self._searches = 1, True
        # A run that is resumed at an epoch's last batch has none left there.
        self._batches = -1 if is_within_epoch(self) else batch_of_training(self) + 1
        self.before_training()
        self._tell("on_training_begun")

    def _end_epoch(self) -> None:
        """Tells callbacks, unless a loader of a length that nobody knows has given no batch."""
        batches = batch_of_training(self) + 1
        is_asked = not self.should_stop  # else a callback may have ended the epoch before it began
        if not batches and is_asked:
            data = getattr(self, "datamodule", None) or self.lightning_module
            raise UserError(
                f"{type(data).__name__}: its loader of training has given no batch in epoch "
                f"{self.current_epoch}."
            )
        if batches == self._batches and is_asked:
            log.warning("the loader of training has given no batch in epoch %d", self.current_epoch)
        self._batches = batches
        self._tell("on_epoch_done")

    def _end_batch(self) -> None:
        self._tell("on_batch_done")
        signals.heed()

    def _tell(self, hook: str) -> None:
        """Calls a hook of the callbacks for which Lightning has no moment."""
        for callback in self.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, StepCallback):
                getattr(callback, hook)(self, self.lightning_module)

    def end_blocks(self) -> None:
        """Ends blocks with training: whoever reads the batches afterwards gets them one by one."""
        self._has_blocks, self._compiled = False, None
        self.end_block()

    def end_block(self) -> None:
        """Forgets what is known within a block only."""
        self.row_of_block, self.batch_of_step, self.begins_step = {}, None, False

    def compiled_step(self, batch: Batch | Block, batch_idx: int) -> CompiledStep | None:
        """Returns the function that takes a block's steps, or None if they are not compiled.

        The first step of a run is not: it makes the optimiser's state.
        """
        step = self.global_step
        if (
            self._compiled is None
            or (step == 0 and not self._compiled.is_ready)
            or any(callback.watches(self, step, batch_idx) for callback in self._looking_inside)
        ):
            return None
        if reason := self._why_not_compiled():  # a callback may change that on the way
            self._say(logging.WARNING, NOT_COMPILED % reason)
            return None
        module: Any = self.lightning_module
        compiled = (self._compiled.network, self._compiled.loss, self._compiled.optimizer)
        current = (module.network, module.loss, self.optimizers[0])
        try:
            if any(own is not now for own, now in zip(compiled, current, strict=True)):
                raise CannotCompile("another network, loss or optimiser has come in its place")
            self._compiled.refresh(*(next(batch.batches()) if isinstance(batch, Block) else batch))
        except CannotCompile as reason:
            self._compiled = None
            log.warning(NOT_COMPILED, reason)
        return self._compiled

    def next_block(self, most: int) -> int:
        """Returns how many steps, `most` at most, the next call of `training_step` may take."""
        self._way = self._goes_by()  # a callback may change it as the block begins
        if self._met != self.callbacks:  # type: ignore[attr-defined]
            self._meet_callbacks()
        # Callbacks may change on the way what rules blocks out, in any of their hooks.
        if not self._has_blocks or not self._may_block():
            return 1
        if self._compiled and not self._compiled.is_ready:
            return 1
        # They may also make schedules, and each epoch may have a loader of its own.
        schedules = any(config.interval == "step" for config in self.lr_scheduler_configs)
        self._counts = LoopCounts(self, schedules)
        step, batch = self.global_step, batch_of_epoch(self) + 1
        most = min(most, self._steps_within_limit(), int(self.num_training_batches) - batch)
        for end in (self.max_steps, self.min_steps or 0):  # at the second, a stop may be due
            if end > step:
                most = min(most, end - step)
        if interval := validation_interval(self):
            in_epoch = self.check_val_every_n_epoch is not None
            done = batch if in_epoch else batch_of_training(self) + 1
            most = min(most, interval - done % interval)
        most = int(min(most, steps_to_row(self)))
        # On a GPU, reading a row's loss within a block would make the CPU wait for the GPU.
        if self.strategy.root_device.type != "cpu":
            every = self.log_every_n_steps
            most = min(most, every - batch % every)
        watched = (
            ahead
            for ahead in range(most)
            if any(own.watches(self, step + ahead, batch + ahead) for own in self._watching)
        )
        most = next(watched, most)
        self._last_block = time.monotonic(), max(most, 1)
        return max(most, 1)

    def next_step(self) -> None:
        """Counts the step that a block just took, as Lightning would, and begins the next one."""
        batch = self._counts.count_step()
        signals.heed()
        self.begins_step = True
        for start in self._step_starts:
            start(batch)
        self.begins_step = False

    def has_changed(self) -> bool:
        """Tells whether a step is not what it was as the block began: it ends with this step."""
        return self._way != self._goes_by()

    def _goes_by(self) -> list[Any]:
        strategy = self.strategy
        parts = *strategy.optimizers, *strategy.lr_scheduler_configs
        return [*GOES_BY(self), *self.callbacks, *parts]  # type: ignore[attr-defined]

    def _steps_within_limit(self) -> int:
        """Returns how many steps take about `BLOCK_SECONDS`, by the time of the last block.

        It is one step at first. A last block of one watched step says nothing about others.
        """
        if self._last_block and (self._last_block[1] > 1 or self._steps_in_time == 1):
            began, steps = self._last_block
            seconds_per_step = max(time.monotonic() - began, 1e-9) / steps
            self._steps_in_time = max(1, int(BLOCK_SECONDS / seconds_per_step))
        return min(self.steps_per_call, self._steps_in_time)

    def _compile(self) -> CompiledStep | None:
        module: Any = self.lightning_module
        try:
            if reason := self._why_not_compiled():
                raise CannotCompile(reason)
            return CompiledStep(module.network, module.loss, self.optimizers[0])
        except CannotCompile as error:
            log.warning(NOT_COMPILED, error)
            return None

    def _why_not_compiled(self) -> str | None:
        """Returns why a step is not what a compiled one does, if so."""
        module: Any = self.lightning_module
        clip = self.gradient_clip_val
        clips = f"trainer.gradient_clip_val={clip}" if clip else None
        return self._obstacle() or module.why_not_compiled() or clips

    def _may_block(self) -> bool:
        """Tells whether there can be blocks now; if not, the log says why."""
        if reason := self._obstacle():
            call = f"trainer.steps_per_call={self.steps_per_call}"
            self._say(logging.INFO, f"one step a call, not {call}: {reason}")
        return reason is None

    def _say(self, level: int, text: str) -> None:
        """Logs a line once in a training, with the first number if others follow."""
        if (kind := NUMBER.sub("", text)) not in self._said:
            self._said.add(kind)
            log.log(level, text)

    def _obstacle(self) -> str | None:
        """Returns why there can be no blocks, if so."""
        parts: list[Any] = [self.lightning_module, self.datamodule]  # type: ignore[attr-defined]
        for part in parts:
            if not hasattr(part, "why_no_blocks"):
                return f"{type(part).__name__ if part else 'the DataLoader'} knows no blocks"
            if reason := part.why_no_blocks():
                return str(reason)
        optimizer, callbacks = self.optimizers[0], self.callbacks  # type: ignore[attr-defined]
        reasons = {
            "several devices": not isinstance(self.strategy, SingleDeviceStrategy),
            f"trainer.accumulate_grad_batches={self.accumulate_grad_batches}": (
                self.accumulate_grad_batches > 1
            ),
            f"trainer.precision={self.precision}": "mixed" in str(self.precision),
            f"{type(optimizer).__name__} may evaluate a step several times": (
                not evaluates_once(optimizer)
            ),
            f"{type(optimizer).__name__} has a step, zero_grad or hooks before it of its own": (
                changes_its_step(optimizer)
            ),
            f"{type(self.precision_plugin).__name__} may change a backward pass": not is_lightnings(
                self.precision_plugin
            ),
            f"{type(self.strategy).__name__} may change a step": not is_lightnings(self.strategy),
            "a learning rate depends on a metric at every step": any(
                config.reduce_on_plateau and config.interval == "step"
                for config in self.lr_scheduler_configs
            ),
            "StochasticWeightAveraging changes the way of a step": any(
                isinstance(callback, StochasticWeightAveraging) for callback in callbacks
            ),
        }
        for callback in callbacks:
            if not isinstance(callback, StepCallback):
                for hook in overrides(callback, Callback, PER_STEP):
                    name = f"{type(callback).__name__}.{hook}"
                    reasons[f"{name} wants every step (a StepCallback would say which)"] = True
        return next((reason for reason, holds in reasons.items() if holds), None)


def is_lightnings(part: object) -> bool:
    """Tells whether a strategy or a precision takes a step as one of Lightning's own classes."""
    is_known = type(part).__module__.partition(".")[0] in ("lightning", "engine")
    return is_known and vars(part).keys().isdisjoint(TAKEN_BY)


class _Begins(StepCallback):
    """Tells a BlockTrainer of the beginnings and ends that Lightning has hooks for.

    Between them, a signal ends the run after a step, or after a batch of a validation or a test.
    """

    def on_fit_start(self, trainer: Any, module: LightningModule) -> None:
        # The searches of Lightning's Tuner have ended before.
        if trainer.only_by_run:
            raise UserError(
                "train() calls trainer.fit, which would begin anew where this run is resumed.\n"
                "Write run.fit(trainer, module, data): it goes on from the run's checkpoint."
            )

    def on_train_start(self, trainer: Any, module: LightningModule) -> None:
        signals.let_steps_look(True)
        trainer.begin_blocks()

    def on_train_batch_start(self, trainer: Any, *_: object) -> None:
        trainer.steps_before_batch = trainer.global_step

    def on_train_end(self, trainer: Any, module: LightningModule) -> None:
        trainer.end_blocks()
        self._stop_looking()

    def on_test_start(self, trainer: Any, module: LightningModule) -> None:
        signals.let_steps_look(True)

    def on_test_end(self, trainer: Any, module: LightningModule) -> None:
        trainer.tested = trainer.begun_with
        self._stop_looking()

    def on_validation_batch_end(self, *_: Any) -> None:
        signals.heed()

    def on_test_batch_end(self, *_: Any) -> None:
        signals.heed()

    def on_exception(self, trainer: Any, module: LightningModule, error: BaseException) -> None:
        signals.let_steps_look(False)
        trainer.end_blocks()
        # Where a user's code raises KeyboardInterrupt, Lightning kills them, as if somebody had.
        if isinstance(error, signals.Interrupted | KeyboardInterrupt):
            kill_children(trainer)

    @staticmethod
    def _stop_looking() -> None:
        signals.let_steps_look(False)
        signals.heed()


def evaluates_once(optimizer: Any) -> bool:
    """Tells whether an optimiser evaluates the loss once a step.

    torch's own do, all but LBFGS, and so do classes with `evaluates_once = True`.
    """
    kind = type(optimizer)
    is_torchs = getattr(torch.optim, kind.__name__, None) is kind
    return getattr(kind, "evaluates_once", is_torchs and kind is not torch.optim.LBFGS)
