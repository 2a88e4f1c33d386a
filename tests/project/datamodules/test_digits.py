"""The digits, against scikit-learn's arrays enlarged by a Kronecker product."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from project.datamodules.digits import DigitsDataModule


def test_splits_hold_every_digit_once_enlarged() -> None:
    grey, digits = load_digits(return_X_y=True)
    blocks = np.kron(
        np.rint(grey.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8), np.ones((4, 4), dtype=np.uint8)
    )
    expected = sorted(
        (image.tobytes() * 3, digit) for image, digit in zip(blocks, digits, strict=True)
    )
    splits = DigitsDataModule(seed=0, batch_size=4).splits
    found = [
        (image.numpy().tobytes(), int(target))
        for split in splits.values()
        for image, target in zip(split.inputs, split.targets, strict=True)
    ]
    assert sorted(found) == expected
    for split in splits.values():
        assert split.inputs.shape[1:] == (3, 32, 32)
        assert (split.inputs.dtype, split.targets.dtype) == (torch.uint8, torch.int64)
        assert split.inputs.is_contiguous()


def test_a_fifth_is_test_and_15_percent_of_the_rest_validation_by_class() -> None:
    splits = DigitsDataModule(seed=0, batch_size=4).splits
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 1221,
        "val": 216,
        "test": 360,
    }
    counts = {name: split.targets.bincount(minlength=10).numpy() for name, split in splits.items()}
    whole = np.bincount(load_digits().target)
    np.testing.assert_allclose(counts["test"], whole * 0.2, atol=1)
    np.testing.assert_allclose(counts["val"], (whole - counts["test"]) * 0.15, atol=1)


@pytest.mark.parametrize(
    ("options", "equal"),
    [({"seed": 1}, {"train": True, "val": True, "test": True}),
     ({"split_seed": 1}, {"train": False, "val": False, "test": False}),
     ({"val_fraction": 0.5}, {"train": False, "val": False, "test": True})],
    ids=["another seed", "another split_seed", "another val_fraction"],
)  # fmt: skip
def test_what_changes_which_split(options: dict[str, float], equal: dict[str, bool]) -> None:
    one = DigitsDataModule(seed=0, batch_size=4).splits
    other = DigitsDataModule(**{"seed": 0, "batch_size": 4, **options}).splits
    assert {name: torch.equal(one[name].inputs, other[name].inputs) for name in one} == equal


def test_without_validation_there_is_none() -> None:
    data = DigitsDataModule(seed=0, batch_size=4, val_fraction=0.0)
    assert list(data.splits) == ["train", "test"]
    assert len(data.splits["train"]) == 1437
