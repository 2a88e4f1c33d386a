"""scikit-learn's 1,797 handwritten digits, enlarged to 3×32×32: real images that need no download."""

from typing import Annotated, Any

import torch
from annotated_types import Gt

from engine import Fraction, Seed, Split
from project.datamodules.images import ImageDataModule, carve_validation


class DigitsDataModule(ImageDataModule):
    """8×8 grey digits (Alpaydin & Kaynak 1998, UCI; the copy in scikit-learn) for a network of 32×32 colour images.

    Every pixel becomes a block of 4×4 in each of three channels, its 16 grey levels spread over 0 … 255.

    Args:
        val_fraction: of the samples that are not test samples, stratified by class.
        test_fraction: of all samples, stratified by class.
        split_seed: gives both splits, so that runs with different seeds are tested alike.
        options: of `ImageDataModule` and `TensorDataModule`.
    """

    class_names = [str(digit) for digit in range(10)]

    def __init__(
        self,
        val_fraction: Fraction = 0.15,
        test_fraction: Annotated[Fraction, Gt(0)] = 0.2,
        split_seed: Seed = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.val_fraction, self.test_fraction, self.split_seed = (
            val_fraction,
            test_fraction,
            split_seed,
        )

    def load(self) -> dict[str, Split]:
        from sklearn.datasets import load_digits

        grey, digits = load_digits(return_X_y=True)  # (1797, 64) in 0 … 16, (1797,)
        grey = torch.from_numpy(grey).mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
        images = grey.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3).expand(-1, 3, -1, -1)
        samples = Split(images.contiguous(), torch.from_numpy(digits))
        rest = carve_validation(samples, self.test_fraction, self.split_seed, key="test_fraction")
        return {
            **carve_validation(rest["train"], self.val_fraction, self.split_seed),
            "test": rest["val"],
        }
