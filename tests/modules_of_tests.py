"""Modules that no experiment has."""

from typing import Any

from torch import nn

from project.modules.curve_mlp import CurveMLP


class WithDropout(CurveMLP):
    """A CurveMLP that draws random numbers at every step."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.network.insert(1, nn.Dropout(0.5))  # type: ignore[operator]
