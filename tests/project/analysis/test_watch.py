"""What passes the activation functions, against a network taken apart by hand."""

from collections import OrderedDict

import torch
from torch import nn

from project.analysis.watch import watched


def network() -> nn.Sequential:
    torch.manual_seed(0)
    deep = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    return nn.Sequential(
        OrderedDict(first=nn.Linear(3, 4), tanh=nn.Tanh(), deep=deep, last=nn.Linear(4, 1))
    )


def test_outputs_and_their_gradients() -> None:
    made, x = network(), torch.randn(5, 3)
    with watched(made) as outputs:
        made(x).square().sum().backward()
    a1 = made.tanh(made.first(x)).detach().requires_grad_()
    a2 = made.deep(a1)
    a2.retain_grad()
    made.last(a2).square().sum().backward()
    assert list(outputs) == ["tanh", "deep.1"]
    for ours, theirs in zip(outputs.values(), (a1, a2), strict=True):
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_nothing_is_watched_afterwards() -> None:
    made = network()
    with watched(made) as outputs:
        pass
    made(torch.ones(1, 3))
    assert outputs == {}


def test_without_autograd() -> None:
    made = network()
    with watched(made) as outputs, torch.no_grad():
        made(torch.ones(1, 3))
    assert [output.grad for output in outputs.values()] == [None, None]
