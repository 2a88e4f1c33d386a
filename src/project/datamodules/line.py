"""Makes points on a straight line."""

from typing import Annotated, Any

import torch
from annotated_types import Le

from engine import Count, Split, TensorDataModule


class LineDataModule(TensorDataModule):
    """Serves x = 1, 2, …, samples and y = slope · x, both (samples, 1)."""

    def __init__(
        self,
        samples: Annotated[Count, Le(10_000_000)] = 3,  # they are all in memory
        slope: float = 2.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.samples = samples
        self.slope = slope

    def load(self) -> dict[str, Split]:
        x = torch.arange(1.0, self.samples + 1).unsqueeze(1)  # (samples, 1)
        return {"train": Split(x, self.slope * x)}
