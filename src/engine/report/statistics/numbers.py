"""Numbers as people read them."""

import math


def metric(value: float) -> str:
    """Four significant digits."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def mean(value: float, half_width: float) -> str:
    """A mean with its interval's half width, to two digits of the width: `0.967 ± 0.018`."""
    if math.isnan(half_width) or half_width == 0:
        return metric(value) + ("" if math.isnan(half_width) else " ± 0")
    shown = _format(value, half_width)
    return f"{value:{shown}} ± {half_width:{shown}}"


def difference(value: float, low: float, high: float, level: str) -> str:
    """A difference with its interval: `−0.863 (95 % CI −0.892 to −0.834)`."""
    shown = _format(value, (high - low) / 2)
    return f"{value:+{shown}} ({level} CI {low:+{shown}} to {high:+{shown}})".replace("-", "−")


def _format(value: float, half_width: float) -> str:
    """How to write a number that is known to within a half width."""
    decimals = 1 - math.floor(math.log10(half_width))
    return f".{decimals}f" if 0 <= decimals <= 6 and abs(value) < 1e6 else ".3g"


def p(value: float) -> str:
    """`p = 0.031`, `p < 0.001`"""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def duration(seconds: float) -> str:
    """`0.05 s`, `17 s`, `3.5 min`, `2.1 h`"""
    if math.isnan(seconds):
        return "–"
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def count(n: int, noun: str) -> str:
    """`1 run`, `12 runs`"""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def listed(words: list[str], most: int = 10) -> tuple[str, ...]:
    """The first words, and how many more there are."""
    rest = len(words) - most
    return (*words[:most], *([f"and {rest:,} more"] if rest > 0 else []))
