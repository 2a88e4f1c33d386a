"""What a run says of its data and its model before it begins."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from engine.run import build
from engine.supervised import SupervisedModule
from fitting import Arrays, plain_trainer
from project import init


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (1, "2 weights as PyTorch drew them: 1.weight_ih_l0, 1.weight_hh_l0"),
        (
            3,
            "6 weights as PyTorch drew them: 1.weight_ih_l0, 1.weight_hh_l0, 1.weight_ih_l1, "
            "1.weight_hh_l1, 1.weight_ih_l2, …",
        ),
    ],
)
def test_a_line_names_the_weights_that_init_leaves(layers: int, said: str, tmp_path: Path) -> None:
    x = np.ones((4, 2), dtype=np.float32)
    data = Arrays({"train": (x, x), "val": (x, x)})
    network = nn.Sequential(nn.Linear(2, 2), nn.RNN(2, 2, layers))
    model = SupervisedModule(network, nn.MSELoss(), init=partial(init.he, seed=0))
    data_line, model_line, *others = build.describe(
        plain_trainer(tmp_path), model, data
    ).splitlines()
    assert data_line == "data: Arrays, 4 train, 4 val samples"
    assert model_line.startswith(f"model: SupervisedModule, {6 + 12 * layers} parameters, on ")
    assert others == [f"init: leaves {said}"]


@pytest.mark.parametrize(("network", "is_new"), [(nn.Linear(2, 2), True), (nn.RNN(2, 2), False)])
def test_nothing_is_said_where_init_fills_all_or_other_weights_are_loaded(
    network: nn.Module, is_new: bool, tmp_path: Path
) -> None:
    x = np.ones((4, 2), dtype=np.float32)
    model = SupervisedModule(network, nn.MSELoss(), init=partial(init.he, seed=0))
    says = build.describe(plain_trainer(tmp_path), model, Arrays({"train": (x, x)}), is_new)
    assert "init" not in says
