"""Pools in compiled steps, with a backward pass that compares.

The compiler makes torch's own backward pass a scatter of single numbers, which takes LeNet-5 as
long as a convolution. Measured by `benchmarks/step_time.py --cases lenet-4 --loops hand compiled`:
0.38 to 0.56 times the hand-written loop with this file, 0.70 to 0.72 times without.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

LARGEST = 9  # places of a window, 3 × 3: each place is a few operations to compile


class MaxPool(torch.autograd.Function):
    """Takes the largest of each window: x (…, H, W) -> (…, H / rows, W / columns).

    Windows of `kernel` = (rows, columns) lie side by side and fill x. As in torch, the gradient
    goes to the first of several largest values. In a window with a NaN, the gradient goes to the
    first place, whereas in torch it goes to the last NaN.
    """

    @staticmethod
    def forward(x: Tensor, kernel: tuple[int, int]) -> Tensor:
        return F.max_pool2d(x, kernel)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, int]], output: Tensor) -> None:
        x, ctx.kernel = inputs
        ctx.save_for_backward(x, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, largest = ctx.saved_tensors
        (rows, columns), (height, width) = ctx.kernel, largest.shape[-2:]
        places = x.unflatten(-1, (width, columns)).unflatten(-3, (height, rows))
        found, parts = torch.zeros_like(largest, dtype=torch.bool), []
        for row, column in itertools.product(range(rows), range(columns)):
            is_largest = ~(places[..., row, :, column] < largest)  # (…, height, width)
            parts.append(torch.where(is_largest & ~found, gradient, torch.zeros_like(gradient)))
            found = found | is_largest
        lines = [
            torch.stack(parts[start : start + columns], -1)
            for start in range(0, rows * columns, columns)
        ]
        return torch.stack(lines, -3).reshape(x.shape), None


class PoolsByComparison(TorchFunctionMode):
    """Replaces max-pooling by `MaxPool` within this context, where `MaxPool` can do the same."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function in (F.max_pool2d, torch.max_pool2d) and (kernel := _tiling(*args, **kwargs)):
            x: Tensor = args[0] if args else kwargs["input"]
            (rows, columns), (height, width) = kernel, x.shape[-2:]
            filled = x[..., : height - height % rows, : width - width % columns]
            return MaxPool.apply(filled, kernel)
        return function(*args, **kwargs)


def _tiling(
    input: Tensor,  # noqa: A002
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[int, ...] | None:
    """Returns the window's (rows, columns) if windows are small and lie side by side in x."""
    kernel = _pair(kernel_size)
    lie_side_by_side = _pair(stride or kernel) == kernel and _pair(padding) == (0, 0)
    is_plain = _pair(dilation) == (1, 1) and not ceil_mode and not return_indices
    is_small = kernel[0] * kernel[1] <= LARGEST
    return kernel if is_small and is_plain and lie_side_by_side else None


def _pair(value: Any) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))
