"""The schemes, against fans computed by hand and the normal distribution."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import pytest
import torch
from scipy import stats
from torch import nn

import project.init as init
from engine.errors import UserError

# (layer, fan_in, fan_out)
LAYERS = {
    "linear": (lambda: nn.Linear(200, 300), 200, 300),
    "conv 1d": (lambda: nn.Conv1d(32, 64, 5), 32 * 5, 64 * 5),
    "conv 2d": (lambda: nn.Conv2d(16, 32, (3, 5)), 16 * 15, 32 * 15),
    "conv 3d": (lambda: nn.Conv3d(8, 16, (2, 3, 4)), 8 * 24, 16 * 24),
    "grouped conv 2d": (lambda: nn.Conv2d(32, 64, 3, groups=4), 8 * 9, 16 * 9),
}
STD = {
    "randn": lambda fan_in, fan_out: 1.0,
    "randn scaled": lambda fan_in, fan_out: 0.01,
    "xavier": lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5,
    "he": lambda fan_in, fan_out: (2 / fan_in) ** 0.5,
    "xavier for tanh": lambda fan_in, fan_out: 5 / 3 * (2 / (fan_in + fan_out)) ** 0.5,
    "he, gain given": lambda fan_in, fan_out: 0.5 / fan_in**0.5,
}
SCHEMES = {
    "xavier for tanh": partial(init.xavier, gain="tanh"),
    "he, gain given": partial(init.he, gain=0.5),
    "randn": init.randn,
    "randn scaled": partial(init.randn, scale=0.01),
    "xavier": init.xavier,
    "he": init.he,
}


def two_layers() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(first=nn.Linear(30, 30), relu=nn.ReLU(), second=nn.Linear(30, 30))
    )


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_are_normal_with_the_std_of_the_scheme(scheme: str, layer: str) -> None:
    make, fan_in, fan_out = LAYERS[layer]
    network = nn.Sequential(make())
    SCHEMES[scheme](network, seed=0)
    weights = network[0].weight.detach().double().flatten().numpy()
    std, n = STD[scheme](fan_in, fan_out), len(weights)
    assert weights.std() == pytest.approx(std, rel=4 / (2 * n) ** 0.5)
    assert weights.mean() == pytest.approx(0, abs=4 * std / n**0.5)
    assert stats.kstest(weights / std, "norm").pvalue > 1e-3
    assert torch.count_nonzero(network[0].bias) == 0


def test_zero_fills_layers_and_nothing_else() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2, bias=False)
    )
    init.zero(network)
    assert [parameter.abs().sum().item() for parameter in network.parameters()] == [0, 0, 4, 0, 0]


def test_default_leaves_what_pytorch_drew() -> None:
    torch.manual_seed(0)
    network, untouched = two_layers(), two_layers()
    torch.manual_seed(0)
    init.default(again := two_layers())
    assert torch.equal(again.first.weight, network.first.weight)
    assert torch.equal(again.second.bias, network.second.bias)
    assert not torch.equal(again.first.weight, untouched.first.weight)


@pytest.mark.parametrize("scheme", [init.randn, init.xavier, init.he])
def test_weights_depend_on_seed_and_layer_name_only(scheme: Callable[..., None]) -> None:
    torch.manual_seed(0)
    scheme(one := two_layers(), seed=3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    other = two_layers()
    torch.set_rng_state(state)
    scheme(other, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.first.weight, other.first.weight)
    assert torch.equal(one.second.weight, other.second.weight)
    assert not torch.equal(one.first.weight, one.second.weight)
    scheme(other, seed=4)
    assert not torch.equal(one.first.weight, other.first.weight)


def test_a_further_layer_changes_no_other() -> None:
    deeper = nn.Sequential(
        OrderedDict(
            new=nn.Conv1d(1, 1, 3),
            first=nn.Linear(30, 30),
            newer=nn.Linear(30, 30),
            second=nn.Linear(30, 30),
        )
    )
    init.he(deeper, seed=0)
    init.he(network := two_layers(), seed=0)
    assert torch.equal(network.first.weight, deeper.first.weight)
    assert torch.equal(network.second.weight, deeper.second.weight)


@pytest.mark.parametrize(
    ("layer", "sample"),
    [
        pytest.param(nn.Linear(5, 7), (5,), id="linear"),
        pytest.param(nn.Conv1d(3, 4, 3), (3, 9), id="conv 1d"),
        pytest.param(nn.Conv2d(2, 3, (3, 2)), (2, 9, 9), id="conv 2d"),
        pytest.param(nn.Conv2d(6, 4, 3, groups=2), (6, 9, 9), id="grouped"),
        pytest.param(nn.Conv2d(4, 4, 3, groups=4), (4, 9, 9), id="depthwise"),
    ],
)
def test_fans_count_what_an_output_depends_on_and_what_an_input_is_part_of(
    layer: nn.Module, sample: tuple[int, ...]
) -> None:
    """Counts the elements of the Jacobian that are not zero, in its fullest row and column."""
    nn.init.constant_(layer.weight, 1.0)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x).flatten(), torch.zeros(sample))
    touched = jacobian.flatten(start_dim=1) != 0  # (outputs, inputs)
    assert init.fans(layer) == (touched.sum(dim=1).max(), touched.sum(dim=0).max())


def test_schemes_by_name() -> None:
    init.scheme("randn", scale=0.1)(one := two_layers(), 3)
    init.randn(other := two_layers(), 3, scale=0.1)
    assert torch.equal(one.first.weight, other.first.weight)
    assert list(init.SCHEMES) == ["default", "zero", "randn", "xavier", "he"]


def test_an_unknown_scheme() -> None:
    known = "It is one of: default, zero, randn, xavier, he."
    with pytest.raises(
        UserError, match=rf"^scheme xaver: no such initialisation\. Did you mean xavier\? {known}$"
    ):
        init.scheme("xaver")
