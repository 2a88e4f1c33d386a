"""Blocks: several optimiser steps in one call of `training_step`, because a call of Lightning's costs more than a step.

A step that some callback watches is an ordinary Lightning step, with all its hooks; the steps in between, which nobody
watches, are taken together. So the result is the same, bit by bit, however many steps a block has.
"""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.strategies import SingleDeviceStrategy

from engine.fence.lightning import (
    LoopCounts,
    batch_of_epoch,
    batch_of_training,
    validation_interval,
)
from engine.steps.block import Batch, Block
from engine.steps.callback import PER_STEP, StepCallback, overrides
from engine.steps.compiled import CannotCompile, CompiledStep

log = logging.getLogger(__name__)

LONGEST = 0.3  # seconds that a block may take, about: progress is shown, and signals are heeded, in between
NOT_COMPILED = "compile=true, but the steps are not compiled: %s"


class _Begin(StepCallback):
    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(trainer, BlockTrainer)
        trainer.begin_blocks()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(trainer, BlockTrainer)
        trainer.end_blocks()

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        assert isinstance(trainer, BlockTrainer)
        trainer.end_blocks()


class BlockTrainer(Trainer):
    """Lightning's Trainer, which may take several optimiser steps in one call of `training_step`.

    Where model, data, a callback or an option cannot have that, it takes one step a call and says so.

    Args:
        steps_per_call: the most steps of a block; a block ends earlier where something is due, or takes too long.
        compiled: whether a step is one compiled function, but for the first, and those that a callback looks into.
        options: of Lightning's Trainer.
    """

    def __init__(
        self,
        steps_per_call: int = 1,
        compiled: bool = False,
        callbacks: Sequence[Callback] | Callback | None = None,
        **options: Any,
    ) -> None:
        given = [callbacks] if isinstance(callbacks, Callback) else callbacks or []
        super().__init__(callbacks=[*given, _Begin()], **options)
        self.steps_per_call, self.wants_compiled = steps_per_call, compiled
        self._compiled: CompiledStep | None = None
        self._singly = True  # there are no blocks
        self._last_block: tuple[float, int] | None = (
            None  # when it began, and how many steps it was given
        )
        self._steps_in_time = 1  # that take `LONGEST`
        self._watching: list[StepCallback] = []
        self._looking_inside: list[StepCallback] = []
        self._step_starts: list[Callable[[int], None]] = []
        self._counts: LoopCounts

    def begin_blocks(self) -> None:
        """Find out, when training starts, whether there can be blocks, and compiled steps; say why, if not."""
        self._last_block, self._steps_in_time = None, 1
        obstacle = self._obstacle()
        self._singly = self.steps_per_call == 1 or obstacle is not None
        if obstacle and self.steps_per_call > 1:
            log.info(
                "one step a call, not trainer.steps_per_call=%d: %s", self.steps_per_call, obstacle
            )
        self._compiled = self._compile(obstacle) if self.wants_compiled else None
        callbacks: Sequence[Callback] = self.callbacks  # type: ignore[attr-defined]
        knowing = [callback for callback in callbacks if isinstance(callback, StepCallback)]
        self._watching = [
            callback for callback in knowing if overrides(callback, StepCallback, ["watches"])
        ]
        self._looking_inside = [callback for callback in self._watching if callback.looks_inside]
        starting = [
            callback for callback in knowing if overrides(callback, StepCallback, ["on_step_start"])
        ]
        self._step_starts = [
            partial(callback.on_step_start, self, self.lightning_module) for callback in starting
        ]
        schedules = any(config.interval == "step" for config in self.lr_scheduler_configs)
        self._counts = LoopCounts(self, schedules)

    def end_blocks(self) -> None:
        """End what `begin_blocks` began: whoever looks at the batches now gets them one by one."""
        self._singly, self._compiled = True, None

    def compiled_step(self, batch: Batch | Block, batch_idx: int) -> CompiledStep | None:
        """What takes the steps of a block, if they are compiled; the first is not: it makes the optimiser's state."""
        if self._compiled is None or (self.global_step == 0 and not self._compiled.is_ready):
            return None
        if any(
            callback.watches(self, self.global_step, batch_idx) for callback in self._looking_inside
        ):
            return None
        try:
            self._compiled.refresh(*(next(batch.batches()) if isinstance(batch, Block) else batch))
        except CannotCompile as reason:
            self._compiled = None
            log.warning(NOT_COMPILED, reason)
        return self._compiled

    def next_block(self, most: int) -> int:
        """How many steps, `most` at most, the next call of `training_step` may take."""
        if self._singly or self.accumulate_grad_batches > 1:  # a callback may change it
            return 1
        if self._compiled and not self._compiled.is_ready:
            return 1
        step, batch = self.global_step, batch_of_epoch(self) + 1
        most = min(most, self._in_time(), int(self.num_training_batches) - batch)
        if self.max_steps >= 0:
            most = min(most, self.max_steps - step)
        if interval := validation_interval(self):
            in_epoch = self.check_val_every_n_epoch is not None
            done = batch if in_epoch else batch_of_training(self) + 1
            most = min(most, interval - done % interval)
        if (
            self.strategy.root_device.type != "cpu"
        ):  # to look at a row's loss, within a block, would stop the device
            most = min(most, self.log_every_n_steps - batch % self.log_every_n_steps)  # type: ignore[attr-defined]
        for ahead in range(most):
            if any(
                callback.watches(self, step + ahead, batch + ahead) for callback in self._watching
            ):
                most = ahead
                break
        self._last_block = time.monotonic(), max(most, 1)
        return max(most, 1)

    def next_step(self) -> None:
        """Within a block: count the step that was just taken, as Lightning would, and begin the next."""
        batch = self._counts.count_step()
        for start in self._step_starts:
            start(batch)

    def _in_time(self) -> int:
        """As many steps as take `LONGEST`: one at first, then by the last block, unless that was one watched step."""
        if self._last_block:
            began, steps = self._last_block
            if steps > 1 or self._steps_in_time == 1:
                self._steps_in_time = max(
                    1, int(LONGEST * steps / max(time.monotonic() - began, 1e-9))
                )
        return min(self.steps_per_call, self._steps_in_time)

    def _compile(self, obstacle: str | None) -> CompiledStep | None:
        module: Any = self.lightning_module
        try:
            if obstacle or (obstacle := module.why_not_compiled()):
                raise CannotCompile(obstacle)
            if self.gradient_clip_val:
                raise CannotCompile(f"trainer.gradient_clip_val={self.gradient_clip_val}")
            return CompiledStep(module.network, module.loss, self.optimizers[0])
        except CannotCompile as reason:
            log.warning(NOT_COMPILED, reason)
            return None

    def _obstacle(self) -> str | None:
        """Why there can be no blocks, if so."""
        parts: list[Any] = [self.lightning_module, self.datamodule]  # type: ignore[attr-defined]
        for part in parts:
            if not hasattr(part, "why_no_blocks"):
                return f"{type(part).__name__ if part else 'the DataLoader'} knows no blocks"
            if reason := part.why_no_blocks():
                return str(reason)
        if not isinstance(self.strategy, SingleDeviceStrategy):
            return "several devices"
        if self.accumulate_grad_batches > 1:
            return f"trainer.accumulate_grad_batches={self.accumulate_grad_batches}"
        if "mixed" in str(self.precision):
            return f"trainer.precision={self.precision}"
        if not evaluates_once(self.optimizers[0]):
            return f"{type(self.optimizers[0]).__name__} may evaluate a step several times"
        if any(
            config.reduce_on_plateau and config.interval == "step"
            for config in self.lr_scheduler_configs
        ):
            return "a learning rate depends on a metric at every step"
        for callback in self.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, StochasticWeightAveraging):
                return "StochasticWeightAveraging changes the way of a step"
            if not isinstance(callback, StepCallback) and (
                hooks := overrides(callback, Callback, PER_STEP)
            ):
                return f"{type(callback).__name__}.{hooks[0]} wants every step (a StepCallback would say which)"
        return None


def evaluates_once(optimizer: Any) -> bool:
    """Tell whether an optimiser evaluates the loss once a step: torch's do, and those that say so."""
    kind = type(optimizer)
    is_torchs = getattr(torch.optim, kind.__name__, None) is kind
    return getattr(kind, "evaluates_once", is_torchs and kind is not torch.optim.LBFGS)
