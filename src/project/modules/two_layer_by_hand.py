"""Defines the two-layer ReLU regressor without biases, its gradient by hand or by autograd."""

from collections import OrderedDict
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from engine import Count, StepOptions, SupervisedModule, UserError
from project.references import two_layer_numpy, two_layer_torch


class TwoLayerByHand(SupervisedModule):
    """Predicts y = max(x w1, 0) w2 by linear -> ReLU -> linear, without biases.

    x (N, in_features) -> (N, out_features). Squared error summed over batch and outputs, targets
    (N, out_features). By hand, autograd records nothing: the optimiser receives the gradients that
    the pages in `project.references` compute.

    Args:
        gradients: "numpy" (by hand, on the CPU), "manual" (by hand, on any device) or "autograd".
    """

    def __init__(
        self,
        in_features: Count = 1000,
        hidden: Count = 100,
        out_features: Count = 10,
        gradients: Literal["numpy", "manual", "autograd"] = "manual",
        **step: Unpack[StepOptions],
    ) -> None:
        first = nn.Linear(in_features, hidden, bias=False)  # (N, hidden)
        second = nn.Linear(hidden, out_features, bias=False)  # (N, out_features)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            linear1=first, relu1=nn.ReLU(), output=second
        )
        network = nn.Sequential(layers)
        super().__init__(network, loss=nn.MSELoss(reduction="sum"), **step)
        if gradients not in (*BY_HAND, "autograd"):
            known = ", ".join([*BY_HAND, "autograd"])
            raise UserError(f"module.gradients={gradients}: must be one of: {known}.")
        self.gradients = gradients
        self.weights = first.weight, second.weight  # (hidden, in_features), (out_features, hidden)

    def setup(self, stage: str) -> None:
        """Refuses a Trainer whose gradients the pages cannot compute."""
        inexact = str(self.trainer.precision) not in ("32-true", "64-true")
        if self.gradients != "autograd" and (inexact or self.trainer.world_size > 1):
            wrong = f"trainer.precision={self.trainer.precision}" if inexact else "several devices"
            raise UserError(
                f"module.gradients={self.gradients}: by hand does not go with {wrong}. "
                "Use module.gradients=autograd."
            )

    def compute_loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (loss, predictions), and keeps the batch for `backward`."""
        self._batch = inputs, targets
        with torch.set_grad_enabled(self.gradients == "autograd"):
            return super().compute_loss(inputs, targets)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Adds the batch's gradient to each weight's `grad`; Lightning calls this method."""
        if self.gradients == "autograd":
            super().backward(loss, *args, **kwargs)
            return
        # nn.Linear keeps its weight as (outputs, inputs); the pages take (inputs, outputs).
        w1, w2 = (weight.detach().T for weight in self.weights)
        by_hand = BY_HAND[self.gradients](*self._batch, w1, w2)
        for weight, gradient in zip(self.weights, by_hand, strict=True):
            share = gradient.T.contiguous() / self.trainer.accumulate_grad_batches
            weight.grad = share if weight.grad is None else weight.grad + share


def _numpy(*tensors: Tensor) -> tuple[Tensor, Tensor]:
    x, y, w1, w2 = (tensor.cpu().numpy() for tensor in tensors)
    _, grad_w1, grad_w2 = two_layer_numpy.gradients(x, y, w1, w2)
    device = tensors[0].device
    return torch.from_numpy(grad_w1).to(device), torch.from_numpy(grad_w2).to(device)


def _manual(*tensors: Tensor) -> tuple[Tensor, Tensor]:
    _, grad_w1, grad_w2 = two_layer_torch.gradients(*tensors)
    return grad_w1, grad_w2


BY_HAND = {"numpy": _numpy, "manual": _manual}
