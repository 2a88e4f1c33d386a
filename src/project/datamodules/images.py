"""Normalises images for classification: the base class of the image data sets."""

import torch
from pydantic import FiniteFloat
from torch import Tensor

from engine import Positive, TensorDataModule, UserError


class ImageDataModule(TensorDataModule):
    """Stores images as uint8 (N, 3, H, W), and gives the network (x / 255 - mean) / std, float32.

    Args:
        mean: of each of the three channels, for images in [0, 1].
        std: standard deviation of each channel, for images in [0, 1].
        options: of `TensorDataModule`.
    """

    def __init__(
        self,
        mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = (0.5, 0.5, 0.5),
        std: tuple[Positive, Positive, Positive] = (0.5, 0.5, 0.5),
        **options: object,
    ) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        # What a subclass gives here is no value of the config, which the signature would check.
        if min(std) <= 0 or not torch.tensor([*mean, *std]).isfinite().all():
            raise UserError(
                f"datamodule.std={list(std)}: must be finite and above 0, "
                f"and datamodule.mean={list(mean)} finite."
            )
        self.mean = mean
        self.std = std
        # (x / 255 - mean) / std = x * scale + shift: one multiplication and one addition a pixel.
        self._scale = (255 * torch.tensor(self.std)).reciprocal().view(-1, 1, 1)  # (3, 1, 1)
        self._shift = (-torch.tensor(self.mean) / torch.tensor(self.std)).view(-1, 1, 1)

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        """Normalises stored images, uint8 or float in 0 … 255: (N, 3, H, W), float32."""
        # The two tensors stay where the last batch was, to be copied to the device only once.
        if self._scale.device != inputs.device:
            self._scale = self._scale.to(inputs.device)
            self._shift = self._shift.to(inputs.device)
        return inputs.float().mul_(self._scale).add_(self._shift)

    def images(self, inputs: Tensor) -> Tensor:
        """Undoes `prepare_inputs`: (N, 3, H, W), float in [0, 1], to look at."""
        shift, scale = self._shift.to(inputs.device), self._scale.to(inputs.device)
        return ((inputs - shift) / scale / 255).clamp(0, 1)
