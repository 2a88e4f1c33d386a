"""What is relied on of PyTorch's fused optimisers: a new version breaks here, by name."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW

from engine.fence.fused import FUSED, any_fused_steps

KINDS: dict[str, Callable[..., Any]] = {
    "SGD": partial(SGD, momentum=0.9, dampening=0.5, weight_decay=0.1),
    "SGD, Nesterov": partial(SGD, momentum=0.9, nesterov=True),
    "SGD, no momentum": SGD,
    "Adam": partial(Adam, weight_decay=0.1, amsgrad=True),
    "AdamW": AdamW,
    "Adagrad": Adagrad,
}
Gradients = Sequence[Tensor | None]


def drawn(*sizes: int, step: int, kind: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(step), dtype=kind)


def now_and_then(step: int) -> Gradients:
    """A layer has a gradient from the second step on, and not in each."""
    return drawn(3, 2, step=step), drawn(3, 2, step=9 + step) if step % 3 else None


def complex_and_real(step: int) -> Gradients:
    return drawn(3, 2, step=step), drawn(3, 2, step=step, kind=torch.complex64)


def sparse(step: int) -> Gradients:
    rows, values = torch.tensor([[step % 2, 2]]), drawn(2, 2, step=9 + step)
    of_rows = torch.sparse_coo_tensor(rows, values, (3, 2), check_invariants=True)
    return drawn(3, 2, step=step), of_rows


def transposed(step: int) -> Gradients:
    """In some steps a gradient lies in memory as its transpose does."""
    given = drawn(2, 3, step=9 + step).T
    return drawn(3, 2, step=step), given.contiguous() if step % 3 == 2 else given


def dense(step: int) -> Gradients:
    return drawn(3, 2, step=step), drawn(3, 2, step=9 + step)


def trained(make: Callable[..., Any], gradients: Callable[[int], Gradients], **how: Any) -> Any:
    """Returns the weights after six steps, of which each has its gradients, in two groups."""
    first = [None if own is None else own.dtype for own in gradients(1)]
    weights = [nn.Parameter(drawn(3, 2, step=99, kind=kind or torch.float32)) for kind in first]
    cut = nn.Parameter(drawn(3, 4, step=98)[:, :2])  # its numbers do not lie side by side
    alone = nn.Parameter(drawn(3, 2, step=97))
    if how.pop("has_cut", False):
        weights.append(cut)
    is_cut = how.pop("is_cut", False)
    groups = [{"params": weights}, {"params": [alone], "lr": 0.02}]
    optimizer = make(groups, lr=0.1, **how)
    for step in range(6):
        for weight, gradient in zip(weights, gradients(step), strict=False):
            weight.grad = gradient
        cut.grad, alone.grad = drawn(3, 2, step=50 + step), drawn(3, 2, step=70 + step)
        if is_cut:
            cut.grad = torch.zeros(3, 4)[:, :2].copy_(cut.grad)
        optimizer.step()
    return [own.detach() for own in (*weights, alone)]


@pytest.fixture
def of_any() -> Iterator[None]:
    with any_fused_steps():
        yield


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's own Adagrad
@pytest.mark.usefixtures("of_any")
@pytest.mark.parametrize(
    ("name", "gradients"),
    [
        *itertools.product(KINDS, [now_and_then, complex_and_real, transposed]),
        *itertools.product(["SGD, Nesterov", "SGD, no momentum", "Adagrad"], [sparse]),
    ],
)
def test_a_fused_optimiser_trains_what_another_one_trains(
    name: str, gradients: Callable[[int], Gradients]
) -> None:
    """torch's fused ones raise an error, or give wrong numbers where a tensor lies otherwise."""
    expected = trained(KINDS[name], gradients, fused=False)
    for weight, wanted in zip(trained(KINDS[name], gradients, fused=True), expected, strict=True):
        torch.testing.assert_close(weight, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.usefixtures("of_any")
@pytest.mark.parametrize("lies_so", [False, True], ids=["its gradient does not", "so does it"])
def test_a_parameter_that_lies_apart_in_memory_is_trained(lies_so: bool) -> None:
    expected = trained(SGD, dense, fused=False, has_cut=True)
    given = trained(SGD, dense, fused=True, has_cut=True, is_cut=lies_so)
    for weight, wanted in zip(given, expected, strict=True):
        torch.testing.assert_close(weight, wanted, rtol=2e-6, atol=2e-6)


def turned(weight: nn.Parameter, optimizer: Any) -> None:
    """As `torch.linalg.qr` gives a weight, or `module.to(memory_format=torch.channels_last)`."""
    weight.data = weight.data.T.contiguous().T


def loaded(weight: nn.Parameter, optimizer: Any) -> None:
    """The state was saved while the weight lay otherwise."""
    saved = optimizer.state_dict()
    for name, value in saved["state"].get(0, {}).items():
        if value.dim():
            saved["state"][0][name] = value.T.contiguous().T
    optimizer.load_state_dict(saved)


@pytest.mark.usefixtures("of_any")
@pytest.mark.parametrize("change", [turned, loaded])
@pytest.mark.parametrize("name", KINDS)
def test_a_state_that_lies_otherwise_than_its_parameter_is_taken_rightly(
    name: str, change: Callable[[nn.Parameter, Any], None]
) -> None:
    """As it happened: the weights were wrong, in silence."""
    trained: list[Tensor] = []
    for fused in (False, True):
        weight = nn.Parameter(drawn(3, 2, step=99))
        optimizer = KINDS[name]([weight], lr=0.1, fused=fused)
        for step in range(6):
            if step == 3:
                change(weight, optimizer)
            weight.grad = drawn(3, 2, step=step).as_strided_(weight.shape, weight.stride())
            optimizer.step()
        trained.append(weight.detach())
        for value in optimizer.state[weight].values() if fused else ():
            if isinstance(value, Tensor) and value.dim():
                assert value.stride() == weight.stride()  # laid anew once, for all later steps
    torch.testing.assert_close(*trained, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", KINDS)
def test_other_steps_are_torchs_own_to_the_last_bit(name: str) -> None:
    expected = trained(KINDS[name], dense, fused=True)
    with any_fused_steps():
        given = trained(KINDS[name], dense, fused=True)
    assert all(map(torch.equal, given, expected))


@pytest.mark.usefixtures("of_any")
def test_hooks_of_a_step_are_called_once_and_momentum_is_kept() -> None:
    calls: list[str] = []
    weights = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = SGD(weights, lr=0.1, momentum=0.9, fused=True)
    optimizer.register_step_post_hook(lambda *args: calls.append("after"))
    for grown in (weights[:1], weights):
        for weight in grown:
            weight.grad = torch.ones(2)
        optimizer.step()
    assert calls == ["after", "after"]
    momenta = [optimizer.state[weight]["momentum_buffer"].tolist() for weight in weights]
    assert momenta == [[pytest.approx(1.9)] * 2, [1.0] * 2]
    assert optimizer.state_dict()["param_groups"][0]["fused"] is True


@pytest.mark.usefixtures("of_any")
@pytest.mark.parametrize("overflows", [False, True])
def test_gradients_of_mixed_precision_are_divided_by_their_scale(overflows: bool) -> None:
    """A GradScaler leaves that to a fused optimiser, as it sets these two attributes."""
    table, weight = (nn.Parameter(torch.ones(2, 1)) for _ in range(2))
    optimizer: Any = SGD([table, weight], lr=0.5, fused=True)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(4.0), torch.tensor(float(overflows))
    table.grad = torch.tensor([[0.0], [4.0]]).to_sparse(1)
    weight.grad = torch.full((2, 1), 4.0)
    optimizer.step()
    assert table.tolist() == ([[1.0], [1.0]] if overflows else [[1.0], [0.5]])
    assert weight.tolist() == ([[1.0], [1.0]] if overflows else [[0.5], [0.5]])


def test_torch_is_as_it_was_outside() -> None:
    before = [kind._init_group for kind in FUSED]
    with any_fused_steps():
        assert all(kind._init_group is not own for kind, own in zip(FUSED, before, strict=True))
    assert [kind._init_group for kind in FUSED] == before


def test_contexts_in_each_other_and_side_by_side_take_a_step_once() -> None:
    before = SGD._init_group  # type: ignore[attr-defined]
    first, second = any_fused_steps(), any_fused_steps()
    weights = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(4, 1))
    weights[0].grad = torch.sparse_coo_tensor(torch.tensor([[1]]), torch.ones(1, 2), (3, 2))
    weights[1].grad = torch.ones(4, 7)[:, :1]
    first.__enter__()
    second.__enter__()
    SGD(weights, lr=0.1, fused=True).step()
    first.__exit__(None, None, None)
    assert SGD._init_group is not before  # type: ignore[attr-defined]
    second.__exit__(None, None, None)
    assert SGD._init_group is before  # type: ignore[attr-defined]
    assert weights[0].detach().flatten().tolist() == pytest.approx([1, 1, 0.9, 0.9, 1, 1])
    assert weights[1].detach().flatten().tolist() == pytest.approx([0.9] * 4)


@pytest.fixture
def put_back() -> Iterator[None]:
    """Gives the classes what they had of their own."""
    before = {kind: vars(kind).get("_init_group") for kind in FUSED}
    yield
    for kind, own in before.items():
        if "_init_group" in vars(kind):
            del kind._init_group
        if own:
            kind._init_group = own


@pytest.mark.usefixtures("put_back")
@pytest.mark.parametrize("within", [True, False])
def test_after_the_compiler_has_wrapped_the_classes(within: bool) -> None:
    """It wraps AdamW's, which AdamW has of Adam, when it is imported: in a training, or before."""
    expected = trained(AdamW, complex_and_real, fused=False)
    with any_fused_steps() if within else contextlib.nullcontext():
        for kind in (Adam, AdamW):
            own: Any = kind
            own._init_group = torch.compiler.disable(own._init_group)
    for _ in range(2):
        with any_fused_steps():
            found = trained(AdamW, complex_and_real, fused=True)
        for weight, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(weight, wanted, rtol=2e-6, atol=2e-6)
    with pytest.raises(RuntimeError, match="floating point"):
        trained(AdamW, complex_and_real, fused=True)


class ByName(SGD):
    """Gathers its tensors by the names of the lists."""

    def _init_group(self, group: Any, params: Any, grads: Any, momentum_buffer_list: Any) -> Any:
        return super()._init_group(  # type: ignore[misc]
            group, momentum_buffer_list=momentum_buffer_list, grads=grads, params=params
        )


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.usefixtures("put_back")
def test_lists_may_be_given_by_name(fused: bool) -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = ByName([weight], lr=0.1, momentum=0.9, fused=fused)
    own: Any = SGD
    for _ in range(2):
        with any_fused_steps():
            own._init_group = torch.compiler.disable(own._init_group)  # as the first time in one
            weight.grad = torch.ones(2)
            optimizer.step()
    assert weight.tolist() == pytest.approx([1 - 0.1 - 0.19] * 2)


@pytest.mark.parametrize(("scaled", "expected"), [(2.0, 0.9), (float("inf"), 1.0)])
def test_gradients_that_are_scaled_back_already(scaled: float, expected: float) -> None:
    """With one overflow, no parameter takes a step."""
    weights = [nn.Parameter(torch.ones(3, 1)), nn.Parameter(torch.ones(3, 1))]
    optimizer = SGD(weights, lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(torch.ones(()))
    rows = torch.tensor([[0, 1, 2]])
    weights[0].grad = torch.sparse_coo_tensor(rows, torch.full((3, 1), 2.0), (3, 1))
    weights[1].grad = torch.full((3, 1), scaled)
    scaler.unscale_(optimizer)
    with any_fused_steps():
        scaler.step(optimizer)
    for weight in weights:
        assert weight.detach().flatten().tolist() == pytest.approx([expected] * 3)
