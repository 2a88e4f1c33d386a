"""Cross-validation: one of k folds for validation, the others for training."""

import torch

from engine.data.split import Split
from engine.errors import UserError


def fold_of(splits: dict[str, Split], folds: int, fold: int, by_class: bool) -> dict[str, Split]:
    """Divide all samples but those of "test" anew: fold number `fold` to "val", the others to "train".

    The folds are the same whatever the run's seed; with `by_class`, each has its share of every class.

    Raises:
        UserError: if there is no such fold, or there are too few samples for so many.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if not 0 <= fold < folds:
        raise UserError(
            f"datamodule.fold={fold}: must be from 0 to {folds - 1}, as datamodule.folds={folds}."
        )
    parts = [splits[name] for name in ("train", "val") if name in splits]
    inputs, targets = (
        torch.cat([part.inputs for part in parts]),
        torch.cat([part.targets for part in parts]),
    )
    most = int(targets.bincount().min()) if by_class else len(targets)
    if folds > most:
        held = "the smallest class has" if by_class else "there are"
        raise UserError(f"datamodule.folds={folds}: {held} only {most} samples to divide.")
    divided = (StratifiedKFold if by_class else KFold)(folds, shuffle=True, random_state=0).split(
        inputs, targets
    )
    train, val = (torch.from_numpy(numbers) for numbers in list(divided)[fold])
    samples = Split(inputs, targets)
    return {**splits, "train": Split(*samples.take(train)), "val": Split(*samples.take(val))}
