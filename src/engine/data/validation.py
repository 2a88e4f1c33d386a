"""Chooses validation samples, the same ones for every run: a share of all, or one of k folds."""

import torch

from engine.data.split import Split
from engine.errors import UserError


def carve_validation(
    train: Split, fraction: float, seed: int, key: str = "datamodule.val_fraction"
) -> dict[str, Split]:
    """Splits off a `fraction` of the training samples, stratified by class.

    Args:
        train: the samples; their targets are classes, int64 (N,).
        fraction: from 0, below 1.
        seed: decides which samples go where.
        key: name of the fraction's key, for messages.

    Returns:
        {"train": …, "val": …}, or {"train": …} alone if the fraction is 0.

    Raises:
        UserError: if a class has no sample on one of the two sides.
    """
    if fraction == 0:
        return {"train": train}
    from sklearn.model_selection import train_test_split

    try:
        kept, held = train_test_split(
            range(len(train)), test_size=fraction, stratify=train.targets.numpy(), random_state=seed
        )
    except ValueError as error:
        raise UserError(f"{key}={fraction} cannot be split off by class: {error}") from None
    kept = torch.tensor(sorted(kept))
    held = torch.tensor(sorted(held))
    classes = set(train.targets.tolist())
    if any(set(train.targets[part].tolist()) < classes for part in (kept, held)):
        raise UserError(f"{key}={fraction} leaves a class without a sample.")
    return {"train": Split(*train.select(kept)), "val": Split(*train.select(held))}


def fold_of(splits: dict[str, Split], folds: int, fold: int, by_class: bool) -> dict[str, Split]:
    """Divides all samples but those of "test" into `folds` parts: part `fold` becomes "val".

    The other parts become "train". The parts are the same whatever the run's seed. With `by_class`,
    each class is spread evenly over the parts.

    Raises:
        UserError: if there is no such fold, or there are too few samples for so many folds.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if not 0 <= fold < folds:
        raise UserError(
            f"datamodule.fold={fold}: must be from 0 to {folds - 1}, as datamodule.folds={folds}."
        )
    parts = [splits[name] for name in ("train", "val") if name in splits]
    inputs = torch.cat([part.inputs for part in parts])
    targets = torch.cat([part.targets for part in parts])
    most = int(targets.bincount().min()) if by_class else len(targets)
    if folds > most:
        held = "the smallest class has" if by_class else "there are"
        raise UserError(f"datamodule.folds={folds}: {held} only {most} samples to divide.")
    divider = (StratifiedKFold if by_class else KFold)(folds, shuffle=True, random_state=0)
    divided = list(divider.split(inputs, targets))[fold]
    train, val = (Split(inputs, targets).select(torch.from_numpy(part)) for part in divided)
    return {**splits, "train": Split(*train), "val": Split(*val)}
