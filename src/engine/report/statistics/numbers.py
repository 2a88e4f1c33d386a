"""Writes numbers as people read them: metrics and settings with four significant digits."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

ROUNDING = 8 * float(np.finfo(np.float32).eps)  # relative: of metrics that are equal otherwise


def metric(value: float) -> str:
    """Writes a metric with four significant digits."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def setting(value: Any) -> str:
    """Writes the value of a key: a fraction with four significant digits, all else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def settings(values: Sequence[Any]) -> list[str]:
    """Writes the values of a key, with as many digits as tell them apart."""
    texts = [setting(value) for value in values]
    if len(set(texts)) < len(set(values)):
        texts = [repr(float(value)) if isinstance(value, float) else str(value) for value in values]
    return texts


def mean(value: float, half_width: float) -> str:
    """Writes a mean with its interval's half width, to two digits of that: `0.967 ± 0.018`.

    Values without spread have no interval that means anything: `0.1 (all equal)`. Beside a tiny
    half width the mean has four digits: `2.303 ± 2.5e-05`.
    """
    if math.isnan(half_width):
        return metric(value)
    if math.isinf(half_width):  # of values whose squares no number can hold
        return f"{metric(value)} ± ∞"
    if half_width <= 1e-9 * abs(value):
        return f"{metric(value)} (all equal)"
    if half_width < 1e-4 * abs(value):
        return f"{metric(value)} ± {half_width:.2g}"
    return " ± ".join(_rounded([value, half_width], half_width))


def difference(value: float, low: float, high: float) -> str:
    """Writes a difference with its interval: `−0.863 (CI −0.892 to −0.834)`."""
    values = [value, low, high]
    texts = _rounded(values, (high - low) / 2, "+")
    if any(number and float(text) == 0 for number, text in zip(values, texts, strict=True)):
        texts = [f"{number:+.2g}" for number in values]  # what is beside zero keeps its sign
    return signed(f"{texts[0]} (CI {texts[1]} to {texts[2]})")


def signed(text: str) -> str:
    """Writes minus signs for hyphens."""
    return text.replace("-", "−")


def _rounded(values: Sequence[float], half_width: float, sign: str = "") -> list[str]:
    """Writes numbers that are known to within a half width, to two digits of that.

    They have exponents where they would have many digits.
    """
    if not math.isfinite(half_width):
        return [f"{value:{sign}.4g}" for value in values]
    decimals = 1 - math.floor(math.log10(half_width))
    if decimals <= 6 and all(abs(value) < 1e6 for value in values):
        return [f"{value:{sign}.{max(0, decimals)}f}" for value in values]
    digits = [math.floor(math.log10(abs(value))) + decimals if value else 0 for value in values]
    return [f"{v:{sign}.{max(0, own)}e}" for v, own in zip(values, digits, strict=True)]


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


def listed(words: list[str], longest: int = 10) -> tuple[str, ...]:
    """Returns the first words, and how many more there are."""
    more = len(words) - longest
    return (*words[:longest], *([f"and {more:,} more"] if more > 0 else []))
