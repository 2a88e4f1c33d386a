"""Shows progress: a bar in the terminal, and a line in the log after each epoch."""

import logging
import math
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from engine.config.ranges import Count, NotNegative
from engine.fence.lightning import ProgressBar, batch_of_epoch
from engine.messages import width
from engine.run.summaries import is_of_one_class
from engine.steps.callback import ONCE, StepCallback, reached
from engine.steps.rows import LastRow

log = logging.getLogger(__name__)

# Characters of a bar besides metrics: epoch 12/100:  45%|███| 1234/5678 [00:10 left, step=9999]
BESIDE = 58


class StepProgressBar(StepCallback, ProgressBar):
    """Draws Lightning's bar by the clock, instead of every n steps, and only in a terminal.

    Args:
        refresh_seconds: least time between two drawings, in seconds.
        line_every_n_steps: steps between two lines in the log; one line an epoch if None.
    """

    in_a_stack = ONCE
    BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{remaining} left{postfix}]"

    def __init__(
        self, refresh_seconds: NotNegative = 0.2, line_every_n_steps: Count | None = None
    ) -> None:
        super().__init__(refresh_rate=1)
        self.refresh_seconds, self.line_every_n_steps = refresh_seconds, line_every_n_steps
        self._drawn_at = 0.0
        self._told: dict[str, Tensor] = {}
        self._batch = -1  # the last one, from 0 in each epoch
        if not sys.stdout.isatty():
            self.disable()

    def enable(self) -> None:
        """Enables the bar, as Lightning does in the first process, if there is a terminal."""
        if sys.stdout.isatty():
            super().enable()

    def get_metrics(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
        """Returns the step and the metrics that have room beside a bar: tqdm would cut a number."""
        metrics = super().get_metrics(trainer, module)
        metrics.pop("v_num", None)
        shown: dict[str, Any] = {"step": str(trainer.global_step)}
        room = width() - BESIDE
        for name, value in metrics.items():
            text = value if isinstance(value, str) else f"{value:.4g}"
            room -= len(f", {name}={text}")
            if room < 0:
                break
            shown[name] = text
        return shown

    def on_train_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_start(trainer, *args)
        self._told = dict(trainer.callback_metrics)
        # Lightning does not call this hook where a run resumes within an epoch.
        self.on_train_epoch_start(trainer, *args)

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        # Lightning's own method draws the number of the epoch as it is, from 0.
        bar = self.train_progress_bar
        batches = self.total_train_batches
        bar.set_description(self._epoch(trainer, trainer.current_epoch + 1), refresh=False)
        bar.total = None if math.isinf(batches) else batches
        bar.initial = 0
        bar.reset()
        self._began = time.monotonic(), trainer.global_step

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return bool(self.line_every_n_steps) and (step + 1) % (self.line_every_n_steps or 1) == 0

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # `batch_idx` is the number of a block's first batch; the bar shows the last one.
        self._batch = batch_of_epoch(trainer)
        super().on_train_batch_end(trainer, module, outputs, batch, self._batch)
        if self.line_every_n_steps and reached(trainer, self.line_every_n_steps):
            epoch = self._epoch(trainer, trainer.current_epoch + 1)
            self._line(trainer, f"{epoch}, step {trainer.global_step:,}")

    # The module's own on_train_epoch_end, which may log something, comes after the callbacks'.
    def on_epoch_done(self, trainer: Trainer, module: LightningModule) -> None:
        if not self.line_every_n_steps:
            epoch = self._epoch(trainer, trainer.current_epoch)
            self._line(trainer, epoch, *self._part(trainer, module))

    def on_exception(self, *_: Any) -> None:
        """Ends the bars, so that the last messages come below them."""
        for name in ("train_progress_bar", "val_progress_bar", "test_progress_bar"):
            with suppress(TypeError):  # there is none yet
                getattr(self, name).close()

    def _line(
        self, trainer: Trainer, place: str, names: Collection[str] = (), part: str = ""
    ) -> None:
        """Logs `epoch 1/5: train loss 1.72 (last 9 steps), val loss 1.8 acc 0.35 (830 steps/s)`.

        It has what was logged since the line before: Lightning keeps the last value of each metric.
        The speed is left out where the line has no room.

        Args:
            trainer: the run's.
            place: what the line begins with.
            names: metrics that are of a part of the epoch only.
            part: says of which.
        """
        now, before = dict(trainer.callback_metrics), self._told
        new = {
            name: value
            for name, value in now.items()
            if not _is_same(value, before.get(name)) and not is_of_one_class(name, now)
        }
        self._told = now
        seconds, first = self._began
        speed = (trainer.global_step - first) / max(time.monotonic() - seconds, 1e-9)
        line = ": ".join(filter(None, (place, _in_words(new, names, part))))
        whole = f"{line} ({speed:.0f} steps/s)"
        log.info("%s", whole if len(whole) <= width() else line)

    def _part(self, trainer: Trainer, module: LightningModule) -> tuple[Collection[str], str]:
        """Returns the metrics of the last row, and of how many steps it is, if not of the epoch's.

        A row may have a single small batch, where a validation has a whole split.
        """
        row = getattr(module, "written_row", None)
        if not isinstance(row, LastRow) or row.batches > self._batch:
            return (), ""
        steps = math.ceil(row.batches / trainer.accumulate_grad_batches)
        return row.names, f"(last {steps} steps)" if steps > 1 else "(last step)"

    @staticmethod
    def _epoch(trainer: Trainer, number: int) -> str:
        last = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        return f"epoch {number}{last}"

    def is_due(self, current: int, total: int) -> bool:
        now = time.monotonic()
        is_due = current == total or now - self._drawn_at >= self.refresh_seconds
        if is_due:
            self._drawn_at = now
        return is_due


def _is_same(value: Any, before: Any) -> bool:
    """Tells whether Lightning has kept a number, of which it gives another view each time."""
    if isinstance(value, Tensor) and isinstance(before, Tensor):
        return value.data_ptr() == before.data_ptr()
    return value is before


def _in_words(metrics: dict[str, Tensor], names: Collection[str], part: str) -> str:
    """Writes metrics: `train loss 1.72 acc 0.37, val loss 1.8`."""
    last = next((name for name in reversed(metrics) if name in names), None)
    by_split: dict[str, list[str]] = {}
    for name, value in metrics.items():
        split, _, rest = name.rpartition("/")
        words = by_split.setdefault(split, [split] if split else [])
        words.append(f"{rest} {value:.4g}")
        if name == last:
            words.append(part)
    return ", ".join(map(" ".join, by_split.values()))
