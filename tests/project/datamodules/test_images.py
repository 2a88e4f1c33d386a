"""Images, against torchvision's transforms."""

import math

import pytest
import torch
from torchvision.transforms.v2.functional import normalize, to_dtype

from engine import UserError
from engine.config.objects import check
from fitting import Arrays
from project.datamodules.images import ImageDataModule

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
PIXELS = (
    torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 3, 16, 16)
)  # every level in every channel


class Images(ImageDataModule, Arrays):
    """Images given as arrays."""


def images(**options: object) -> Images:
    return Images(splits={"train": (PIXELS, torch.zeros(1))}, **options)


@pytest.mark.parametrize("options", [{}, {"mean": MEAN, "std": STD}], ids=["default", "CIFAR-10"])
def test_inputs_are_normalised_as_torchvision_does(options: dict[str, tuple[float, ...]]) -> None:
    mean, std = options.get("mean", (0.5, 0.5, 0.5)), options.get("std", (0.5, 0.5, 0.5))
    expected = normalize(to_dtype(PIXELS, torch.float32, scale=True), mean, std)
    data = images(**options)
    ((inputs, _),) = (data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader())
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs, expected, rtol=0, atol=1e-6)
    assert torch.equal(data.example(), inputs)


def test_images_undoes_the_normalisation() -> None:
    data = images(mean=MEAN, std=STD)
    torch.testing.assert_close(
        data.images(data.prepare_inputs(PIXELS)), PIXELS / 255, rtol=0, atol=1e-6
    )
    assert data.images(torch.full((1, 3, 1, 1), 1e3)).max() == 1


def test_preparing_leaves_the_stored_images_alone() -> None:
    data = images()
    data.prepare_inputs(data.splits["train"].inputs)
    assert torch.equal(data.splits["train"].inputs, PIXELS)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"std": [0.5, 0.5, 0]}, "datamodule.std=[0.5, 0.5, 0]: must be greater than 0, "),
        ({"std": [math.inf] * 3}, "datamodule.std=[inf, inf, inf]: must be a finite number, "),
        ({"std": [1, math.nan, 1]}, "datamodule.std=[1, nan, 1]: must be a finite number, "),
        ({"std": [1, 1]}, "datamodule.std=[1, 1]: must be longer, "),
        ({"mean": [0, math.nan, 0]}, "datamodule.mean=[0, nan, 0]: must be a finite number, "),
        ({"mean": [0, 0, -math.inf]}, "datamodule.mean=[0, 0, -inf]: must be a finite number, "),
        ({"mean": [0.5] * 4}, "datamodule.mean=[0.5, 0.5, 0.5, 0.5]: must be a list of at most 3 "),
    ],
    ids=str,
)
def test_numbers_that_make_no_images(options: dict[str, list[float]], says: str) -> None:
    node = {"_target_": "project.datamodules.digits.DigitsDataModule"}
    check({"datamodule": {**node, "mean": [-0.1, 125, 0.5], "std": [1, 2, 0.25]}})
    with pytest.raises(UserError) as refused:
        check({"datamodule": {**node, **options}})
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize(
    ("mean", "std"),
    [((0, 0, 0), (1, 0, 1)), ((0, 0, 0), (math.nan, 1, 1)), ((0, math.nan, 0), (1, 1, 1))],
    ids=["std 0", "std nan", "mean nan"],
)
def test_numbers_that_a_subclass_gives(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> None:
    """As it happened: they divided by 0."""
    with pytest.raises(UserError) as refused:
        images(mean=mean, std=std)
    assert str(refused.value) == (
        f"datamodule.std={list(std)}: must be finite and above 0, and datamodule.mean={list(mean)} "
        "finite."
    )
