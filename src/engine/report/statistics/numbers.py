"""Writes numbers as people read them: metrics and settings with four significant digits."""

import math
from typing import Any


def metric(value: float) -> str:
    """Writes a metric with four significant digits."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def setting(value: Any) -> str:
    """Writes the value of a key: a fraction with four significant digits, all else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def mean(value: float, half_width: float) -> str:
    """Writes a mean with its interval's half width, to two digits of that: `0.967 ± 0.018`.

    Values without spread have no interval that means anything: `0.1 (all equal)`. Beside a tiny
    half width the mean has four digits: `2.303 ± 2.5e-05`.
    """
    if math.isnan(half_width):
        return metric(value)
    if half_width <= 1e-9 * abs(value):
        return f"{metric(value)} (all equal)"
    if half_width < 1e-4 * abs(value):
        return f"{metric(value)} ± {half_width:.2g}"
    digits = _format(value, half_width)
    return f"{value:{digits}} ± {half_width:{digits}}"


def difference(value: float, low: float, high: float) -> str:
    """Writes a difference with its interval: `−0.863 (CI −0.892 to −0.834)`."""
    digits = _format(value, (high - low) / 2)
    if any(number and float(f"{number:{digits}}") == 0 for number in (value, low, high)):
        digits = ".2g"  # what is beside zero keeps its sign
    return signed(f"{value:+{digits}} (CI {low:+{digits}} to {high:+{digits}})")


def signed(text: str) -> str:
    """Writes minus signs for hyphens."""
    return text.replace("-", "−")


def _format(value: float, half_width: float) -> str:
    """Returns the format of a number that is known to within a half width."""
    decimals = 1 - math.floor(math.log10(half_width))
    return f".{decimals}f" if 0 <= decimals <= 6 and abs(value) < 1e6 else ".3g"


def p(value: float) -> str:
    """Writes a p-value: `0.031`, `< 0.001`, `–` where nothing was tested."""
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Writes a duration: `0.05 s`, `17 s`, `3.5 min`, `2.1 h`."""
    if math.isnan(seconds):
        return "–"
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def count(n: int, noun: str) -> str:
    """Writes a number of things: `1 run`, `12 runs`."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def listed(words: list[str], longest: int = 10) -> tuple[str, ...]:
    """Returns the first words, and how many more there are."""
    more = len(words) - longest
    return (*words[:longest], *([f"and {more:,} more"] if more > 0 else []))
