"""Captures a training step as a CUDA graph."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Graph:
    """Takes a step for batches of one size by replaying a CUDA graph.

    Args:
        step: maps inputs and targets to loss and predictions.
        inputs: (B, …), an example of the size.
        targets: (B, …), an example of the size.
        state: the tensors that the step updates. The step runs to warm up; then the tensors get
            back their values.
    """

    def __init__(
        self,
        step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        inputs: Tensor,
        targets: Tensor,
        state: Sequence[Tensor],
    ) -> None:
        self.inputs, self.targets = inputs.clone(), targets.clone()
        before = [tensor.clone() for tensor in state]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step(self.inputs, self.targets)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss, self.predictions = step(self.inputs, self.targets)
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        self.inputs.copy_(inputs)
        self.targets.copy_(targets)
        self.graph.replay()
        return self.loss.clone(), self.predictions.clone()
