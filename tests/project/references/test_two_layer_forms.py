"""Four ways to one gradient, against each other, finite differences, and given losses."""

import runpy
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from project.modules.two_layer_by_hand import TwoLayerByHand
from project.references import two_layer_autograd, two_layer_numpy, two_layer_torch

Array = NDArray[np.float64]
SHAPES = {  # (N, D_in, H, D_out)
    "all of them": (64, 1000, 100, 10),
    "small": (5, 4, 3, 2),
    "one sample": (1, 7, 5, 3),
    "one of everything": (1, 1, 1, 1),
}  # fmt: skip
EPSILON = (
    1e-4  # the loss is a quadratic of each weight: central differences are exact but for rounding
)


def drawn(shape: tuple[int, int, int, int], dead: int = 0) -> list[Array]:
    """Draws x, y, w1, w2 ~ N(0, 1), with `dead` units that no sample reaches."""
    samples, d_in, hidden, d_out = shape
    rng = np.random.default_rng(3)
    sizes = [(samples, d_in), (samples, d_out), (d_in, hidden), (hidden, d_out)]
    x, y, w1, w2 = (rng.standard_normal(size) for size in sizes)
    if dead:
        x, w1[:, :dead] = np.abs(x), -np.abs(w1[:, :dead])
    return [x, y, w1, w2]


def in_torch(module: object) -> Callable[..., tuple[float, Array, Array]]:
    def gradients(*arrays: Array) -> tuple[float, Array, Array]:
        loss, *gradients = module.gradients(*map(torch.from_numpy, arrays))
        return float(loss), *(gradient.numpy() for gradient in gradients)

    return gradients


def under_lightning(gradients: str) -> Callable[..., tuple[float, Array, Array]]:
    """Returns the gradients that the LightningModule gives the optimiser."""

    def of_the_module(x: Array, y: Array, w1: Array, w2: Array) -> tuple[float, Array, Array]:
        module = TwoLayerByHand(x.shape[1], w1.shape[1], y.shape[1], gradients=gradients).double()
        module.trainer = type("Trainer", (), {"accumulate_grad_batches": 1})()
        for parameter, weight in zip(module.weights, (w1, w2), strict=True):
            parameter.data = torch.from_numpy(weight.T.copy())
        module._batch = torch.from_numpy(x), torch.from_numpy(y)
        loss = module.loss(module(module._batch[0]), module._batch[1])
        module.backward(loss)
        return loss.item(), *(parameter.grad.T.numpy() for parameter in module.weights)

    return of_the_module


FORMS = {
    "numpy": two_layer_numpy.gradients,
    "torch": in_torch(two_layer_torch),
    "autograd": in_torch(two_layer_autograd),
    **{f"Lightning, {name}": under_lightning(name) for name in ("numpy", "manual", "autograd")},
}


def differences(arrays: list[Array], index: int, chosen: list[tuple[int, ...]]) -> Array:
    """Returns central differences of the loss by chosen elements of one of the weights."""
    slopes = []
    for element in chosen:
        losses = []
        for sign in (1, -1):
            moved = [array.copy() for array in arrays]
            moved[index][element] += sign * EPSILON
            x, y, w1, w2 = moved
            losses.append(((np.maximum(x @ w1, 0) @ w2 - y) ** 2).sum())
        slopes.append((losses[0] - losses[1]) / (2 * EPSILON))
    return np.array(slopes)


def error(values: Array, expected: Array) -> float:
    """Compares relative to the largest element."""
    scale = np.abs(expected).max()
    return float(np.abs(values - expected).max() / scale) if scale else float(np.abs(values).max())


@pytest.mark.parametrize("dead", [0, 1])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_the_finite_differences(
    form: str, shape: tuple[int, int, int, int], dead: int
) -> None:
    arrays = drawn(shape, dead)
    x, y, w1, w2 = arrays
    assert ((x @ w1).max(axis=0) < 0).sum() >= dead
    loss, *gradients = FORMS[form](*arrays)
    assert loss == pytest.approx(((np.maximum(x @ w1, 0) @ w2 - y) ** 2).sum(), rel=1e-12)
    for index, gradient in zip((2, 3), gradients, strict=True):
        assert gradient.shape == arrays[index].shape
        every = list(np.ndindex(*gradient.shape))
        chosen = every[:: max(1, len(every) // 60)]
        chosen = [e for e in chosen if index == 3 or clear_of_kink(arrays, e)]
        values = np.array([gradient[element] for element in chosen])
        assert len(chosen) > min(50, len(every)) // 2
        assert error(values, differences(arrays, index, chosen)) <= 1e-7


def clear_of_kink(arrays: list[Array], element: tuple[int, ...]) -> bool:
    """Tells whether no sample crosses the kink of its unit when this weight of w1 moves.

    At the kink there is no derivative.
    """
    x, _, w1, _ = arrays
    h = x @ w1[:, element[1]]
    return bool((np.abs(h) > EPSILON * np.abs(x[:, element[0]])).all())


@pytest.mark.parametrize("dead", [0, 2])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("form", [form for form in FORMS if form != "numpy"])
def test_forms_agree(form: str, shape: tuple[int, int, int, int], dead: int) -> None:
    arrays = drawn(shape, dead)
    for ours, theirs in zip(FORMS[form](*arrays), FORMS["numpy"](*arrays), strict=True):
        assert error(np.asarray(ours), np.asarray(theirs)) <= 1e-12


def test_at_the_kink_the_slope_is_zero() -> None:
    x, w2 = np.ones((1, 1)), np.ones((1, 1))
    for gradients in FORMS.values():
        _, grad_w1, _ = gradients(x, np.ones((1, 1)), np.zeros((1, 1)), w2)
        assert grad_w1 == 0


@pytest.mark.slow
def test_500_steps_of_the_forms_end_at_the_same_weights() -> None:
    arrays = drawn(SHAPES["all of them"])
    w1, w2, losses = two_layer_numpy.train(*arrays)
    assert losses[-1] < losses[0] / 1e9
    for module in (two_layer_torch, two_layer_autograd):
        ours = module.train(*map(torch.from_numpy, arrays))
        assert np.abs(ours[0].numpy() - w1).max() <= 1e-9
        assert np.abs(ours[1].numpy() - w2).max() <= 1e-9
        np.testing.assert_allclose(ours[2], losses, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(np.float64, 2e-8, 1.2e-4), (np.float32, 1e-5, 4e-4)]
)
def test_the_figures_to_reproduce(dtype: type, low: float, high: float, seed: int) -> None:
    """Trains to the end in float64; in float32, rounding stops the loss at 1e-5 or above."""
    rng = np.random.default_rng(seed)
    x, y, w1, w2 = (
        rng.standard_normal(size).astype(dtype)
        for size in [(64, 1000), (64, 10), (1000, 100), (100, 10)]
    )
    _, _, losses = two_layer_numpy.train(x, y, w1, w2)
    assert 2.8e7 < losses[0] < 4.1e7
    assert 2e2 < losses[99] < 1e3
    assert low < losses[499] < high


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", ["linear_numpy", "two_layer_numpy", "two_layer_torch", "two_layer_autograd"]
)
def test_each_page_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*found in sys.modules"
        )  # imported by other tests before
        runpy.run_module(f"project.references.{page}", run_name="__main__")
    *losses, last = capsys.readouterr().out.splitlines()
    if page == "linear_numpy":
        assert (len(losses), last) == (10, "w = 1.9999999999965")
    else:
        steps = [int(line.split()[1].rstrip(":")) for line in [*losses, last]]
        assert steps == [0, 99, 199, 299, 399, 499]
        assert float(last.split()[-1]) < 1e-4
