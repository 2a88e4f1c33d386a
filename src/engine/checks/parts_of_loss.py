"""Tells of a loss of a validation or a test that depends on the size of its batches."""

import contextlib
import copy
import logging

import torch

from engine.data.datamodule import TRIED_BYTES, TensorDataModule
from engine.seeds import kept
from engine.steps.callback import overrides
from engine.steps.rows import OF_LABELS
from engine.supervised import SupervisedModule

log = logging.getLogger(__name__)

TRIED = 16  # samples, from all over the training split
PART = 4  # of these: some losses need two
EVALUATES = ("validation_step", "test_step", "add_loss", "_loss")  # which may do what they like
SAME = 1e-3  # of the value


def tell(model: SupervisedModule, data: TensorDataModule) -> None:
    """Warns where batches are put together to another loss than that of all samples at once.

    The loss of a split is the mean of the losses of its batches, by their samples, or the sum. A
    root of a mean, or a mean by weights of classes, is no such mean.

    Args:
        model: in evaluation mode, so that nothing is random.
        data: with what is evaluated.
    """
    sizes = [len(split) for name, split in data.splits.items() if name != "train"]
    if max(sizes, default=0) <= data.eval_batch_size:
        return
    own = overrides(model, SupervisedModule, EVALUATES)
    if own or getattr(type(model.loss), "forward", None) in OF_LABELS:
        return
    train = data.splits["train"]
    most = TRIED_BYTES // (4 * max(1, train.inputs[0].numel()))
    chosen = torch.linspace(0, len(train) - 1, max(2, min(TRIED, most, len(train)))).long()
    inputs, targets = train.select(chosen)
    # Of samples that are too few, say.
    with contextlib.suppress(Exception), torch.no_grad(), kept():
        predictions = model(data.prepare_inputs(inputs))
        loss = copy.deepcopy(model.loss)  # it may count its calls
        whole = float(loss(predictions.clone(), targets.clone()))
        parts = zip(torch.split(predictions, PART), torch.split(targets, PART), strict=True)
        put_together = sum(
            (len(its_targets) / len(targets) if model.averages_loss else 1)
            * float(loss(own_part.clone(), its_targets.clone()))
            for own_part, its_targets in parts
        )
        if not abs(put_together - whole) <= SAME * max(abs(whole), abs(put_together)):
            name = getattr(model.loss, "__name__", type(model.loss).__name__)
            log.warning(
                "val/loss and test/loss depend on datamodule.eval_batch_size=%d: %s of %d samples "
                "is %.4g, and %.4g by parts.\nWith datamodule.eval_batch_size=%d, they are of all "
                "samples at once.",
                data.eval_batch_size,
                name,
                len(predictions),
                whole,
                put_together,
                max(sizes),
            )
