"""Module and data have to fit together."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from engine.checks.fit import check_classes, fit_to
from engine.errors import UserError
from engine.supervised import SupervisedModule
from fitting import Arrays


@pytest.mark.parametrize(
    ("names", "number", "says"),
    [
        (["cat", "dog"], 2, None),
        (["cat"], None, None),
        (None, 7, None),
        (
            ["cat", "dog"],
            3,
            "module.num_classes=3: SimpleNamespace has 2 classes; set module.num_classes=2.",
        ),
        (
            ["cat"],
            1,
            "SimpleNamespace has one class only, cat: a classifier, with module.num_classes, "
            "needs two or more.",
        ),
    ],
    ids=["two", "one without a classifier", "unknown", "another number", "one"],
)
def test_a_classifier_is_for_the_classes_of_the_data(
    names: list[str] | None, number: int | None, says: str | None
) -> None:
    config: Any = {"module": {} if number is None else {"num_classes": number}}
    data: Any = SimpleNamespace(class_names=names)
    if says is None:
        check_classes(config, data)
        return
    with pytest.raises(UserError) as raised:
        check_classes(config, data)
    assert str(raised.value) == says


class Shifts(nn.Module):
    """Works in place on its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(0.25)


def test_a_network_that_works_in_place_changes_no_sample() -> None:
    """As it happened: the first sample of training was another one from then on."""
    samples = np.ones((4, 3), np.float32)
    data = Arrays({"train": (samples, samples)})
    module = SupervisedModule(nn.Sequential(Shifts(), nn.Linear(3, 3)), nn.MSELoss())
    fit_to(module, data)
    assert data.splits["train"].inputs.eq(1).all()
