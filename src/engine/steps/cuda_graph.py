"""engine.steps.cuda_graph"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Graph:
    """A step for batches of one size, captured as a CUDA graph.

    Args:
        step: what to capture: loss and predictions of inputs and targets.
        inputs: of that size, as an example.
        targets: likewise.
        kept: the tensors that the step updates: it is run to warm up, and they are then put back.
    """

    def __init__(
        self, step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], inputs: Tensor, targets: Tensor,
        kept: Sequence[Tensor],
    ) -> None:  # fmt: skip
        self.inputs, self.targets = inputs.clone(), targets.clone()
        before = [tensor.clone() for tensor in kept]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step(self.inputs, self.targets)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss, self.predictions = step(self.inputs, self.targets)
        for tensor, value in zip(kept, before, strict=True):
            tensor.copy_(value)

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        self.inputs.copy_(inputs)
        self.targets.copy_(targets)
        self.graph.replay()
        return self.loss.clone(), self.predictions.clone()
