"""Makes points on a noisy parabola."""

from typing import Annotated, Any

import torch
from annotated_types import Le
from torch import Tensor

from engine import Count, NotNegative, Split, TensorDataModule, generator


class ParabolaDataModule(TensorDataModule):
    """Serves x evenly spaced in [-1, 1] and y = x² + noise · u, both (samples, 1).

    u is uniform in [0, 1), drawn from the seed.
    """

    def __init__(
        self,
        samples: Annotated[Count, Le(10_000_000)] = 100,  # they are all in memory
        noise: NotNegative = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.samples = samples
        self.noise = noise

    def load(self) -> dict[str, Split]:
        x = torch.linspace(-1, 1, self.samples).unsqueeze(1)  # (samples, 1)
        u = torch.rand(x.shape, generator=generator(self.seed, "data"))
        return {"train": Split(x, x.square() + self.noise * u)}

    def truth(self, x: Tensor) -> Tensor:
        """Returns the mean of y at x, which is the best prediction: x² + noise / 2."""
        return x.square() + self.noise / 2
