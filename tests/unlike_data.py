"""Data modules of which a stack would know too little."""

import random
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from engine import Split
from project.datamodules.parabola import ParabolaDataModule


class HalfAsManySeeds(ParabolaDataModule):
    """Draws noise that is the same for each two seeds."""

    def load(self) -> dict[str, Split]:
        noise = torch.Generator().manual_seed(self.seed // 2)
        return {
            name: Split(own.inputs, own.targets + torch.rand(own.targets.shape, generator=noise))
            for name, own in super().load().items()
        }


class OtherBySeed(ParabolaDataModule):
    """Has no validation for each other seed, or another number or type of samples, or classes."""

    def __init__(self, what: str, **options: Any) -> None:
        super().__init__(**options)
        self.what, self.is_other = what, self.seed % 2 > 0
        if self.is_other and what == "classes":
            self.class_names = ["one"]

    def load(self) -> dict[str, Split]:
        train = super().load()["train"]
        inputs, targets = train.inputs, train.targets
        if not self.is_other:
            return {"train": train, "val": train}
        match self.what:
            case "splits":
                return {"train": train}
            case "sizes":
                return {"train": train, "val": Split(inputs[:50], targets[:50])}
            case "types":
                return {"train": train, "val": Split(inputs, targets.half())}
        return {"train": train, "val": train}


class PreparedBySeed(ParabolaDataModule):
    """Makes the larger inputs larger by the seed: no sample of the first batch."""

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return torch.where(inputs > 0.5, inputs * (1 + self.seed), inputs)


class ClampedBySeed(ParabolaDataModule):
    """Clamps inputs to the largest of its training samples, which depends on the seed.

    The first and the last samples are small, so that only batches in between show it.
    """

    @cached_property
    def largest(self) -> float:
        return float(self.splits["train"].inputs.max())

    def load(self) -> dict[str, Split]:
        inputs = super().load()["train"].inputs.roll(self.samples // 2)  # from 0 to 1, from -1 to 0
        own = inputs * (1 - 0.1 * (self.seed % 2))
        return {"train": Split(own, own**2), "val": Split(inputs, inputs**2)}

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return inputs.clamp(max=self.largest)


class MovesItsFactor(ParabolaDataModule):
    """Makes a copy of its factor in each batch, as if the inputs were on another device."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.factor = torch.tensor(0.5)

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        self.factor = self.factor.clone()
        return self.factor * inputs


class DrawsAsItLoads(ParabolaDataModule):
    """Draws noise from the generators of all, as it is made and as it loads."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.more = random.random()

    def load(self) -> dict[str, Split]:
        return {
            name: Split(own.inputs, own.targets + self.more * torch.rand(own.targets.shape))
            for name, own in super().load().items()
        }


class DrawsAsItPrepares(ParabolaDataModule):
    """Draws from the generators of all when its data are prepared."""

    slope = 0.0

    def prepare_data(self) -> None:
        self.slope = random.random()
        super().prepare_data()


class GrowsByEpoch(ParabolaDataModule):
    """Makes inputs larger from epoch to epoch."""

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        trainer = self.trainer
        return inputs * (1 + 0.1 * (trainer.current_epoch if trainer else 0))


class GrowsElsewhere(ParabolaDataModule):
    """Makes inputs larger from epoch to epoch, by a factor that a method of another name asks."""

    @property
    def factor(self) -> float:
        return 1 + 0.1 * (self.trainer.current_epoch if self.trainer else 0)

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return inputs * self.factor


class NeedsTrainer(ParabolaDataModule):
    """Makes inputs larger from epoch to epoch, and knows no time before there is a Trainer."""

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        trainer: Any = self.trainer
        return inputs * (1 + 0.1 * trainer.current_epoch)


class ThreeSplits(ParabolaDataModule):
    """Has the training samples for validation and test, too."""

    def load(self) -> dict[str, Split]:
        return dict.fromkeys(("train", "val", "test"), super().load()["train"])
