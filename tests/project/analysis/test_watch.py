"""What passes the activation functions, against a network taken apart by hand."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

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


class Reuses(nn.Module):
    """Has one activation function for two layers; what follows it changes its outputs in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 4)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        a1: Tensor = self.act(self.first(x))
        a1 *= 3
        a2: Tensor = self.act(self.second(a1))
        a2 += a1
        return a2


def test_a_layer_that_is_used_twice_and_changed_in_place_afterwards() -> None:
    """As it happened: the last use was shown alone, as the next operation had changed it."""
    torch.manual_seed(0)
    made, x = Reuses(), torch.randn(5, 3)
    plain = made(x).square().sum()
    plain.backward()
    expected = [weight.grad.clone() for weight in made.parameters()]
    made.zero_grad()
    with watched(made) as outputs:
        loss = made(x).square().sum()
        loss.backward()
    assert loss == plain
    for weight, gradient in zip(made.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=0, atol=0)
    a1 = F.silu(made.first(x)).detach().requires_grad_()
    a2 = F.silu(made.second(3 * a1))
    a2.retain_grad()
    (a2 + 3 * a1).square().sum().backward()
    assert list(outputs) == ["act", "act.2"]
    for ours, theirs in zip(outputs.values(), (a1, a2), strict=True):
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_what_the_backward_pass_computes_once_more_is_no_second_use() -> None:
    torch.manual_seed(0)
    made, x = network(), torch.randn(5, 3, requires_grad=True)
    with watched(made) as outputs:
        made(x).square().sum().backward()
    with watched(made) as again:
        checkpoint(made, x, use_reentrant=True).square().sum().backward()
    assert list(again) == ["tanh", "deep.1"]
    for name, output in outputs.items():
        torch.testing.assert_close(again[name], output, rtol=0, atol=0)
        torch.testing.assert_close(again[name].grad, output.grad, rtol=0, atol=0)
