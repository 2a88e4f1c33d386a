"""Makes random inputs and random targets: nothing to learn, only to fit."""

from typing import Annotated, Any

import torch
from annotated_types import Le

from engine import Count, Split, TensorDataModule, generator


class RandomRegressionDataModule(TensorDataModule):
    """Serves inputs (samples, in_features) and targets (samples, out_features).

    Both are drawn from N(0, 1) by the seed.
    """

    def __init__(
        self,
        samples: Annotated[Count, Le(10_000_000)] = 64,  # they are all in memory
        in_features: Count = 1000,
        out_features: Count = 10,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.samples = samples
        self.in_features = in_features
        self.out_features = out_features

    def load(self) -> dict[str, Split]:
        numbers = generator(self.seed, "data")
        inputs = torch.randn(self.samples, self.in_features, generator=numbers)
        targets = torch.randn(self.samples, self.out_features, generator=numbers)
        return {"train": Split(inputs, targets)}
