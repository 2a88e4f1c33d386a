"""Max-pooling for compiled steps, against torch's own."""

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional as F

import compiling
from engine.steps.compiled import CompiledStep
from engine.steps.pooling import MaxPool, PoolsByComparison
from project.modules.lenet import LeNet5


def gradient(pooled: Tensor, x: Tensor) -> Tensor:
    """Of a sum with a weight of its own for each window."""
    weights = torch.arange(1.0, pooled.numel() + 1, dtype=x.dtype).view_as(pooled)
    return torch.autograd.grad((pooled * weights).sum(), x, retain_graph=True)[0]


@pytest.mark.parametrize("kernel", [(2, 2), (3, 2), (1, 4), (6, 8), (1, 1)])
@pytest.mark.parametrize("shape", [(2, 3, 6, 8), (3, 6, 8)])
@pytest.mark.parametrize("levels", [2, 10_000])  # two: most windows have several that are largest
def test_values_and_gradients_are_those_of_torch(
    kernel: tuple[int, int], shape: tuple[int, ...], levels: int
) -> None:
    x = (
        torch.randint(levels, shape, generator=torch.Generator().manual_seed(0))
        .float()
        .requires_grad_()
    )
    ours, theirs = MaxPool.apply(x, kernel), F.max_pool2d(x, kernel)
    assert torch.equal(ours, theirs)
    assert torch.equal(gradient(ours, x), gradient(theirs, x))


def test_the_gradient_is_that_of_finite_differences() -> None:
    x = (
        torch.randperm(2 * 4 * 6, generator=torch.Generator().manual_seed(0))
        .double()
        .view(1, 2, 4, 6)
        .requires_grad_()
    )
    assert torch.autograd.gradcheck(lambda x: MaxPool.apply(x, (2, 3)), x)


def test_a_nan_is_not_lost() -> None:
    x = torch.tensor([[[0.0, float("nan"), 1.0, 2.0]] * 2], requires_grad=True)
    pooled = MaxPool.apply(x, (2, 2))
    assert pooled.isnan().tolist() == [[[True, False]]]
    (found,) = torch.autograd.grad(pooled.sum(), x)
    assert found.tolist() == [[[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]]


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": (2, 4)},
        {"kernel_size": [2, 2]},
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": (2, 4), "stride": (2, 4)},
        {"kernel_size": 3},
        {"kernel_size": [2]},
        {"kernel_size": (3, 1)},
    ],
)
def test_windows_side_by_side_are_compared(options: dict[str, Any]) -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with PoolsByComparison():
        pooled = [
            nn.MaxPool2d(**options)(x),
            F.max_pool2d(x, **options),
            torch.max_pool2d(input=x, **options),
        ]
    expected = F.max_pool2d(x, **options)
    for ours in pooled:
        assert "MaxPool2D" not in ours.grad_fn.name()
        assert torch.equal(ours, expected)
        assert torch.equal(gradient(ours, x), gradient(expected, x))


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 2, "stride": 1},
        {"kernel_size": 2, "padding": 1},
        {"kernel_size": 2, "dilation": 2},
        {"kernel_size": (2, 3), "ceil_mode": True},
        {"kernel_size": (2, 5)},
    ],
)
def test_others_are_left_to_torch(options: dict[str, Any]) -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = F.max_pool2d(x, **options)
    with PoolsByComparison():
        ours = nn.MaxPool2d(**options)(x)
        indexed = nn.MaxPool2d(**options, return_indices=True)(x)
        plain_indexed = nn.MaxPool2d(2, return_indices=True)(x)
    assert "MaxPool2D" in ours.grad_fn.name()
    assert torch.equal(ours, expected)
    assert torch.equal(indexed[0], expected)
    assert torch.equal(plain_indexed[0], F.max_pool2d(x, 2))


def test_a_compiled_function_has_it() -> None:
    targets: list[Any] = []

    def backend(graph: GraphModule, inputs: list[Tensor]) -> Any:
        targets.extend(node.target for node in graph.graph.nodes)
        return graph.forward

    def pool(x: Tensor) -> Tensor:
        with PoolsByComparison():
            return F.max_pool2d(x.relu(), 2)

    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ours, theirs = (
        torch.compile(pool, fullgraph=True, backend=backend)(x),
        F.max_pool2d(x.relu(), 2),
    )
    assert torch.equal(ours, theirs)
    assert torch.equal(gradient(ours, x), gradient(theirs, x))
    assert "relu" in targets
    assert F.max_pool2d not in targets


def test_within_a_compiled_function_indices_are_left_to_torch() -> None:
    def places(x: Tensor) -> Tensor:
        with PoolsByComparison():
            return F.max_pool2d(x, 2, return_indices=True)[1]

    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = torch.compile(places, fullgraph=True, backend="eager")(x)
    assert torch.equal(found, F.max_pool2d(x, 2, return_indices=True)[1])


@pytest.mark.parametrize("has_it", [True, False], ids=["with it", "without"])
def test_a_compiled_step_has_it(has_it: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at what is handed to the compiler."""
    targets: list[Any] = []

    def backend(graph: GraphModule, inputs: list[Tensor]) -> Any:
        targets.extend(node.target for node in graph.graph.nodes)
        return graph.forward

    monkeypatch.setattr(torch, "compile", compiling.by(backend))
    if not has_it:
        monkeypatch.setattr("engine.steps.compiled.PoolsByComparison", nullcontext)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    CompiledStep(network, nn.MSELoss(), optimizer).refresh(torch.ones(4, 1, 8, 8), torch.ones(4, 1))
    assert torch.conv2d in targets
    assert (F.max_pool2d in targets) != has_it


@pytest.mark.slow
def test_compiled_steps_of_lenet_are_the_eager_ones() -> None:
    torch.manual_seed(0)
    module = LeNet5().double()
    inputs, targets = torch.randn(5, 8, 3, 32, 32, dtype=torch.float64), torch.randint(10, (5, 8))
    eager, compiled = module.network, copy.deepcopy(module.network)
    ours, theirs = (
        torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9) for network in (compiled, eager)
    )

    def eager_step(
        network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor
    ) -> None:
        optimizer.zero_grad()
        module.loss(network(x), y).backward()
        optimizer.step()

    eager_step(compiled, ours, inputs[0], targets[0])  # makes the optimiser's state
    step = CompiledStep(compiled, module.loss, ours)
    step.refresh(inputs[1], targets[1])
    for number, (x, y) in enumerate(zip(inputs, targets, strict=True)):
        eager_step(eager, theirs, x, y)
        if number > 0:
            step(x, y)
    for found, expected in zip(compiled.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
