"""engine.data.split"""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.steps.block import Batch


@dataclass(frozen=True)
class Split:
    """One split: inputs (N, …) as stored (uint8 images, float features) and targets (N, …)."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def near(self, device: torch.device) -> "Split":
        """The split on a CUDA device that has plenty of room for it, so that gathering a batch needs no copy there."""
        if (
            device.type != "cuda"
            or self.inputs.nbytes + self.targets.nbytes > torch.cuda.mem_get_info(device)[0] // 4
        ):
            return self
        return Split(self.inputs.to(device), self.targets.to(device))

    def take(self, chosen: Tensor) -> Batch:
        """The samples with the numbers (B,): inputs (B, …), targets (B, …)."""
        chosen = chosen.to(self.inputs.device)
        # It copies whole samples; indexing goes number by number, which takes images many times as long.
        return self.inputs.index_select(0, chosen), self.targets.index_select(0, chosen)
