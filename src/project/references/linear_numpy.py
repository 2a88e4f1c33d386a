"""Trains y = x w with one weight on points of y = 2x, the gradient by hand, in NumPy.

python -m project.references.linear_numpy
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def loss(x: Array, y: Array, w: float) -> float:
    """Returns the mean squared error of the prediction x w; x and y (N,)."""
    return float(np.mean((y - x * w) ** 2))


def gradient(x: Array, y: Array, w: float) -> float:
    """Returns d loss / d w = -2 · mean((y - x w) x)."""
    return float(-2 * np.mean((y - x * w) * x))


def train(x: Array, y: Array, lr: float = 0.1, epochs: int = 10) -> tuple[float, list[float]]:
    """Does gradient descent from w = 0; returns the last w, and the loss before each update."""
    w = 0.0
    losses = []
    for _ in range(epochs):
        losses.append(loss(x, y, w))
        w -= lr * gradient(x, y, w)
    return w, losses


if __name__ == "__main__":
    w, losses = train(x=np.array([1.0, 2.0, 3.0]), y=np.array([2.0, 4.0, 6.0]))
    for epoch, value in enumerate(losses):
        print(f"epoch {epoch}: loss {value:.4g}")
    print(f"w = {w:.13f}")
