"""Serves scikit-learn's 1,797 handwritten digits: real images that need no download."""

import functools
from typing import Annotated, Any

import torch
from annotated_types import Gt

from engine import Fraction, Seed, Split, carve_validation
from project.datamodules.images import ImageDataModule


class DigitsDataModule(ImageDataModule):
    """Serves 8×8 grey digits (Alpaydin & Kaynak 1998, UCI), enlarged to 3×32×32, in ten classes.

    Every pixel becomes a block of 4×4 in each of three channels. The grey levels 0 … 16 are spread
    over 0 … 255.

    Args:
        val_fraction: of the samples that are not test samples, stratified by class.
        test_fraction: of all samples, stratified by class.
        split_seed: gives both splits, so that runs with different seeds have the same test images.
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
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed

    def load(self) -> dict[str, Split]:
        grey, digits = _digits()  # (1797, 64) in 0 … 16, (1797,)
        grey = torch.from_numpy(grey).mul(255 / 16).round().to(torch.uint8)
        grey = grey.view(-1, 1, 8, 8)  # (1797, 1, 8, 8)
        large = grey.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)  # (1797, 1, 32, 32)
        images = large.expand(-1, 3, -1, -1).contiguous()  # (1797, 3, 32, 32)
        samples = Split(images, torch.from_numpy(digits))
        rest = carve_validation(
            samples, self.test_fraction, self.split_seed, key="datamodule.test_fraction"
        )
        carved = carve_validation(rest["train"], self.val_fraction, self.split_seed)
        return {**carved, "test": rest["val"]}


@functools.cache  # the jobs of a sweep need not parse the text file once each
def _digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    read: tuple[Any, Any] = load_digits(return_X_y=True)
    return read
