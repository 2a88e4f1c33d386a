"""Makes points on a straight line."""

from typing import Any

import torch

from engine import Count, Split, TensorDataModule


class LineDataModule(TensorDataModule):
    """Serves x = 1, 2, …, samples and y = slope · x, both (samples, 1)."""

    def __init__(self, samples: Count = 3, slope: float = 2.0, **options: Any) -> None:
        super().__init__(**options)
        self.samples = samples
        self.slope = slope

    def load(self) -> dict[str, Split]:
        x = torch.arange(1.0, self.samples + 1).unsqueeze(1)  # (samples, 1)
        return {"train": Split(x, self.slope * x)}
