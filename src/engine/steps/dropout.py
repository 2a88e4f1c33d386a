"""Dropout in compiled steps, which drops what an eager step drops."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class DropsAsEager(TorchFunctionMode):
    """Has dropout draw in the order in which x lies in memory, as it does elsewhere.

    Within torch.func, which computes the gradients of compiled steps, torch draws in the order of
    x's dimensions. That is another one after attention, which gives x (B, L, E) transposed. Images
    (N, C, H, W) have their channels last only here: for them, the order of dimensions is right.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function is F.dropout and (drawn := _drawn(*args, **kwargs)) is not None:
            return drawn
        return function(*args, **kwargs)


def _drawn(
    input: Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Tensor | None:
    """Returns x with some elements dropped, of any shape; None where torch draws nothing."""
    if not training or inplace or not 0 < p < 1:
        return None
    if input.dim() == 4:  # in a compiled step, an image may have its channels last
        input = input.contiguous()  # noqa: A001
    return torch.native_dropout(input, p, True)[0]
