"""Normalised images for classification: what `digits`, `cifar10` and `image_folder` share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine import Split, TensorDataModule, UserError


class ImageDataModule(TensorDataModule):
    """Images stored as uint8 (N, 3, H, W), given to the network as (x / 255 - mean) / std, float32.

    Args:
        mean: per channel, of images in [0, 1].
        std: likewise.
        options: of `TensorDataModule`.
    """

    def __init__(
        self,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        **options: object,
    ) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.mean, self.std = tuple(mean), tuple(std)
        for key, values, right in (
            ("mean", mean, len(mean) == 3),
            ("std", std, len(std) == 3 and min(std) > 0),
        ):
            if not right:
                raise UserError(
                    f"datamodule.{key}={list(values)}: must be three numbers, of a std above 0."
                )
        # x * scale + shift, kept where the last batch was
        self._scale = (255 * torch.tensor(self.std)).reciprocal().view(-1, 1, 1)
        self._shift = (-torch.tensor(self.mean) / torch.tensor(self.std)).view(-1, 1, 1)

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        if self._scale.device != inputs.device:
            self._scale, self._shift = self._scale.to(inputs.device), self._shift.to(inputs.device)
        return inputs.float().mul_(self._scale).add_(self._shift)

    def images(self, inputs: Tensor) -> Tensor:
        """Undo `prepare_inputs`: (N, 3, H, W) float in [0, 1], to look at."""
        shift, scale = self._shift.to(inputs.device), self._scale.to(inputs.device)
        return ((inputs - shift) / scale / 255).clamp(0, 1)


def carve_validation(
    train: Split, fraction: float, seed: int, key: str = "val_fraction"
) -> dict[str, Split]:
    """Split off a stratified `fraction` of the training samples: {"train": …, "val": …}, or all of them to train.

    Raises:
        UserError: if the fraction leaves some class without a sample on either side.
    """
    if fraction == 0:
        return {"train": train}
    from sklearn.model_selection import train_test_split

    try:
        kept, held = train_test_split(
            range(len(train)), test_size=fraction, stratify=train.targets.numpy(), random_state=seed
        )
    except ValueError as error:
        raise UserError(
            f"datamodule.{key}={fraction} cannot be split off by class: {error}"
        ) from None
    kept, held = torch.tensor(sorted(kept)), torch.tensor(sorted(held))
    classes = set(train.targets.tolist())
    if any(set(train.targets[part].tolist()) < classes for part in (kept, held)):
        raise UserError(f"datamodule.{key}={fraction} leaves a class without a sample.")
    return {"train": Split(*train.take(kept)), "val": Split(*train.take(held))}
