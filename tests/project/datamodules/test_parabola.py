"""The noisy parabola, against x² and the uniform distribution."""

import numpy as np
import torch
from scipy import stats

from project.datamodules.parabola import ParabolaDataModule


def test_noise_over_the_parabola_is_uniform() -> None:
    data = ParabolaDataModule(samples=5000, noise=0.2, seed=0, batch_size=100)
    x, y = (
        data.splits["train"].inputs.double().numpy(),
        data.splits["train"].targets.double().numpy(),
    )
    assert list(data.splits) == ["train"]
    assert x.shape == y.shape == (5000, 1)
    np.testing.assert_allclose(x[:, 0], np.linspace(-1, 1, 5000), atol=1e-6)
    u = ((y - x**2) / 0.2)[:, 0]
    assert -1e-5 < u.min() < u.max() < 1 + 1e-5
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / 5000**0.5


def test_no_noise_is_the_parabola_itself() -> None:
    train = ParabolaDataModule(samples=3, noise=0.0, seed=0, batch_size=3).splits["train"]
    assert train.inputs.tolist() == [[-1.0], [0.0], [1.0]]
    assert train.targets.tolist() == [[1.0], [0.0], [1.0]]


def test_noise_depends_on_the_seed_only() -> None:
    first, again, other = (
        ParabolaDataModule(seed=seed, batch_size=1).splits["train"].targets for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).all()
    assert len(first) == 100
