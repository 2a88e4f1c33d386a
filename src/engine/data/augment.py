"""Changes training inputs at random: transforms of whole batches, for `augment=`.

A transform maps inputs (B, …) to inputs (B, …), each sample by a draw of its own. It draws from
torch's generator of the inputs' device, which is seeded for each step.
"""

import contextlib
import copy
import logging
from collections.abc import Callable, Mapping
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional as F

from engine.config.ranges import CountOrZero
from engine.errors import UserError

log = logging.getLogger(__name__)

Transform = Callable[[Tensor], Tensor]
Probability = Annotated[float, Interval(ge=0, le=1)]


class FlipCrop(nn.Module):
    """Flips images left to right at random, pads them with zeros, and cuts their size out again.

    The zeros are the mean colour, as the inputs are normalised. He et al. (2016) train so on
    CIFAR-10.

    Args:
        flip: probability of a flip, for each image.
        padding: pixels on each side.
    """

    def __init__(self, flip: Probability = 0.5, padding: CountOrZero = 4) -> None:
        super().__init__()
        self.flip = flip
        self.padding = padding

    def forward(self, images: Tensor) -> Tensor:
        """Returns images (B, C, H, W) of the same shape.

        Raises:
            ValueError: if these are no images.
        """
        if images.dim() != 4:
            raise ValueError("it takes images (B, C, H, W)")
        number, channels, height, width = images.shape
        flips = torch.rand(number, 1, device=images.device) < self.flip
        corners = torch.randint(2 * self.padding + 1, (2, number, 1), device=images.device)
        padded = F.pad(images, [self.padding] * 4)
        columns = torch.arange(width, device=images.device)
        rows = corners[0] + torch.arange(height, device=images.device)  # (B, H)
        columns = corners[1] + torch.where(flips, columns.flip(0), columns)  # (B, W)
        places = rows[:, :, None] * padded.size(3) + columns[:, None]  # (B, H, W)
        places = places.flatten(1)[:, None].expand(-1, channels, -1)
        return padded.flatten(2).gather(2, places).view_as(images)


class Each(nn.Module):
    """Applies a transform to each sample by itself, for transforms that draw once a call.

    torchvision.transforms.v2 draws so. A batch then takes as many calls as it has samples.

    Args:
        transform: maps one sample (…) to one sample (…).
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([self.transform(sample) for sample in inputs])


def try_out(transforms: Mapping[str, Transform], sample: Tensor) -> None:
    """Tries transforms on inputs of one sample (1, …), and says which draw once for a whole batch.

    A transform may take a mean from its first batch, or count its calls, so a copy is tried.

    Raises:
        UserError: if a transform does not take the inputs.
    """
    for name, given in transforms.items():
        transform = given
        with contextlib.suppress(Exception):  # of a transform that cannot be copied
            transform = copy.deepcopy(given)
        copies = sample.expand(16, *sample.shape[1:])
        try:
            calls = [transform(copies.clone()) for _ in range(4)]
            draws = any(not torch.equal(call, calls[0]) for call in calls)
            is_alike = all(torch.equal(call, call[:1].expand_as(call)) for call in calls)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"augment.{name}: does not take inputs {tuple(copies.shape)}: {reason}"
            ) from None
        if draws and is_alike:
            log.warning(
                "augment.%s draws once for a whole batch; engine.augment.Each draws for each "
                "sample",
                name,
            )
        sample = calls[0][:1]
