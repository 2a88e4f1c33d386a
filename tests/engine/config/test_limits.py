"""The limits of values: what is inside, how they read, and that conf/ keeps to them."""

import math
import re
from collections.abc import Iterator

import pytest
from omegaconf import OmegaConf

from commands import CONF
from engine.config.limits import COUNT, LIMITS, POSITIVE, Limit

COUNT_OR_NULL = Limit(whole=True, low=1, words=(None,))
COUNT_OR_AUTO = Limit(whole=True, low=1, words=("auto",))
FRACTION = Limit(whole=False, low=0, high=1, open_high=True)
SEED = Limit(whole=True, low=0, high=9)
INNER = Limit(whole=False, low=0, high=1, open_low=True, open_high=True)


@pytest.mark.parametrize(
    ("limit", "inside", "outside"),
    [
        pytest.param(COUNT, [1, 2, 10**400], [0, -1, 1.0, 2.5, True, None, "1", "abc", [1], math.inf], id="count"),
        pytest.param(FRACTION, [0, 0.0, 0.999], [1, 1.0, -1e-9, math.nan, math.inf, True, None, "0.5"], id="fraction"),
        pytest.param(POSITIVE, [1e-30, 1, 1e30], [0, 0.0, -1, math.nan, math.inf, True, None, "auto"], id="positive"),
        pytest.param(INNER, [1e-9, 0.5, 1 - 1e-9], [0, 1, 0.0, 1.0], id="open at both ends"),
        pytest.param(SEED, [0, 9], [-1, 10, 3.0], id="closed at both ends"),
        pytest.param(COUNT_OR_NULL, [1, None], [0, "null", "None", False], id="or null"),
        pytest.param(COUNT_OR_AUTO, [1, "auto"], [0, "Auto", "automatic", None, True], id="or a word"),
    ],
)  # fmt: skip
def test_inside_and_outside(limit: Limit, inside: list[object], outside: list[object]) -> None:
    assert [value for value in inside if value not in limit] == []
    assert [value for value in outside if value in limit] == []


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (COUNT, "a whole number from 1"),
        (FRACTION, "a number from 0 below 1"),
        (POSITIVE, "a number above 0"),
        (INNER, "a number above 0 below 1"),
        (LIMITS["seed"], "a whole number from 0 to 4294967295"),
        (COUNT_OR_NULL, "a whole number from 1 or null"),
        (COUNT_OR_AUTO, "a whole number from 1 or auto"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_reads(limit: Limit, text: str) -> None:
    assert str(limit) == text


def test_conf_keeps_to_the_limits() -> None:
    given = list(given_in_conf())
    assert [
        (file, key, value)
        for file, key, value in given
        if key in LIMITS and value not in LIMITS[key]
    ] == []
    assert (
        LIMITS.keys() - {key for _, key, _ in given} == set()
    )  # a limit of a key that does not exist limits nothing


def given_in_conf() -> Iterator[tuple[str, str, object]]:
    """Every (file, dotted key, value) in conf/; an interpolation's value is given elsewhere."""
    for path in CONF.rglob("*.yaml"):
        package = re.match(r"# @package (\w+)", path.read_text())
        prefix = (
            package[1].replace("_global_", "")
            if package
            else path.parent.name * (path.parent != CONF)
        )
        for key, value in flat(prefix, OmegaConf.to_container(OmegaConf.load(path))):
            yield path.name, key, 1 if isinstance(value, str) and value.startswith("${") else value


def flat(prefix: str, values: object) -> Iterator[tuple[str, object]]:
    if not isinstance(values, dict):
        yield prefix, values
        return
    for key, value in values.items():
        yield from flat(f"{prefix}.{key}" if prefix else key, value)
