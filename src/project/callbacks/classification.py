"""Shows what a classifier gets right: accuracies, a confusion matrix, and test images."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from engine import CountOrZero, figures


class ClassificationReport(Callback):
    """Logs `<split>/acc/<class>` after validation and test, and draws two figures after test.

    The figures are the confusion matrix and some test images. They go to TensorBoard and to
    figures/. The data module must have `class_names`, and `images()` for the images. The module's
    steps must return a dict with "predictions" (N, classes) and "targets" (N,).

    Args:
        grid_images: how many test images to show, evenly spread over the split; 0 draws none.
    """

    in_a_stack = "each job"

    def __init__(self, grid_images: CountOrZero = 32) -> None:
        self.grid_images = grid_images
        self._confusion: MulticlassConfusionMatrix | None = None

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self.class_names: list[str] = trainer.datamodule.class_names  # type: ignore[attr-defined]

    def _start(self, trainer: Trainer, module: LightningModule) -> None:
        confusion = MulticlassConfusionMatrix(len(self.class_names), validate_args=False)
        self._confusion = confusion.to(module.device)

    def _count(self, trainer: Trainer, module: LightningModule, outputs: Any, *batch: Any) -> None:
        assert self._confusion is not None
        self._confusion.update(outputs["predictions"], outputs["targets"])

    on_validation_epoch_start = on_test_epoch_start = _start  # type: ignore[assignment]
    on_validation_batch_end = on_test_batch_end = _count  # type: ignore[assignment]

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._log_accuracies(module, "val")

    def on_test_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        confusion = self._log_accuracies(module, "test")
        if figures.are_wanted(trainer):
            self._show(trainer, "confusion_matrix", confusion_figure(confusion, self.class_names))
            if self.grid_images:
                self._show(trainer, "images", self._grid(trainer, module))

    def _log_accuracies(self, module: LightningModule, split: str) -> Tensor:
        """Logs each class's accuracy, and returns the counts (truth, prediction)."""
        assert self._confusion is not None
        confusion: Tensor = self._confusion.compute().cpu()  # (classes, classes)
        for name, row, right in zip(self.class_names, confusion, confusion.diagonal(), strict=True):
            if row.sum() > 0:  # a class without samples has no accuracy
                module.log(f"{split}/acc/{name}", right / row.sum(), sync_dist=True)
        return confusion

    @staticmethod
    def _show(trainer: Trainer, name: str, figure: Figure) -> None:
        split = trainer.datamodule.test_split  # type: ignore[attr-defined]
        figures.show(trainer, f"{split}/{name}", figure, trainer.global_step)
        figures.save(trainer, f"{split}_{name}", figure)

    def _grid(self, trainer: Trainer, module: LightningModule) -> Figure:
        """Draws some test images with truth and prediction."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        split = data.splits[data.test_split]
        chosen = torch.linspace(0, len(split) - 1, min(self.grid_images, len(split))).long()
        targets = split.targets[chosen]
        inputs, _ = data.on_after_batch_transfer(
            (split.inputs[chosen].to(module.device), targets), 0
        )
        with torch.no_grad():
            predictions = module(inputs).argmax(dim=1)
        images = data.images(inputs).float().permute(0, 2, 3, 1).cpu()  # (N, H, W, 3)
        return grid_figure(images, targets.tolist(), predictions.tolist(), self.class_names)


def confusion_figure(confusion: Tensor, names: Sequence[str]) -> Figure:
    """Draws the confusion matrix (truth, prediction): counts in coloured squares.

    The colour is the share of the samples of that truth.
    """
    side = max(4.0, 0.55 * len(names) + 1.6)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    picture = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the class", shrink=0.8)
    accuracy = confusion.trace() / confusion.sum()
    axes.set(xlabel="prediction", ylabel="truth", title=f"accuracy {accuracy:.1%}")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    if len(names) <= 30:  # with more classes, the numbers would be too small to read
        _write_counts(axes, confusion, shares)
    return figure


def _write_counts(axes: Axes, confusion: Tensor, shares: Tensor) -> None:
    """Writes each count into its square, white on dark squares."""
    for truth, row in enumerate(confusion.tolist()):
        for prediction, count in enumerate(row):
            axes.text(
                prediction,
                truth,
                f"{int(count)}",
                ha="center",
                va="center",
                color="white" if shares[truth, prediction] > 0.5 else "black",
                fontsize=8,
            )


def grid_figure(
    images: Tensor, truths: Sequence[int], predictions: Sequence[int], names: Sequence[str]
) -> Figure:
    """Draws images (N, H, W, 3) in [0, 1], each with the title "truth / prediction".

    An image with a wrong prediction has a red title and a red frame.
    """
    columns = min(8, len(images))
    rows = -(-len(images) // columns)  # rounded up
    figure = Figure(figsize=(1.5 * columns, 1.75 * rows + 0.4), layout="constrained")
    right = sum(truth == prediction for truth, prediction in zip(truths, predictions, strict=True))
    figure.suptitle(f"truth / prediction: {right} of {len(images)} right, wrong ones in red")
    for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set(xticks=[], yticks=[])
        if index >= len(images):
            axes.axis("off")
            continue
        wrong = truths[index] != predictions[index]
        colour = "crimson" if wrong else "black"
        axes.imshow(images[index].numpy())
        title = f"{names[truths[index]]} / {names[predictions[index]]}"
        axes.set_title(title, fontsize=8, color=colour)
        axes.spines[:].set(color=colour, linewidth=3 if wrong else 0.5)
    return figure
