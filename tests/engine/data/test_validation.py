"""The stratified split of validation samples, against counts."""

import numpy as np
import pytest
import torch

from engine.data.split import Split
from engine.data.validation import carve_validation
from engine.errors import UserError


def numbered(counts: tuple[int, ...]) -> Split:
    """Samples 0, 1, …; `counts` of them of each class, mixed."""
    targets = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    return Split(torch.arange(len(targets)), torch.from_numpy(targets))


@pytest.mark.parametrize(
    ("fraction", "held"),
    [(0.25, (5, 10, 15)), (0.1, (2, 4, 6)), (0.05, (1, 2, 3))],
    ids=["25 %", "10 %", "5 %"],
)
def test_validation_is_stratified_disjoint_and_complete(
    fraction: float, held: tuple[int, ...]
) -> None:
    whole = numbered((20, 40, 60))
    parts = carve_validation(whole, fraction, seed=0)
    assert list(parts) == ["train", "val"]
    assert parts["val"].targets.bincount().tolist() == list(held)
    train, val = (parts[name].inputs.tolist() for name in ("train", "val"))
    assert sorted(train + val) == list(range(120))
    assert (train, val) == (sorted(train), sorted(val))
    for part in parts.values():
        assert torch.equal(part.targets, whole.targets[part.inputs])


def test_the_split_depends_on_its_seed_only() -> None:
    held = [
        carve_validation(numbered((20, 40)), 0.25, seed)["val"].inputs.tolist()
        for seed in (0, 0, 1)
    ]
    assert held[0] == held[1]
    assert held[0] != held[2]


def test_no_fraction_leaves_all_to_training() -> None:
    whole = numbered((3, 4))
    assert carve_validation(whole, 0.0, seed=0) == {"train": whole}


@pytest.mark.parametrize("key", ["val_fraction", "test_fraction"])
def test_a_fraction_that_leaves_a_class_out_is_an_error(key: str) -> None:
    """As it happened: scikit-learn's own words spoke of its arguments."""
    with pytest.raises(UserError) as error:
        carve_validation(numbered((3,) * 10), 0.05, seed=0, key=f"datamodule.{key}")
    assert str(error.value) == (
        f"datamodule.{key}=0.05 divides 30 samples into 28 and 2: "
        "each part needs 10 or more, for 10 classes."
    )


@pytest.mark.parametrize(
    ("samples", "fraction", "into"),
    [(20, 0.999, "0 and 20"), (1, 0.5, "0 and 1"), (0, 0.5, "0 and 0")],
)
def test_a_part_without_a_sample_is_an_error(samples: int, fraction: float, into: str) -> None:
    with pytest.raises(UserError, match=f"into {into}: each part needs 1 or more\\.$"):
        carve_validation(Split(torch.zeros(samples, 1), torch.rand(samples, 2)), fraction, seed=0)


def test_the_parts_are_as_large_as_the_message_would_say() -> None:
    """By scikit-learn, which makes them."""
    whole = Split(torch.arange(7), torch.rand(7))
    for fraction in (0.01, 1 / 7, 0.3, 3 / 7, 0.85):
        held = len(carve_validation(whole, fraction, seed=0)["val"])
        expected = f"divides 7 samples into {7 - held} and {held}: each part needs 7 or more"
        with pytest.raises(UserError, match=expected):
            carve_validation(Split(torch.arange(7), torch.arange(7)), fraction, seed=0)


def test_a_fraction_that_rounds_a_class_away_is_an_error() -> None:
    with pytest.raises(
        UserError, match=r"^datamodule\.val_fraction=0\.05 leaves a class without a sample\.$"
    ):
        carve_validation(numbered((100, 2)), 0.05, seed=0)


@pytest.mark.parametrize(
    "targets",
    [torch.rand(20), torch.rand(20, 1).round(), torch.rand(20, 2).round()],
    ids=["regression", "one bit", "two bits"],
)
def test_targets_that_are_no_classes_are_divided_at_random(targets: torch.Tensor) -> None:
    """As it happened: float targets were refused, with all of them in the message."""
    parts = carve_validation(Split(torch.arange(20), targets), 0.25, seed=0)
    train, val = (parts[name].inputs.tolist() for name in ("train", "val"))
    assert (len(train), len(val)) == (15, 5)
    assert sorted(train + val) == list(range(20))
    assert torch.equal(parts["val"].targets, targets[parts["val"].inputs])


def test_a_class_of_one_sample_is_named() -> None:
    with pytest.raises(UserError) as error:
        carve_validation(numbered((9, 1)), 0.25, seed=0)
    assert str(error.value) == (
        "datamodule.val_fraction=0.25: class 1 has one sample, and each part needs one."
    )


def test_a_mistake_does_not_show_all_classes() -> None:
    whole = Split(torch.arange(5000), torch.arange(5000))
    with pytest.raises(UserError) as error:
        carve_validation(whole, 0.25, seed=0)
    assert str(error.value) == (
        "datamodule.val_fraction=0.25 divides 5,000 samples into 3,750 and 1,250: "
        "each part needs 5000 or more, for 5000 classes."
    )


@pytest.mark.parametrize(
    "kind", [torch.float32, torch.bool, torch.int64, torch.bfloat16, torch.uint16]
)
def test_two_numbers_are_classes_whatever_their_type(kind: torch.dtype) -> None:
    whole = numbered((196, 4))
    for seed in range(5):
        parts = carve_validation(Split(whole.inputs, whole.targets.to(kind)), 0.25, seed)
        assert sum(parts["val"].targets.tolist()) == 1
