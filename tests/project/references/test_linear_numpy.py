"""Linear regression by hand: the figures to reproduce, and the closed form."""

import numpy as np
import pytest

from project.references import linear_numpy

X, Y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])


def test_the_figures_to_reproduce() -> None:
    w, losses = linear_numpy.train(X, Y)
    assert w == pytest.approx(1.9999999999965, abs=5e-14)
    assert losses[:3] == pytest.approx([18.667, 0.08296, 3.687e-4], rel=1e-4)
    assert len(losses) == 10


def test_weight_of_the_closed_form() -> None:
    """The error shrinks by 1 - 2 · lr · mean(x²) a step."""
    w, losses = linear_numpy.train(X, Y, lr=0.05, epochs=7)
    factor = 1 - 2 * 0.05 * np.mean(X**2)
    assert w == pytest.approx(2 - 2 * factor**7, rel=1e-13)
    assert losses == pytest.approx(
        [np.mean(X**2) * (2 * factor**k) ** 2 for k in range(7)], rel=1e-12
    )


@pytest.mark.parametrize("w", [-1.5, 0.0, 2.0, 7.25])
def test_gradient_is_the_finite_difference(w: float) -> None:
    x, y = np.array([0.5, -2.0]), np.array([1.0, 3.0])
    slope = (linear_numpy.loss(x, y, w + 1e-4) - linear_numpy.loss(x, y, w - 1e-4)) / 2e-4
    assert linear_numpy.gradient(x, y, w) == pytest.approx(slope, rel=1e-9)
