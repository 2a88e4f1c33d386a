"""Cross-validation: folds that are disjoint, complete, by class, and the same for every seed."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from commands import run_train
from engine.data.datamodule import TensorDataModule
from engine.data.split import Split
from engine.data.validation import fold_of
from engine.errors import UserError
from fitting import Arrays
from project.datamodules.digits import DigitsDataModule
from project.datamodules.line import LineDataModule
from project.datamodules.parabola import ParabolaDataModule
from project.datamodules.random_regression import RandomRegressionDataModule


def rows(split: Split) -> list[bytes]:
    """Every sample as the bytes of its numbers, in their order."""
    flat = torch.cat(
        [split.inputs.flatten(1).double(), split.targets.double().view(len(split), -1)], dim=1
    )
    return sorted(row.tobytes() for row in flat.numpy())


@pytest.mark.parametrize(
    ("make", "folds"),
    [
        (LineDataModule, 3),
        (ParabolaDataModule, 7),
        (RandomRegressionDataModule, 5),
        (DigitsDataModule, 5),
    ],
)
def test_folds_are_disjoint_and_complete(make: type[TensorDataModule], folds: int) -> None:
    whole = make(seed=0, batch_size=4).splits
    data = [make(seed=0, batch_size=4, folds=folds, fold=fold).splits for fold in range(folds)]
    samples = sorted(row for name in ("train", "val") if name in whole for row in rows(whole[name]))
    assert sorted(row for splits in data for row in rows(splits["val"])) == samples
    for splits in data:
        assert sorted(rows(splits["train"]) + rows(splits["val"])) == samples
        assert ("test" in splits) == ("test" in whole)
        if "test" in whole:
            assert torch.equal(splits["test"].inputs, whole["test"].inputs)
    sizes = [len(splits["val"]) for splits in data]
    assert max(sizes) - min(sizes) <= 1 + 9 * (
        make is DigitsDataModule
    )  # a class may have one more in a fold


def test_each_fold_has_its_share_of_every_class() -> None:
    data = [
        DigitsDataModule(seed=0, batch_size=4, folds=4, fold=fold).splits["val"]
        for fold in range(4)
    ]
    shares = [Counter(split.targets.tolist()) for split in data]
    for digit in range(10):
        counts = [share[digit] for share in shares]
        assert max(counts) - min(counts) <= 1
        assert min(counts) > 30


def test_seeds_have_the_same_folds() -> None:
    one, other = (
        DigitsDataModule(seed=seed, batch_size=4, folds=5, fold=2).splits for seed in (0, 1)
    )
    assert torch.equal(one["val"].inputs, other["val"].inputs)


@pytest.mark.parametrize(
    ("folds", "fold", "by_class", "says"),
    [
        (5, 5, False, "datamodule.fold=5: must be from 0 to 4, as datamodule.folds=5."),
        (7, 0, False, "datamodule.folds=7: there are only 6 samples to divide."),
        (3, 0, True, "datamodule.folds=3: the smallest class has only 2 samples to divide."),
    ],
)
def test_mistakes(folds: int, fold: int, by_class: bool, says: str) -> None:
    splits = Arrays({"train": (torch.zeros(6, 1), torch.tensor([0, 0, 1, 1, 1, 1]))}).splits
    with pytest.raises(UserError) as refused:
        fold_of(splits, folds, fold, by_class)
    assert str(refused.value) == says


@pytest.mark.parametrize(
    ("inputs", "targets", "says"),
    [
        (
            torch.zeros(2, 3).double(),
            torch.zeros(2),
            'inputs of float32 (N, 3), and "val" of float64 (N, 3)',
        ),
        (
            torch.zeros(2, 4),
            torch.zeros(2),
            'inputs of float32 (N, 3), and "val" of float32 (N, 4)',
        ),
        (
            torch.zeros(2, 3),
            torch.zeros(2, 1),
            'targets of float32 (N), and "val" of float32 (N, 1)',
        ),
    ],
    ids=["type", "width", "targets"],
)
def test_samples_of_train_and_val_that_are_not_alike_are_named(
    inputs: torch.Tensor, targets: torch.Tensor, says: str
) -> None:
    """As it happened: other types were converted in silence, other widths told in torch's words."""
    splits = {"train": Split(torch.zeros(6, 3), torch.zeros(6)), "val": Split(inputs, targets)}
    with pytest.raises(UserError) as refused:
        fold_of(splits, 2, 0, by_class=False)
    assert str(refused.value) == (
        f'datamodule.folds=2: "train" has {says}; those that are divided anew must be alike.'
    )


@pytest.mark.slow
def test_a_sweep_over_folds(tmp_path: Path) -> None:
    run_train(
        "-m",
        "experiment=curve_fit",
        "datamodule.folds=4",
        "datamodule.fold=0,1,2,3",
        "accelerator=cpu",
        "callbacks=default",
        "logger=csv",
        "trainer.max_steps=10",
        f"paths.log_dir={tmp_path}",
    )
    finals = [
        path.read_text().splitlines()[-1]
        for path in tmp_path.glob("sweeps/curve_fit/fold=*/metrics.csv")
    ]
    assert len(set(finals)) == 4


def test_targets_that_are_no_classes_are_divided_though_there_are_names() -> None:
    """As it happened: an error of torch's, about bincount."""
    whole = {"train": Split(torch.arange(6), torch.rand(6, 2).round())}
    held = [fold_of(whole, 3, fold, by_class=True)["val"].inputs for fold in range(3)]
    assert torch.cat(held).sort().values.tolist() == list(range(6))


@pytest.mark.parametrize("values", [(0.0, 1.0), (-1.0, 0.5)])
def test_two_numbers_are_classes_in_folds_too(values: tuple[float, float]) -> None:
    """As it happened: `carve_validation` took them for classes, and folds did not."""
    targets = torch.tensor(values)[torch.tensor([1] * 10 + [0] * 50)]
    whole = {"train": Split(torch.arange(60.0).unsqueeze(1), targets)}
    for fold in range(5):
        held = fold_of(whole, 5, fold, by_class=True)["val"].targets
        assert (len(held), int((held == values[1]).sum())) == (12, 2)
