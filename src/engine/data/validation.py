"""Chooses validation samples, the same ones for every run: a share of all, or one of k folds."""

import math
from collections import Counter

import numpy as np
import torch
from torch import Tensor

from engine import messages
from engine.data.split import Split
from engine.errors import UserError


def carve_validation(
    train: Split, fraction: float, seed: int, key: str = "datamodule.val_fraction"
) -> dict[str, Split]:
    """Splits off a `fraction` of the training samples at random, and by class where there are some.

    Args:
        train: the samples; targets (N,) of whole numbers or of two numbers only are classes.
        fraction: from 0, below 1.
        seed: decides which samples go where.
        key: name of the fraction's key, for messages.

    Returns:
        {"train": …, "val": …}, or {"train": …} alone if the fraction is 0.

    Raises:
        UserError: if a side has no sample, or none of a class.
    """
    if fraction == 0:
        return {"train": train}
    from sklearn.model_selection import train_test_split

    # NumPy has no bfloat16.
    classes = np.array(train.targets.tolist()) if _has_classes(train) else None
    counts = Counter([] if classes is None else classes.tolist())
    needed = max(1, len(counts))
    number = math.ceil(fraction * len(train))
    rest = len(train) - number
    if min(number, rest) < needed:
        of_each = f", for {len(counts)} classes" if counts else ""
        raise UserError(
            f"{key}={fraction} divides {messages.counted(len(train), 'sample')} into {rest:,} and "
            f"{number:,}: each part needs {needed} or more{of_each}."
        )
    if min(counts.values(), default=2) < 2:
        rare = next(own for own, count in counts.items() if count < 2)
        raise UserError(f"{key}={fraction}: class {rare} has one sample, and each part needs one.")
    kept, held = train_test_split(
        range(len(train)), test_size=fraction, stratify=classes, random_state=seed
    )
    kept = torch.tensor(sorted(kept))
    held = torch.tensor(sorted(held))
    if classes is not None and any(
        set(classes[part].tolist()) < set(classes.tolist()) for part in (kept, held)
    ):
        raise UserError(f"{key}={fraction} leaves a class without a sample.")
    return {"train": Split(*train.select(kept)), "val": Split(*train.select(held))}


def fold_of(splits: dict[str, Split], folds: int, fold: int, by_class: bool) -> dict[str, Split]:
    """Divides all samples but those of "test" into `folds` parts: part `fold` becomes "val".

    The other parts become "train". The parts are the same whatever the run's seed. With `by_class`,
    each class is spread evenly over the parts, where there is one class for each sample.

    Raises:
        UserError: if there is no such fold, there are too few samples for so many folds, or those
            of "train" and "val" are not alike.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if not 0 <= fold < folds:
        raise UserError(
            f"datamodule.fold={fold}: must be from 0 to {folds - 1}, as datamodule.folds={folds}."
        )
    parts = [splits[name] for name in ("train", "val") if name in splits]
    for name in ("inputs", "targets"):
        kinds = [_kind(getattr(part, name)) for part in parts]
        if len(set(kinds)) > 1:
            raise UserError(
                f'datamodule.folds={folds}: "train" has {name} of {kinds[0]}, and "val" of '
                f"{kinds[1]}; those that are divided anew must be alike."
            )
    inputs = torch.cat([part.inputs for part in parts])
    targets = torch.cat([part.targets for part in parts])
    by_class = by_class and _has_classes(Split(inputs, targets))
    most = min(Counter(targets.tolist()).values()) if by_class else len(targets)
    if folds > most:
        held = "the smallest class has" if by_class else "there are"
        raise UserError(f"datamodule.folds={folds}: {held} only {most} samples to divide.")
    divider = (StratifiedKFold if by_class else KFold)(folds, shuffle=True, random_state=0)
    classes = np.unique(targets.tolist(), return_inverse=True)[1] if by_class else targets
    divided = list(divider.split(inputs, classes))[fold]
    train, val = (Split(inputs, targets).select(torch.from_numpy(part)) for part in divided)
    return {**splits, "train": Split(*train), "val": Split(*val)}


def _kind(values: Tensor) -> str:
    """Returns the words for type and shape, such as float32 (N, 3)."""
    shape = ", ".join(["N", *map(str, values.shape[1:])])
    return f"{str(values.dtype).removeprefix('torch.')} ({shape})"


def _has_classes(split: Split) -> bool:
    """Tells whether targets are classes: whole numbers, or two numbers such as 0.0 and 1.0."""
    targets = split.targets
    return split.has_labels or (targets.dim() == 1 and len(set(targets.tolist())) <= 2)
