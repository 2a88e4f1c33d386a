"""Splits validation samples off the training samples, the same ones for every run."""

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
