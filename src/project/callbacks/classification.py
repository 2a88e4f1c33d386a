"""Shows what a classifier gets right: accuracies, a confusion matrix, and test images."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics import Metric

from engine import CountOrZero, figures

log = logging.getLogger(__name__)
MOST_NAMES = 100  # of classes in a confusion matrix: more would make a picture too large to draw


class Confusion(Metric):
    """Counts samples by (truth, prediction): (classes, classes), int64, over all processes.

    The counts of torchmetrics need memory for (samples, classes²) where operations have to be
    deterministic: 32 GB for 1,000 samples of 2,000 classes.

    Args:
        classes: how many there are.
    """

    counts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        zeros = torch.zeros(classes, classes, dtype=torch.int64)
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(self, predicted: Tensor, targets: Tensor) -> None:
        """Counts samples by their classes, both of the same shape; a target below 0 is unknown."""
        known = targets >= 0  # a loss leaves out the label -100
        pairs = targets[known] * len(self.counts) + predicted[known]
        # On a CPU, because the sums of a GPU have no fixed order.
        counts = torch.bincount(pairs.cpu(), minlength=self.counts.numel())
        self.counts += counts.view_as(self.counts).to(self.counts.device)

    def compute(self) -> Tensor:
        return self.counts


class ClassificationReport(Callback):
    """Logs `<split>/acc/<class>` after validation and test, and draws two figures after test.

    The figures are the confusion matrix and some test images. They go to TensorBoard and to
    figures/. For all but the images, the data module must have `class_names`, and the module's
    steps must return a dict with "predictions" (N, classes, …) and "targets" (N, …). For the
    images, the data module must have `images()`. What does not apply is left out, and the log says
    so.

    Args:
        grid_images: how many test images to show, evenly spread over the split; 0 draws none.
    """

    in_a_stack = "each job"

    def __init__(self, grid_images: CountOrZero = 32) -> None:
        self.grid_images = grid_images
        self.class_names: list[str] | None = None
        self._shows_images = False
        self._confusion: Confusion | None = None
        self._said: set[str] = set()

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.class_names = getattr(data, "class_names", None)
        reason = _why_no_images(data)
        self._shows_images = self.grid_images > 0 and reason is None
        name = type(data).__name__ if data else "a DataLoader"
        if self.class_names is None:
            self._say(f"no accuracies of classes and no figures, as {name} has no class_names")
        elif self.grid_images and reason:
            self._say(f"no test images are drawn, as {name} {reason}")

    def _say(self, text: str) -> None:
        if text not in self._said:  # once, although training and testing are set up
            log.info("%s: %s", type(self).__name__, text)
            self._said.add(text)

    def _start(self, trainer: Trainer, module: LightningModule) -> None:
        if self.class_names:
            self._confusion = Confusion(len(self.class_names)).to(module.device)

    def _count(self, trainer: Trainer, module: LightningModule, outputs: Any, *batch: Any) -> None:
        if self._confusion is None or self.class_names is None:
            return
        if reason := _why_not_counted(outputs, len(self.class_names)):
            self._say(f"no accuracies of classes and no figures, as {reason}")
            self.class_names = self._confusion = None
            return
        self._confusion.update(outputs["predictions"].argmax(dim=1), outputs["targets"])

    on_validation_epoch_start = on_test_epoch_start = _start  # type: ignore[assignment]
    on_validation_batch_end = on_test_batch_end = _count  # type: ignore[assignment]

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._log_accuracies(module, "val")

    def on_test_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        confusion = self._log_accuracies(module, "test")
        if confusion is not None and self.class_names and figures.are_wanted(trainer):
            self._show(trainer, "confusion_matrix", confusion_figure(confusion, self.class_names))
            if self._shows_images:
                self._show(trainer, "images", self._grid(trainer, module, self.class_names))

    def _log_accuracies(self, module: LightningModule, split: str) -> Tensor | None:
        """Logs each class's accuracy, and returns the counts (truth, prediction), if any."""
        if self._confusion is None or self.class_names is None:
            return None
        confusion: Tensor = self._confusion.compute().cpu()  # (classes, classes)
        for name, row, right in zip(self.class_names, confusion, confusion.diagonal(), strict=True):
            if row.sum() > 0:  # a class without samples has no accuracy
                module.log(f"{split}/acc/{name}", right / row.sum(), sync_dist=True)
        return confusion

    @staticmethod
    def _show(trainer: Trainer, name: str, figure: Figure) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        split = getattr(data, "test_split", "test")
        figures.show(trainer, f"{split}/{name}", figure, trainer.global_step)
        figures.save(trainer, f"{split}_{name}", figure)

    def _grid(self, trainer: Trainer, module: LightningModule, names: Sequence[str]) -> Figure:
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
        return grid_figure(images, targets.tolist(), predictions.tolist(), names)


def _why_no_images(data: Any) -> str | None:
    """Returns why images of a data module cannot be shown with their classes, if so."""
    if not hasattr(data, "images") or not hasattr(data, "splits"):
        return "has no images()"
    has_one_label = all(split.targets.dim() == 1 for split in data.splits.values())
    return None if has_one_label else "has more than one label for an image"


def _why_not_counted(outputs: Any, classes: int) -> str | None:
    """Returns why a step's outputs are no predictions of classes, if so."""
    if not isinstance(outputs, Mapping) or not {"predictions", "targets"} <= outputs.keys():
        return 'the steps return no dict with "predictions" and "targets"'
    predictions, targets = outputs["predictions"], outputs["targets"]
    is_of_classes = predictions.dim() == targets.dim() + 1 and predictions.shape[1] == classes
    if is_of_classes and not targets.is_floating_point():
        return None
    return (
        f"predictions {tuple(predictions.shape)} and targets {tuple(targets.shape)} of "
        f"{targets.dtype} are not of {classes} classes"
    )


def confusion_figure(confusion: Tensor, names: Sequence[str]) -> Figure:
    """Draws the confusion matrix (truth, prediction): counts in coloured squares.

    The colour is the share of the samples of that truth.
    """
    has_names = len(names) <= MOST_NAMES
    side = max(4.0, 0.55 * len(names) + 1.6) if has_names else 12.0  # inches
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / confusion.sum(dim=1, keepdim=True).clamp(min=1)
    picture = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the class", shrink=0.8)
    accuracy = confusion.trace() / confusion.sum()
    axes.set(xlabel="prediction", ylabel="truth", title=f"accuracy {accuracy:.1%}")
    if has_names:
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
