"""Serves scikit-learn's breast cancer data: a real table that needs no download."""

from functools import cached_property
from typing import Annotated, Any

import torch
from annotated_types import Gt
from torch import Tensor

from engine import Fraction, Seed, Split, TensorDataModule, carve_validation


class BreastCancerDataModule(TensorDataModule):
    """Serves 569 tumours with 30 features each, malignant or benign (Wolberg et al. 1995, UCI).

    Features are stored as they were measured, float32 (N, 30). The network gets each of them with
    mean 0 and standard deviation 1 over the training samples; validation and test samples have no
    part in these two numbers.

    Args:
        val_fraction: of the samples that are not test samples, stratified by class.
        test_fraction: of all samples, stratified by class.
        split_seed: gives both splits, so that runs with different seeds have the same test samples.
        options: of `TensorDataModule`.
    """

    class_names = ["malignant", "benign"]
    fitted = ("statistics",)

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
        from sklearn.datasets import load_breast_cancer

        features, classes = load_breast_cancer(return_X_y=True)  # (569, 30), (569,)
        samples = Split(torch.from_numpy(features).float(), torch.from_numpy(classes))
        rest = carve_validation(
            samples, self.test_fraction, self.split_seed, key="datamodule.test_fraction"
        )
        carved = carve_validation(rest["train"], self.val_fraction, self.split_seed)
        return {**carved, "test": rest["val"]}

    @cached_property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Returns the mean and the standard deviation of each feature, (30,) and (30,), float32.

        They are those of the training split, of cross-validation's too. A feature that never
        changes has a standard deviation of 1 here, since nothing can be divided by 0.
        """
        std, mean = torch.std_mean(self.splits["train"].inputs.double(), dim=0, correction=0)
        return mean.float(), torch.where(std > 0, std, 1).float()

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        """Standardises features as they were measured: (N, 30), float32."""
        mean, std = (numbers.to(inputs.device) for numbers in self.statistics)
        return (inputs - mean) / std
