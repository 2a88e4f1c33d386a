"""The curve that a model of one input and one output has learned so far."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from engine import Count, StepCallback, figures


class CurveFigure(StepCallback):
    """Draws the training points, the model's line and the loss: in TensorBoard, and the final one in figures/curve.png.

    Args:
        every_n_steps: steps between two drawings.
    """

    in_a_stack = "each job"

    def __init__(self, every_n_steps: Count = 10) -> None:
        self.every_n_steps = every_n_steps

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return (step + 1) % self.every_n_steps == 0

    def on_train_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        if trainer.global_step % self.every_n_steps == 0 and figures.are_wanted(trainer):
            figures.show(
                trainer,
                "train/curve",
                self._draw(trainer, module, outputs["loss"].item()),
                trainer.global_step - 1,
            )

    def on_fit_end(
        self, trainer: Trainer, module: LightningModule
    ) -> None:  # also of a run with no step left
        if figures.are_wanted(trainer):
            loss = trainer.callback_metrics.get("train/loss")  # none, where it had no step left
            figures.save(trainer, "curve", self._draw(trainer, module, loss))

    @staticmethod
    @torch.no_grad()
    def _draw(trainer: Trainer, module: LightningModule, loss: float | Tensor | None) -> Figure:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        points = data.splits["train"]
        x = torch.linspace(points.inputs.min(), points.inputs.max(), 200).unsqueeze(1)
        y = module(x.to(next(module.parameters()))).float().cpu()
        figure = Figure(figsize=(5, 4))
        axes = figure.subplots()
        axes.scatter(points.inputs.numpy(), points.targets.numpy(), s=12, label="data")
        axes.plot(x.numpy(), y.numpy(), color="crimson", linewidth=2.5, label="model")
        axes.set(
            xlabel="x",
            ylabel="y",
            title=f"step {trainer.global_step - 1}"
            + (f", loss {loss:.4f}" if loss is not None else ""),
        )
        axes.legend()
        return figure
