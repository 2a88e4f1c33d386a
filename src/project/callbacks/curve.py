"""Draws the curve that a model of one input and one output has learned so far."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from engine import Count, StepCallback, figures, reached

log = logging.getLogger(__name__)


class CurveFigure(StepCallback):
    """Draws the training points, the model's line and the loss.

    TensorBoard gets a drawing every n steps, and figures/curve.png is the last one. Where the data
    have no splits with inputs (N, 1) and targets (N, 1), nothing is drawn, and the log says so.

    Args:
        every_n_steps: steps from one drawing to the next.
    """

    in_a_stack = "each job"

    def __init__(self, every_n_steps: Count = 10) -> None:
        self.every_n_steps = every_n_steps
        self._draws = False

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        train: Any = getattr(data, "splits", {}).get("train")
        self._draws = bool(train) and train.inputs.shape[1:] == train.targets.shape[1:] == (1,)
        if not self._draws and stage == "fit":
            log.info("%s: no curve, as inputs and targets are not (N, 1)", type(self).__name__)

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return self._draws and (step + 1) % self.every_n_steps == 0

    def on_train_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        is_due = self._draws and reached(trainer, self.every_n_steps)
        if is_due and figures.are_wanted(trainer):
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
            drawn = self._draw(trainer, module, loss)
            figures.show(trainer, "train/curve", drawn, trainer.global_step - 1)

    # Not on_train_end, which Lightning skips in a resumed run without a step left.
    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self._draws and figures.are_wanted(trainer):
            loss = trainer.callback_metrics.get("train/loss")  # None without a step left
            figures.save(trainer, "curve", self._draw(trainer, module, loss))

    @staticmethod
    @torch.no_grad()
    def _draw(trainer: Trainer, module: LightningModule, loss: Tensor | None) -> Figure:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        points = data.splits["train"]
        x = torch.linspace(points.inputs.min(), points.inputs.max(), 200).unsqueeze(1)  # (200, 1)
        inputs = data.prepare_inputs(x.to(next(module.parameters())))
        y = module(inputs).float().cpu()  # (200, 1)
        figure = Figure(figsize=(5, 4))
        axes = figure.subplots()
        axes.scatter(points.inputs.numpy(), points.targets.numpy(), s=12, label="data")
        axes.plot(x.numpy(), y.numpy(), color="crimson", linewidth=2.5, label="model")
        title = f"step {trainer.global_step - 1}" + ("" if loss is None else f", loss {loss:.4f}")
        axes.set(xlabel="x", ylabel="y", title=title)
        axes.legend()
        return figure
