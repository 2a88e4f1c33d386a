"""The MLP for tables, against a forward pass in NumPy."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax

from identical import killed_and_resumed
from project.modules.tabular_mlp import TabularMLP


@pytest.mark.parametrize("depth", [1, 3])
def test_forward_and_loss(depth: int) -> None:
    module = TabularMLP(in_features=4, num_classes=3, width=6, depth=depth).double().eval()
    x = np.random.default_rng(0).standard_normal((5, 4))
    targets = np.array([0, 2, 1, 1, 2])
    parameters = [p.detach().numpy() for p in module.parameters()]
    assert len(parameters) == 2 * (depth + 1)
    a = x
    for w, b in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        a = np.maximum(a @ w.T + b, 0)
    logits = module(torch.from_numpy(x))
    expected = a @ parameters[-2].T + parameters[-1]
    np.testing.assert_allclose(logits.detach(), expected, rtol=1e-12)
    loss = module.loss(logits, torch.from_numpy(targets)).item()
    right = log_softmax(expected, axis=1)[np.arange(5), targets]
    assert loss == pytest.approx(-right.mean(), rel=1e-12)


def test_dropout_follows_each_hidden_layer() -> None:
    module = TabularMLP(in_features=4, num_classes=3, width=64, depth=2, dropout=0.5)
    w1, b1, w2, b2, w3, b3 = module.parameters()
    x = torch.randn(5, 4)
    torch.manual_seed(3)
    logits = module(x)
    torch.manual_seed(3)
    hidden = F.dropout(F.relu(F.linear(x, w1, b1)), 0.5)
    hidden = F.dropout(F.relu(F.linear(hidden, w2, b2)), 0.5)
    torch.testing.assert_close(logits, F.linear(hidden, w3, b3))


@pytest.mark.slow
def test_killed_within_an_epoch_and_resumed(tmp_path: Path) -> None:
    words = [
        "experiment=tabular",
        "module.dropout=0.5",
        "accelerator=cpu",
        "trainer.max_epochs=3",
        "callbacks.checkpoints.every_n_steps=3",
    ]
    killed_and_resumed(words, tmp_path, kill_at="on_train_batch_end:20")
