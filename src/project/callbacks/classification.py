"""Shows what a classifier gets right: accuracies, a confusion matrix, and test images."""

import logging
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics import Metric

from engine import CountOrZero, classified, figures

log = logging.getLogger(__name__)


class Confusion(Metric):
    """Counts samples by (truth, prediction): (classes, classes), int64, over all processes.

    The counts of torchmetrics need memory for (samples, classes²) where operations have to be
    deterministic: 32 GB for 1,000 samples of 2,000 classes.

    Args:
        classes: how many there are.
        ignored: a label that the loss leaves out.

    Attributes:
        left_out: how many labels are above the last class; known once `compute` was called.
    """

    counts: Tensor
    above: Tensor
    left_out = 0

    def __init__(self, classes: int, ignored: int = -100) -> None:
        super().__init__()
        self.ignored = ignored
        zeros = torch.zeros(classes, classes, dtype=torch.int64)
        self.add_state("counts", zeros, dist_reduce_fx="sum")
        self.add_state("above", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, targets: Tensor) -> None:
        """Counts samples by their classes, both of the same shape; a target below 0 is unknown."""
        labels = targets.long()  # in uint8, 156 is -100, and numbers of pairs overflow
        used = (labels >= 0) & (labels != self.ignored)
        is_class = labels < len(self.counts)
        known = used & is_class
        self.above += (used & ~is_class).sum()
        pairs = labels[known] * len(self.counts) + predicted[known]
        # On a CPU, because the sums of a GPU have no fixed order.
        counts = torch.bincount(pairs.cpu(), minlength=self.counts.numel())
        self.counts += counts.view_as(self.counts).to(self.counts.device)

    def compute(self) -> Tensor:
        self.left_out = int(self.above)  # of all processes
        return self.counts


class ClassificationReport(Callback):
    """Logs `<split>/acc/<class>` after validation and test, and draws two figures after test.

    The figures are the confusion matrix and some test images. They go to TensorBoard and to
    figures/. For all but the images, the data module must have `class_names`, and the module's
    steps must return a dict with "predictions" (N, classes, …) and "targets" (N, …). For the
    images, the data module must have `images()`. What does not apply is left out, and the log says
    so. Of several loaders, each has its own numbers, `<split>/acc/<class>/dataloader_idx_<n>`.

    Args:
        grid_images: how many test images to show, evenly spread over the split; 0 draws none.
    """

    in_a_stack = "each job"

    def __init__(self, grid_images: CountOrZero = 16) -> None:
        self.grid_images = grid_images
        self.class_names: list[str] | None = None
        self._shows_images = False
        self._counts: list[Confusion] = []  # one for each loader
        self._said: set[str] = set()

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.class_names = classified.names_of(data)
        reason = self.grid_images and classified.why_not_drawn(data)
        self._shows_images = self.grid_images > 0 and not reason
        name = type(data).__name__ if data else "a DataLoader"
        if self.class_names is None:
            self._say(f"no accuracies of classes and no figures, as {name} has no class_names")
        elif reason:
            self._say(f"no test images are drawn, as {name} {reason}")

    def _say(self, text: str, about: str = "") -> None:
        if (about or text) not in self._said:  # once, although training and testing are set up
            log.info("%s: %s", type(self).__name__, text)
            self._said.add(about or text)

    def _start(self, trainer: Trainer, module: LightningModule) -> None:
        batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
        ignored = getattr(getattr(module, "loss", None), "ignore_index", -100)
        self._counts = [
            Confusion(len(self.class_names), ignored).to(module.device)
            for _ in batches
            if self.class_names
        ]

    def _count(self, trainer: Trainer, module: LightningModule, outputs: Any, *batch: Any) -> None:
        if not self._counts:
            return
        if reason := classified.why_not_counted(outputs, len(self._counts[0].counts)):
            self._say(f"no accuracies of classes and no figures, as {reason}")
            self.class_names, self._counts = None, []
            return
        _, _, loader = (*batch, 0)[:3]
        self._counts[loader].update(outputs["predictions"].argmax(dim=1), outputs["targets"])

    on_validation_epoch_start = on_test_epoch_start = _start  # type: ignore[assignment]
    on_validation_batch_end = on_test_batch_end = _count  # type: ignore[assignment]

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._log_accuracies(module, "val")

    def on_test_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        about = getattr(data, "test_split", "test"), figures.run_name(trainer)
        drawn = {
            f"confusion_matrix{of}": classified.confusion(counts, self.class_names or [], *about)
            for of, counts in self._log_accuracies(module, "test").items()
            if figures.are_wanted(trainer)
        }
        if drawn and self._shows_images:
            drawn["images"] = self._grid(module, data, *about)
        for name, figure in drawn.items():
            figures.show(trainer, f"{about[0]}/{name}", figure, trainer.global_step)
            figures.save(trainer, f"{about[0]}_{name.replace('/', '_')}", figure)

    def _log_accuracies(self, module: LightningModule, split: str) -> dict[str, Tensor]:
        """Logs each class's accuracy, and returns the counts (truth, prediction).

        They are by what a name ends with: of several loaders, as Lightning names their metrics.
        """
        counts, self._counts = self._counts, []  # nothing for a checkpoint to have
        ends = [""] if len(counts) == 1 else [f"/dataloader_idx_{i}" for i in range(len(counts))]
        confusions = {
            end: own.compute().cpu()  # (classes, classes)
            for end, own in zip(ends, counts, strict=True)
        }
        if left_out := sum(own.left_out for own in counts):
            text = f"{left_out:,} labels of {split} are left out: they are above the last class"
            self._say(f"{text}, {len(self.class_names or ()) - 1}", f"labels of {split}")
        for end, confusion in confusions.items():
            for name, row, right in zip(
                self.class_names or [], confusion, confusion.diagonal(), strict=True
            ):
                if row.sum() > 0:  # a class without samples has no accuracy
                    module.log(
                        f"{split}/acc/{name}{end}",
                        right / row.sum(),
                        sync_dist=True,
                        add_dataloader_idx=False,  # which is in the name
                    )
        return confusions

    def _grid(self, module: LightningModule, data: Any, name: str, run: str) -> Figure:
        """Draws some test images with truth and prediction."""
        split = data.splits[name]
        chosen = torch.linspace(0, len(split) - 1, min(self.grid_images, len(split))).long()
        inputs, targets = classified.prepared(data, name, chosen, module.device)
        # As in the test itself: of half precision, predictions may be others.
        with torch.no_grad(), module.trainer.precision_plugin.test_step_context():
            guesses = module(inputs).argmax(dim=1).tolist()
        images = data.images(inputs).float().permute(0, 2, 3, 1).cpu()  # (N, H, W, C)
        names = self.class_names or []
        return classified.images(images, targets.tolist(), guesses, names, name, run)
