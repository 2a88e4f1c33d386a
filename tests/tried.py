"""Models of which a try shows whether jobs can train together: an evaluation, or an update."""

from typing import Any

import torch
from torch import Tensor, nn

from project.datamodules.parabola import ParabolaDataModule
from project.modules.curve_mlp import CurveMLP


class CountsEvaluations(nn.MSELoss):
    """Weighs more with each call in evaluation, which it counts in a buffer."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        if not self.training:
            self.seen.add_(1)
        return super().forward(predictions, targets) * (1 + self.seen)


class CountsOthers(CountsEvaluations):
    """Counts only the evaluations of another number of samples than 30, so that no try shows it."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        if len(predictions) == 30:
            return nn.MSELoss.forward(self, predictions, targets)
        return super().forward(predictions, targets)


class DrawsEvaluations(nn.MSELoss):
    """Adds noise in evaluation only."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        noise = 0 if self.training else torch.rand_like(predictions)
        return super().forward(predictions + noise, targets)


class HalvesEvaluations(nn.MSELoss):
    """Is half as large in evaluation, which jobs can do together."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return super().forward(predictions, targets) * (1 if self.training else 0.5)


class HasLoss(CurveMLP):
    """Has another loss.

    Args:
        kind: of the loss.
        options: of the usual module.
    """

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(**options)
        self.loss = globals()[kind]()


class StaysInEval(CurveMLP):
    """Has a layer that Lightning leaves in eval mode."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.network = nn.Sequential(self.network, nn.Dropout().eval())


class Damped(nn.Linear):
    """Gives the less, the larger the gradient of the step before was."""

    def forward(self, x: Tensor) -> Tensor:
        before = self.weight.grad
        return super().forward(x) / (1 if before is None else 1 + before.abs().mean())


class IsDamped(CurveMLP):
    """Has a layer that reads gradients."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.network = nn.Sequential(self.network, Damped(1, 1))


class UpdatesByHand(CurveMLP):
    """Takes the update from Lightning, and takes none of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = False


class Phase(nn.Module):
    """Maps (N, 1) to (N, 1) by the size of what complex weights give."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1 + 2j]], dtype=torch.cdouble))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(self.weight.dtype) @ self.weight).abs().to(x.dtype)


class IsComplex(CurveMLP):
    """Has complex weights."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.network = Phase()


class KeepsOptions(CurveMLP):
    """Saves its hyper-parameters, without which no checkpoint says how wide its layers are."""

    def __init__(self, hidden: int = 10, **options: Any) -> None:
        super().__init__(hidden=hidden, **options)
        self.save_hyperparameters("hidden")


class KeepsFolds(ParabolaDataModule):
    """Saves its hyper-parameters, too."""

    def __init__(self, folds: int = 0, **options: Any) -> None:
        super().__init__(folds=folds, **options)
        self.save_hyperparameters("folds")
