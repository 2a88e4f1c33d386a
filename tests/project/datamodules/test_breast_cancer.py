"""The breast cancer data, against scikit-learn's arrays and its StandardScaler."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

from engine.data.split import Split
from project.datamodules.breast_cancer import BreastCancerDataModule


def data_of(**options: float) -> BreastCancerDataModule:
    return BreastCancerDataModule(**{"seed": 0, "batch_size": 32, **options})


def test_splits_hold_every_tumour_once() -> None:
    published = load_breast_cancer()
    features = published.data.astype(np.float32)
    expected = sorted(zip(features.tolist(), published.target.tolist(), strict=True))
    splits = data_of().splits
    found = [
        (row, target)
        for split in splits.values()
        for row, target in zip(split.inputs.tolist(), split.targets.tolist(), strict=True)
    ]
    assert sorted(found) == expected
    assert published.target_names.tolist() == BreastCancerDataModule.class_names
    for split in splits.values():
        assert (split.inputs.dtype, split.targets.dtype) == (torch.float32, torch.int64)


def test_a_fifth_is_test_and_15_percent_of_the_rest_validation_by_class() -> None:
    splits = data_of().splits
    sizes = {name: len(split) for name, split in splits.items()}
    assert sizes == {"train": 386, "val": 69, "test": 114}
    counts = {name: split.targets.bincount(minlength=2).numpy() for name, split in splits.items()}
    whole = np.bincount(load_breast_cancer().target)
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
    one, other = data_of().splits, data_of(**options).splits
    assert {name: torch.equal(one[name].inputs, other[name].inputs) for name in one} == equal


@pytest.mark.parametrize(
    "options", [{}, {"folds": 5, "fold": 0}, {"folds": 5, "fold": 3}], ids=["split", "fold", "fold"]
)
def test_features_are_standardised_by_the_training_samples_alone(
    options: dict[str, float],
) -> None:
    data = data_of(**options)
    scaler = StandardScaler().fit(data.splits["train"].inputs.double().numpy())
    for split in data.splits.values():
        prepared = data.prepare_inputs(split.inputs)
        expected = scaler.transform(split.inputs.double().numpy())
        assert prepared.dtype == torch.float32
        np.testing.assert_allclose(prepared.numpy(), expected, rtol=1e-4, atol=1e-5)
    everything = torch.cat([split.inputs for split in data.splits.values()])
    leaked = StandardScaler().fit(everything.double().numpy())
    assert abs(leaked.mean_ / scaler.mean_ - 1).max() > 1e-3  # a leak would be seen


def test_batches_are_standardised() -> None:
    data = data_of(batch_size=386)
    batch = next(iter(data.train_dataloader()))
    inputs, _ = data.on_after_batch_transfer(batch, 0)
    np.testing.assert_allclose(inputs.double().mean(dim=0), np.zeros(30), atol=1e-6)
    np.testing.assert_allclose(inputs.double().std(dim=0, correction=0), np.ones(30), rtol=1e-6)


def test_a_feature_that_never_changes_becomes_zero() -> None:
    data = data_of()
    column = torch.full((7, 1), 0.1)
    changes = torch.arange(7.0)[:, None]
    data.splits = {"train": Split(torch.cat([column, changes], dim=1), torch.zeros(7).long())}
    prepared = data.prepare_inputs(data.splits["train"].inputs)
    expected = StandardScaler().fit_transform(data.splits["train"].inputs.double().numpy())
    np.testing.assert_allclose(prepared.numpy(), expected, rtol=1e-6)
    assert prepared[:, 0].tolist() == [0.0] * 7
