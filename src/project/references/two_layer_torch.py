"""Trains the two-layer ReLU regressor, the gradient still by hand, in PyTorch, on any device.

python -m project.references.two_layer_torch
"""

import torch
from torch import Tensor


def gradients(x: Tensor, y: Tensor, w1: Tensor, w2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the loss of the prediction max(x w1, 0) w2, and its gradients by the weights.

    The loss is the squared error, summed over batch and outputs.

    Args:
        x: (N, D_in)
        y: (N, D_out)
        w1: (D_in, H)
        w2: (H, D_out)

    Returns:
        loss, d loss / d w1 (D_in, H), d loss / d w2 (H, D_out)
    """
    h = x @ w1  # (N, H)
    a = h.relu()  # (N, H)
    p = a @ w2  # (N, D_out)
    loss = ((p - y) ** 2).sum()

    grad_p = 2 * (p - y)  # (N, D_out)
    grad_w2 = a.T @ grad_p  # (H, D_out)
    grad_a = grad_p @ w2.T  # (N, H)
    # At the kink, h = 0, PyTorch's ReLU takes the slope 0, and so does this page.
    grad_h = grad_a * (h > 0)  # (N, H)
    grad_w1 = x.T @ grad_h  # (D_in, H)
    return loss, grad_w1, grad_w2


def train(
    x: Tensor, y: Tensor, w1: Tensor, w2: Tensor, lr: float = 1e-6, steps: int = 500
) -> tuple[Tensor, Tensor, list[float]]:
    """Does gradient descent; returns the last weights, and the loss before each update."""
    losses = []
    for _ in range(steps):
        loss, grad_w1, grad_w2 = gradients(x, y, w1, w2)
        losses.append(float(loss))
        w1 = w1 - lr * grad_w1
        w2 = w2 - lr * grad_w2
    return w1, w2, losses


if __name__ == "__main__":
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, y = torch.randn(64, 1000, device=device), torch.randn(64, 10, device=device)
    w1, w2 = torch.randn(1000, 100, device=device), torch.randn(100, 10, device=device)
    _, _, losses = train(x, y, w1, w2)
    for step in (0, 99, 199, 299, 399, 499):
        print(f"step {step}: loss {losses[step]:.3g}")
