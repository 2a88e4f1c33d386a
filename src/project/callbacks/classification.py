"""What a classifier gets right: accuracy of each class, confusion matrix, test images with truth and prediction."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from engine import CountOrZero, figures


class ClassificationReport(Callback):
    """Logs `<split>/acc/<class>` after validation and test; after test, two figures, in TensorBoard and figures/.

    The data module must have `class_names`, and for the images `images()`; the module's steps return a dict with
    "predictions" (N, classes) and "targets" (N,).

    Args:
        grid_images: how many test images to show, evenly spread over the split; 0 for no such figure.
    """

    in_a_stack = "each job"

    def __init__(self, grid_images: CountOrZero = 32) -> None:
        self.grid_images = grid_images
        self._confusion: MulticlassConfusionMatrix | None = None

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self.class_names: list[str] = trainer.datamodule.class_names  # type: ignore[attr-defined]

    def _start(self, trainer: Trainer, module: LightningModule) -> None:
        self._confusion = MulticlassConfusionMatrix(len(self.class_names), validate_args=False).to(
            module.device
        )

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
        """Log each class's accuracy; returns the confusion matrix (truth, prediction) as counts."""
        assert self._confusion is not None
        confusion: Tensor = self._confusion.compute().cpu()
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
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        split = data.splits[data.test_split]
        chosen = torch.linspace(0, len(split) - 1, min(self.grid_images, len(split))).long()
        batch = split.inputs[chosen].to(module.device), split.targets[chosen]
        inputs, _ = data.on_after_batch_transfer(batch, 0)
        with torch.no_grad():
            predictions = module(inputs).argmax(dim=1)
        images = data.images(inputs).float().permute(0, 2, 3, 1).cpu()  # (N, H, W, 3)
        return grid_figure(
            images, split.targets[chosen].tolist(), predictions.tolist(), self.class_names
        )


def confusion_figure(confusion: Tensor, names: Sequence[str]) -> Figure:
    """The confusion matrix (truth, prediction): counts, coloured by the share of each truth's samples."""
    classes = len(names)
    side = max(4.0, 0.55 * classes + 1.6)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    picture = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the class", shrink=0.8)
    axes.set(
        xlabel="prediction",
        ylabel="truth",
        title=f"accuracy {confusion.trace() / confusion.sum():.1%}",
    )
    axes.set_xticks(range(classes), names, rotation=90)
    axes.set_yticks(range(classes), names)
    if classes <= 30:
        for truth in range(classes):
            for prediction in range(classes):
                colour = "white" if shares[truth, prediction] > 0.5 else "black"
                count = f"{int(confusion[truth, prediction])}"
                axes.text(
                    prediction, truth, count, ha="center", va="center", color=colour, fontsize=8
                )
    return figure


def grid_figure(
    images: Tensor, truths: Sequence[int], predictions: Sequence[int], names: Sequence[str]
) -> Figure:
    """Images (N, H, W, 3) in [0, 1], titled "truth / prediction"; a wrong one has a red title and frame."""
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.5 * columns, 1.75 * rows + 0.4), layout="constrained")
    right = sum(truth == prediction for truth, prediction in zip(truths, predictions, strict=True))
    figure.suptitle(f"truth / prediction: {right} of {len(images)} right, wrong ones in red")
    for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set(xticks=[], yticks=[])
        if index >= len(images):
            axes.axis("off")
            continue
        wrong = truths[index] != predictions[index]
        axes.imshow(images[index].numpy())
        axes.set_title(
            f"{names[truths[index]]} / {names[predictions[index]]}",
            fontsize=8,
            color="crimson" if wrong else "black",
        )
        axes.spines[:].set(color="crimson" if wrong else "black", linewidth=3 if wrong else 0.5)
    return figure
