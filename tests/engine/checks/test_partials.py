"""Choices that a module takes and does not use."""

from typing import Any

import pytest

from engine.checks.partials import check_partials
from engine.config.resolved import Config
from engine.errors import UserError


@pytest.mark.parametrize(
    ("group", "call"),
    [
        ("optimizer", "Call self.optimizer(self.parameters()) in configure_optimizers"),
        (
            "scheduler",
            "Return self.scheduled(optimizer) from configure_optimizers of a SupervisedModule",
        ),
        ("init", "Call self.init(self.network) in __init__"),
    ],
)
def test_a_refusal_says_how_each_is_called(group: str, call: str) -> None:
    """As it happened: it said to call a scheduler with parameters, which no scheduler takes."""
    partial: Any = type("Partial", (), {"called": False})()
    config = Config({}, {f"module.{group}": f"${{{group}}}"}, [f"{group}=mine"])
    with pytest.raises(UserError) as raised:
        check_partials({group: partial}, config, "Transfer")
    assert str(raised.value).splitlines() == [
        f"{group}=mine: Transfer takes {group} and never calls it, so this would change nothing.",
        f"{call}, or leave it out.",
    ]
    partial.called = True
    check_partials({group: partial}, config, "Transfer")
