"""Max-pooling for compiled steps, with a backward pass that compares.

The compiler makes torch's own a scatter of single numbers, which takes LeNet-5 as long as a convolution.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

LARGEST = 9  # places of a window, 3 × 3: each is a few operations of its own to compile


class MaxPool(torch.autograd.Function):
    """The largest of each window of `kernel` = (rows, columns) over x (…, H, W) -> (…, H / rows, W / columns).

    Windows lie side by side and fill x. As torch has it, the gradient goes to the first of several that are largest;
    where a window has a NaN, it goes to the first place, whereas torch takes that of the last NaN.
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
        places = x.unflatten(-1, (width, columns)).unflatten(
            -3, (height, rows)
        )  # (…, height, rows, width, columns)
        zero, found, parts = (
            torch.zeros_like(gradient),
            torch.zeros_like(largest, dtype=torch.bool),
            [],
        )
        for row in range(rows):
            for column in range(columns):
                is_largest = ~(places[..., row, :, column] < largest)
                parts.append(torch.where(is_largest & ~found, gradient, zero))
                found = found | is_largest
        lines = [
            torch.stack(parts[start : start + columns], -1)
            for start in range(0, len(parts), columns)
        ]
        return torch.stack(lines, -3).reshape(x.shape), None


class PoolsByComparison(TorchFunctionMode):
    """Within this context, max-pooling is `MaxPool`'s wherever that can do it."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        kwargs = kwargs or {}
        if function in (F.max_pool2d, torch.max_pool2d) and (kernel := _tiling(*args, **kwargs)):
            x: Tensor = args[0] if args else kwargs["input"]
            (rows, columns), (height, width) = kernel, x.shape[-2:]
            return MaxPool.apply(
                x[..., : height - height % rows, : width - width % columns], kernel
            )
        return function(*args, **kwargs)


def _tiling(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,  # noqa: A002
    ceil_mode: bool = False, return_indices: bool = False,
) -> tuple[int, ...] | None:  # fmt: skip
    """The windows, if they are small and lie side by side, within the input."""
    kernel = _pair(kernel_size)
    if kernel[0] * kernel[1] > LARGEST or ceil_mode or return_indices:
        return None
    plain = (
        _pair(stride or kernel) == kernel and _pair(padding) == (0, 0) and _pair(dilation) == (1, 1)
    )
    return kernel if plain else None


def _pair(value: Any) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))
