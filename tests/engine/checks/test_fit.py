"""Module and data have to fit together."""

from types import SimpleNamespace
from typing import Any

import pytest

from engine.checks.fit import check_classes
from engine.errors import UserError


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
