"""Divides samples for cross-validation: one of k folds for validation, the others for training."""

import torch

from engine.data.split import Split
from engine.errors import UserError


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
