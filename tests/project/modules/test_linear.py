"""Linear regression, against the recursion that SGD is on it."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fitting import columns, plain_trainer
from project.datamodules.line import LineDataModule
from project.modules.linear import LinearRegressor


def test_twenty_steps_on_a_line_follow_the_closed_form(tmp_path: Path) -> None:
    torch.manual_seed(2)
    module = LinearRegressor(optimizer=partial(torch.optim.SGD, lr=0.01))
    w, x = module.network.weight.item(), np.array([1.0, 2.0, 3.0])
    data = LineDataModule(seed=2, batch_size=3, steps_per_epoch=20)
    plain_trainer(tmp_path, max_epochs=1).fit(module, data)

    expected = []
    for _ in range(20):
        expected.append(((w * x - 2 * x) ** 2).sum())
        w -= 0.01 * 2 * (x * (w * x - 2 * x)).sum()
    steps, losses = columns(tmp_path, "step", "train/loss")
    assert steps == list(range(20))
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    assert [losses[0], losses[-1]] == pytest.approx([43.8908, 1.6635e-4], rel=1e-4)
    assert module.network.weight.item() == pytest.approx(w, abs=1e-6)
    assert module.network.weight.item() == pytest.approx(1.99752, abs=1e-5)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_forward_is_the_affine_map(bias: bool) -> None:
    module = LinearRegressor(in_features=4, out_features=3, bias=bias)
    state = {name: value.numpy() for name, value in module.network.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected = x @ state["weight"].T + state.get("bias", 0)
    assert ("bias" in state) == bias
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach(), expected, rtol=1e-5, atol=1e-6)
