"""Dropout of compiled steps, against PyTorch's outside of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad_and_value
from torch.nn import functional as F

from engine.steps.dropout import DropsAsEager

SHAPES: dict[str, Callable[[], Tensor]] = {
    "in order": lambda: torch.rand(4, 3, 2),
    "as after attention": lambda: torch.rand(4, 3, 2).transpose(0, 1),
    "transposed within": lambda: torch.rand(4, 3, 2).transpose(1, 2),
    "every other column": lambda: torch.rand(4, 6)[:, ::2],
    "images": lambda: torch.rand(2, 3, 4, 4),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{}, {"p": 0.2}, {"p": 1.0}, {"p": 0.0}, {"training": False}])
def test_what_is_dropped_is_the_same(shape: str, options: dict[str, Any]) -> None:
    x = SHAPES[shape]()

    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        with DropsAsEager():
            y = F.dropout(x, **options)
        return y.square().sum(), y

    torch.manual_seed(0)
    right = F.dropout(x, **options)
    torch.manual_seed(0)
    gradient, (_, found) = grad_and_value(loss, has_aux=True)(x)
    assert torch.equal(found, right)
    kept = 1 - options.get("p", 0.5) if options.get("training", True) else 1
    torch.testing.assert_close(gradient, 2 * right / max(kept, 0.1))


def test_an_image_with_its_channels_last_has_the_mask_of_the_same_image() -> None:
    x = torch.rand(2, 3, 4, 4)
    torch.manual_seed(0)
    right = nn.Dropout(0.5)(x)
    torch.manual_seed(0)
    with DropsAsEager():
        found = nn.Dropout(0.5)(x.contiguous(memory_format=torch.channels_last))
    assert torch.equal(found, right)
