"""Values that are tried before a run, with what stands for its parameters and its length."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR

from engine import SupervisedModule, TensorDataModule, UserError
from engine.checks.config import try_update
from engine.checks.fit import fit_to
from engine.config.resolved import Config
from ways import Points

GROUPED = f"{__name__}.Grouped"
PLAIN = "engine.SupervisedModule"


class Grouped(SupervisedModule):
    """Has one group for matrices, and another for the rest."""

    def configure_optimizers(self) -> Any:
        matrices = [one for one in self.parameters() if one.ndim == 2]
        others = [one for one in self.parameters() if one.ndim != 2]
        return self.optimizer([{"params": matrices, "is_matrix": True}, {"params": others}])


class ForGroups(SGD):
    """Takes groups that say which of them has matrices."""

    def __init__(self, params: Any, lr: float) -> None:
        if lr > 1:
            raise ValueError(f"lr must be at most 1, not {lr}")
        super().__init__(params, lr)
        if "is_matrix" not in self.param_groups[0]:
            raise ValueError("a group needs is_matrix")


class ForFirst(SGD):
    """Looks at the first of its groups before it makes any."""

    def __init__(self, params: Any, lr: float) -> None:
        if lr > 1:
            raise ValueError(f"lr must be at most 1, not {lr}")
        super().__init__(params if len(params) > 1 else params[0]["params"], lr)


def warm_up(optimizer: Optimizer, rates: Callable[[str, int], float], steps: int) -> Any:
    if steps < 0:
        raise ValueError("steps must be 0 or more")
    if steps > rates("step", 1):
        raise ValueError(f"steps={steps} is longer than the training")
    return ExponentialLR(optimizer, 0.9)


def two(optimizer: Optimizer, rates: Callable[[str, int], float]) -> Any:
    return LambdaLR(optimizer, [lambda epoch: 0.9, lambda epoch: 0.5])


def config(optimizer: dict[str, Any], scheduler: Any = None, module: str = PLAIN) -> Config:
    partial = {"_partial_": True}
    return Config(
        {
            "module": {"_target_": module},
            "optimizer": {**optimizer, **partial},
            "scheduler": scheduler and {**scheduler, **partial},
            "trainer": {"max_epochs": 1000, "max_steps": -1},
        }
    )


OF_SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}
OF_MUON = {"_target_": "torch.optim.Muon", "lr": 0.1}
OF_GROUPS = {"_target_": f"{__name__}.ForGroups", "lr": 0.1}
OF_FIRST = {"_target_": f"{__name__}.ForFirst", "lr": 0.1}
OF_RATES = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": [0.1, 0.2]}
OF_TWO = {"_target_": f"{__name__}.two"}
OF_WARM_UP = {"_target_": f"{__name__}.warm_up", "steps": 500}


@pytest.mark.parametrize(
    "right",
    [
        pytest.param(config(OF_MUON), id="for matrices only"),
        pytest.param(config(OF_GROUPS), id="for groups only"),
        pytest.param(config(OF_FIRST, module=GROUPED), id="for lists only"),
        pytest.param(
            config(OF_SGD, {**OF_RATES, "total_steps": 9}, GROUPED), id="a rate for each group"
        ),
        pytest.param(config(OF_SGD, OF_TWO, GROUPED), id="a function for each group"),
        pytest.param(config(OF_SGD, OF_WARM_UP), id="a length of its own"),
    ],
)
def test_what_stands_for_others_is_no_mistake_of_the_users(right: Config) -> None:
    try_update(right)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (config({**OF_MUON, "lr": -1.0}), "optimizer: Learning rate should be >= 0 but is: -1.0"),
        (config({**OF_GROUPS, "lr": 2.0}), "optimizer: lr must be at most 1, not 2.0"),
        (
            config({**OF_FIRST, "lr": 2.0}, None, GROUPED),
            "optimizer: lr must be at most 1, not 2.0",
        ),
        (
            config(
                OF_SGD, {**OF_RATES, "max_lr": 0.1, "total_steps": 9, "pct_start": 2.0}, GROUPED
            ),
            "scheduler: Expected float between 0 and 1 pct_start, but got 2.0",
        ),
        (
            config({**OF_SGD, "fused": True, "foreach": True}),
            "optimizer: `fused` and `foreach` cannot be `True` together.",
        ),
        (
            config(OF_SGD, {**OF_RATES, "total_steps": 9}),
            "scheduler: max_lr must have the same length as optimizer.param_groups. "
            "max_lr has 2 values, param_groups has 1.",
        ),
        (config(OF_SGD, {**OF_WARM_UP, "steps": -1}), "scheduler: steps must be 0 or more"),
    ],
)
def test_a_wrong_value_is_found_before_anything_large_is_made(wrong: Config, says: str) -> None:
    with pytest.raises(UserError) as error:
        try_update(wrong)
    assert str(error.value).splitlines()[0] == says


def test_an_optimiser_is_tried_on_what_the_module_gives_it() -> None:
    """As it happened: an optimiser of matrices was refused the biases that it does not get."""

    def made(kind: type[SupervisedModule]) -> SupervisedModule:
        def optimizer(groups: Any) -> Optimizer:
            return ForGroups(groups, lr=0.1)

        return kind(nn.Linear(3, 1), nn.MSELoss(), optimizer=optimizer)

    data: TensorDataModule = Points(seed=0, batch_size=5)
    fit_to(made(Grouped), data)
    with pytest.raises(UserError, match=r"^optimizer: a group needs is_matrix"):
        fit_to(made(SupervisedModule), data)
