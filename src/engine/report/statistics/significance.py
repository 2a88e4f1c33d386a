"""Tests which groups differ from the best one: paired t-tests over common seeds, Holm-corrected."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # all that a report needs of scipy.stats

from engine.report.statistics.numbers import ROUNDING

# Verdicts on a group, beside the best one.
BEST, WORSE, BETTER = "best", "worse", "better at common seeds"
NOISE, TIE = "not shown to differ", "same curve"
SAME, CONSTANT, UNTESTED = "same values", "constant difference", "not tested"
NOTHING = "no value"


@np.errstate(over="ignore")  # a spread that no number can hold is infinite, and so is an interval
def compare(
    rows: pd.DataFrame, groups: pd.DataFrame, unit: Sequence[str], mode: str, alpha: float
) -> pd.DataFrame:
    """Compares each group with the first one, the best.

    Returns one row per group: verdict, common (the number of pairs), difference (the group less the
    best), diff_low and diff_high (its interval), p (two-sided) and p_holm (corrected over all the
    tests that could be made, Holm 1979). The interval has the level at which Holm's method tests
    the difference, so that it leaves out zero exactly where the difference is shown.

    Args:
        rows: one per run.
        groups: the best first.
        unit: the columns that the runs of a pair agree in: seed, fold, and the keys that differ
            within groups. Runs of a group that agree in all of them count once, by their mean.
        mode: `min` or `max`, whichever is better.
        alpha: the level of the tests.
    """
    paired = pairs(rows, unit).reindex(columns=groups.index).astype(float)
    best = paired.iloc[:, 0]
    differences = paired.iloc[:, 1:].sub(best, axis="index")
    common = differences.count().reindex(groups.index, fill_value=0)
    tests = pd.DataFrame({"common": common, "difference": differences.mean()}, index=groups.index)
    tests["verdict"] = _untested(paired, differences).reindex(groups.index).fillna(BEST)
    tests.loc[paired.isna().all() | best.isna().all(), "verdict"] = NOTHING
    tests = tests.assign(p=np.nan, p_holm=np.nan, diff_low=np.nan, diff_high=np.nan)
    tested = tests.index[tests["verdict"] == NOISE]
    if len(tested):
        some = differences[tested]
        sem = some.sem()
        free = some.count() - 1  # degrees of freedom
        p = 2 * stdtr(free, -(some.mean() / sem).abs()).to_numpy()
        corrected = corrected_by_holm(p)
        differs = corrected <= alpha
        worse = (some.mean() < 0) == (mode == "max")
        tests.loc[tested, "p"] = p
        tests.loc[tested, "p_holm"] = corrected
        tests.loc[tested, "verdict"] = np.where(differs, np.where(worse, WORSE, BETTER), NOISE)
        levels = levels_of_holm(p, int(differs.sum()), alpha)
        half = sem * stdtrit(free, 1 - levels / 2)
        tests.loc[tested, "diff_low"] = some.mean() - half
        tests.loc[tested, "diff_high"] = some.mean() + half
    return tests


def corrected_by_holm(p: np.ndarray) -> np.ndarray:
    """Returns p-values corrected over all of them (Holm 1979).

    The i-th smallest of m, counted from 0, is multiplied by m - i; none gets less than a smaller
    one, and none more than 1.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(stepped)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def levels_of_holm(p: np.ndarray, rejected: int, alpha: float) -> np.ndarray:
    """Returns the level at which Holm's method tests each of several hypotheses.

    The smallest p of m is tested at alpha / m, the next at alpha / (m - 1), and so on; the method
    stops at the first that it cannot reject, and all that are left share that level.
    """
    steps = np.argsort(np.argsort(p, kind="stable"))
    return np.asarray(alpha / (len(p) - np.minimum(steps, rejected)))


def pairs(rows: pd.DataFrame, unit: Sequence[str]) -> pd.DataFrame:
    """Returns the values as a table: a row per pair, a column per group."""
    valued = rows[rows["value"].notna()]
    means = valued.groupby(["group", *unit], dropna=False, sort=False)["value"].mean()
    return means.unstack("group") if unit else means.to_frame().T


def _untested(paired: pd.DataFrame, differences: pd.DataFrame) -> pd.Series:
    """Returns what can be said of each group without a test; NOISE for what needs one."""
    both = paired[differences.columns].where(differences.notna())
    largest = np.maximum(both.abs().max(), paired.iloc[:, 0].abs().max())
    spread = differences.max() - differences.min()
    # Metrics are mostly numbers of float32, of which two differences of equal size differ in it.
    same = differences.abs().max() <= ROUNDING * largest
    return pd.Series(
        np.select(
            # Without spread, t would be infinite or 0/0.
            [differences.count() < 2, same, spread <= ROUNDING * largest],
            [UNTESTED, SAME, CONSTANT],
            NOISE,
        ),
        differences.columns,
        dtype=object,
    )
