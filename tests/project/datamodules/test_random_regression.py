"""Random regression data, against the normal distribution."""

import torch
from scipy import stats

from project.datamodules.random_regression import RandomRegressionDataModule


def test_inputs_and_targets_are_standard_normal_and_apart() -> None:
    data = RandomRegressionDataModule(
        samples=64, in_features=1000, out_features=10, seed=0, batch_size=64
    )
    train = data.splits["train"]
    assert list(data.splits) == ["train"]
    assert (train.inputs.shape, train.targets.shape) == ((64, 1000), (64, 10))
    for values in (train.inputs.flatten(), train.targets.flatten()):
        assert stats.kstest(values.double().numpy(), "norm").pvalue > 1e-3
        assert abs(values.std() - 1) < 4 / (2 * len(values)) ** 0.5
    assert not torch.isin(train.targets, train.inputs[0]).any()


def test_data_depend_on_the_seed_only() -> None:
    first, again, other = (
        RandomRegressionDataModule(
            samples=8, in_features=3, out_features=2, seed=seed, batch_size=size
        ).splits["train"]
        for seed, size in ((0, 8), (0, 4), (1, 8))
    )
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    assert not torch.isin(first.inputs, other.inputs).any()
