"""Refuses data that a model cannot be trained on, before a run has a folder.

Data are refused for what they do to the model, whose network and loss are tried on a few samples.
So a label that means "unknown", or a NaN that the network knows what to do with, is no mistake.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from engine.data.datamodule import TensorDataModule, class_names_of
from engine.data.split import Split, place
from engine.errors import UserError
from engine.steps.callback import overrides
from engine.supervised import SupervisedModule

# A module that has one of these of its own may do anything with its batches.
OWN_STEP = ("training_step", "compute_loss", "_loss")
# Losses that compare number by number, whatever the shapes.
ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss)
MOST_ROWS = 1000  # samples with NaN or infinite numbers that are tried at once
CONVERT = (
    "\nThe loss and the metrics get the same targets: convert them in load(), or for one of them "
    "in a subclass, in forward of the loss or in update of the metric."
)

WITHOUT_MINIMUM = (torch.bool, torch.uint16, torch.uint32, torch.uint64)  # in torch

Prepare = Callable[[Tensor], Tensor]  # gives inputs as the network takes them


def check(model: Any, data: TensorDataModule, prepare: Prepare) -> None:
    """Refuses labels, shapes, numbers or a last batch that would make training fail or lie.

    Args:
        model: in evaluation mode, so that nothing is random.
        data: the data to train on.
        prepare: gives inputs (N, …) as the network takes them.

    Raises:
        UserError: names the split, and the row and column where there is one.
    """
    for name, split in data.splits.items():
        _check_names(model, data, name, split)
    if isinstance(model, SupervisedModule) and not overrides(model, SupervisedModule, OWN_STEP):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of samples that are too few, or of odd shapes
            _try(model, data, prepare)


def are_as_right(loss: nn.Module, data: TensorDataModule, checked: TensorDataModule) -> bool:
    """Tells whether data are right for a model because others of their shapes are.

    Args:
        loss: the model's.
        data: those in question.
        checked: data that `check` has let pass, for such a model and batches of the same size.
    """
    if data.splits is checked.splits:
        return True
    shapes, right = (
        {
            name: [(part.shape, part.dtype) for part in (own.inputs, own.targets)]
            for name, own in both.splits.items()
        }
        for both in (data, checked)
    )
    has_odd = any(len(own.odd_rows) for own in data.splits.values())
    return isinstance(loss, ELEMENTWISE) and shapes == right and not has_odd


def _try(model: SupervisedModule, data: TensorDataModule, prepare: Prepare) -> None:
    sample = data.splits["train"].inputs[:1]
    one, two = prepare(sample.clone()), prepare(torch.cat([sample, sample]))
    with torch.no_grad():
        predictions = model(two.clone())  # a network may work in place
    if isinstance(predictions, Tensor) and predictions.shape[:1] == (2,):
        for name in data.splits:
            _check_shapes(model, data, name, predictions)
            _check_targets(model, data, name, predictions)
    for name in data.splits:
        _check_range(model, data, name)
        _check_numbers(model, data, name, prepare)
    _check_batch_of_one(model, data, one, two)


def _is_torchs(loss: nn.Module) -> bool:
    """Tells whether a loss is torch's. One of a user's own may need more than one sample."""
    return type(loss).__module__.startswith("torch.nn.")


def _check_names(model: nn.Module, data: TensorDataModule, name: str, split: Split) -> None:
    """Refuses labels for which there is no class name, unless the model leaves them out."""
    names = class_names_of(data)
    if not names or not split.has_labels or not (rows := _ends_of_labels(model, split.targets)):
        return
    highest = int(split.targets[rows[1]])
    if highest >= len(names):
        raise UserError(
            f'{type(data).__name__}: "{name}" has the label {highest} in {place(rows[1])} '
            f"(from 0), and class_names has {len(names)} names: labels are from 0 to "
            f"{len(names) - 1}."
        )


def _ends_of_labels(model: Any, targets: Tensor) -> list[int]:
    """Returns the rows of the lowest and the highest label; [] if there is none.

    Labels that a part of the model or of the loss has as its `ignore_index` do not count.
    """
    labels = targets.long()  # of uint16, torch has no minimum
    parts = model.modules() if isinstance(model, nn.Module) else ()  # a loss may be a function
    found = (getattr(part, "ignore_index", None) for part in parts)
    ignored = [label for label in found if isinstance(label, int)]
    used = ~torch.isin(labels, torch.tensor(ignored, dtype=torch.long))
    rows = used.nonzero().flatten()
    if not len(rows):
        return []
    return [int(rows[end]) for end in (labels[rows].argmin(), labels[rows].argmax())]


def _check_shapes(
    model: SupervisedModule, data: TensorDataModule, name: str, predictions: Tensor
) -> None:
    """Refuses targets (N,) for predictions (N, 1), and the like, that a loss would broadcast.

    Args:
        model: has the loss.
        data: has the split.
        name: the split's.
        predictions: of two samples of training, (2, …). Of larger images of another split they may
            be larger, as its targets, which have as many dimensions then.
    """
    split = data.splits[name]
    train = data.splits["train"]
    targets = split.targets
    has_other_size = split.inputs.shape[1:] != train.inputs.shape[1:]
    is_alike = has_other_size and targets.dim() == train.targets.dim()
    if is_alike or predictions.shape[1:] == targets.shape[1:]:
        return
    numbers = torch.Generator().manual_seed(0)
    ours = torch.rand(3, *predictions.shape[1:], generator=numbers)
    theirs = (10 * torch.rand(3, *targets.shape[1:], generator=numbers)).to(targets.dtype)
    if isinstance(model.loss, ELEMENTWISE) or _mixes_samples(model.loss, ours, theirs):
        of = "" if name == "train" else f'"{name}" '
        raise UserError(
            f"{type(data).__name__} has {of}targets {shape_of(theirs)}, and "
            f"{type(model).__name__} has predictions {shape_of(ours)}: "
            f"{type(model.loss).__name__} would compare each of them with several."
            "\nGive the targets the shape of the predictions, or the other way round."
        )


def _mixes_samples(loss: nn.Module, predictions: Tensor, targets: Tensor) -> bool:
    """Tells whether a loss does not care which target belongs to which prediction."""
    if predictions.numel() != targets.numel():
        return False
    try:
        value, turned, other = (
            loss(predictions, given) for given in (targets, targets.roll(1, 0), targets + 1)
        )
        return torch.allclose(value, turned) and not torch.allclose(value, other)
    except Exception:  # a loss that takes no such numbers
        return False


def shape_of(values: Tensor) -> str:
    """Returns the shape of samples in words: (N, 3)."""
    return f"({', '.join(['N', *map(str, values.shape[1:])])})" if values.dim() > 1 else "(N,)"


def _check_targets(
    model: SupervisedModule, data: TensorDataModule, name: str, predictions: Tensor
) -> None:
    """Refuses targets that the loss does not take: it is tried on the lowest and highest label.

    Args:
        model: has the loss.
        data: has the split.
        name: the split's.
        predictions: of any two samples, (2, …).
    """
    targets = data.splits[name].targets
    if data.splits[name].has_labels:
        rows = _ends_of_labels(model.loss, targets)
    else:  # of another split, predictions may have another shape
        rows = [0] if name == "train" and _is_torchs(model.loss) else []
    for row in rows:
        try:
            model.loss(predictions, targets[[row, row]])
        except (IndexError, RuntimeError, ValueError) as error:
            _refuse_target(model, data, name, row, predictions, error)


def _refuse_target(
    model: SupervisedModule,
    data: TensorDataModule,
    name: str,
    row: int,
    predictions: Tensor,
    error: Exception,
) -> None:
    """Refuses a label that is out of range, or what a loss of torch's does not take."""
    split = data.splits[name]
    targets = split.targets
    classes = predictions.shape[1] if predictions.dim() > 1 else 0
    has = f'{type(data).__name__}: "{name}" has'
    if classes > 1 and split.has_labels and not 0 <= (label := int(targets[row])) < classes:
        raise UserError(
            f"{has} the label {label} in {place(row)} (from 0), and {type(model).__name__} has "
            f"{classes} classes: labels are from 0 to {classes - 1}."
        ) from None
    if _is_torchs(model.loss):
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{has} targets {shape_of(targets)} of {targets.dtype}, which "
            f"{type(model.loss).__name__} does not take for predictions {shape_of(predictions)}: "
            f"{reason}{CONVERT}"
        ) from None


def _check_range(model: SupervisedModule, data: TensorDataModule, name: str) -> None:
    """Refuses targets below 0 or above 1 for a loss that takes them for probabilities."""
    if not isinstance(model.loss, nn.BCEWithLogitsLoss):
        return
    targets = data.splits[name].targets
    if targets.dtype in WITHOUT_MINIMUM:
        targets = targets.double()
    for value, where in zip(targets.aminmax(), (targets.argmin(), targets.argmax()), strict=True):
        if value < 0 or value > 1:
            row, *rest = (int(i) for i in torch.unravel_index(where, targets.shape))
            raise UserError(
                f'{type(data).__name__}: "{name}" has the target {value.item():g} in '
                f"{place(row, rest)} (from 0): {type(model.loss).__name__} takes 0 to 1."
            )


def _check_numbers(
    model: SupervisedModule, data: TensorDataModule, name: str, prepare: Prepare
) -> None:
    """Refuses samples with NaN or infinite numbers that would make the loss one."""
    split = data.splits[name]
    odd = split.odd_rows[:MOST_ROWS]
    if not len(odd):
        return
    is_odd = torch.zeros(len(split), dtype=torch.bool).index_fill_(0, split.odd_rows, True)
    good = (~is_odd).nonzero()[:1, 0]  # beside samples without a label, say, there may be one

    def gives_numbers(rows: Tensor) -> bool:
        return _gives_numbers(model, prepare, split, rows)

    if gives_numbers(torch.cat([odd, good])):
        return
    beside = good.tolist()
    alone = (row for row in odd.tolist() if not gives_numbers(torch.tensor([row, *beside])))
    row = next(alone, int(odd[0]))
    raise UserError(
        f'{type(data).__name__}: "{name}" has {split.oddity(row)} (from 0), so that the loss or a '
        "gradient would be no number.\nRemove or replace it in load() or in prepare_inputs()."
    )


def _gives_numbers(model: SupervisedModule, prepare: Prepare, split: Split, rows: Tensor) -> bool:
    """Tells whether loss and gradients of some samples are finite."""
    inputs, targets = split.select(rows)
    weights = [p for p in model.parameters() if p.requires_grad]
    try:
        loss = model.loss(model(prepare(inputs)), targets)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True) if weights else ()
    except (RuntimeError, ValueError):  # some networks and losses look for such numbers themselves
        return False
    return all(bool(v.isfinite().all()) for v in (loss, *gradients) if v is not None)


def _check_batch_of_one(
    model: SupervisedModule, data: TensorDataModule, one: Tensor, two: Tensor
) -> None:
    """Refuses training batches of one sample for a network that needs more, as BatchNorm does.

    Args:
        model: has the network.
        data: to train on.
        one: a batch of one sample, as the network takes it.
        two: a batch of two samples.
    """
    size = len(data.splits["train"])
    batch_size = data.batch_size
    if size > 1 and batch_size > 1 and size % batch_size != 1:
        return
    reason = _why_not_trained(model, one)
    if reason and not _why_not_trained(model, two):
        which = "each batch" if min(size, batch_size) == 1 else "the last batch of a pass"
        raise UserError(
            f"datamodule.batch_size={batch_size}: of {size:,} training samples, {which} has one, "
            f"and {type(model).__name__} needs more: {reason}\nChoose a batch_size above 1 that "
            "leaves a remainder other than 1."
        )


def _why_not_trained(model: SupervisedModule, inputs: Tensor) -> str | None:
    """Returns why the network fails on a training batch (B, …), if so."""
    # In training, BatchNorm would change its buffers.
    buffers = {name: buffer.clone() for name, buffer in model.network.named_buffers()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.func.functional_call(model.network.train(), buffers, (inputs,))
    except (RuntimeError, ValueError) as error:
        return str(error).partition("\n")[0]
    finally:
        model.network.eval()
    return None
