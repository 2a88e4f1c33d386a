"""Tests which groups differ from the best one: paired t-tests over common seeds, Holm-corrected."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

# Verdicts on a group, beside the best one.
BEST, WORSE, BETTER = "best", "worse", "better at common seeds"
NOISE, TIE = "not shown to differ", "same curve"
SAME, CONSTANT, UNTESTED = "same values", "constant difference", "not tested"
NOTHING = "no value"


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
    paired = pairs(rows, unit)
    names = groups.index
    both = {name: _both(paired, names[0], name) for name in names}
    tests = pd.DataFrame([_found(name == names[0], both[name]) for name in names], index=names)
    tests.loc[~names.isin(paired.columns), "verdict"] = NOTHING
    tests["common"] = [len(both[name]) for name in names]
    tests = tests.assign(p=np.nan, p_holm=np.nan, diff_low=np.nan, diff_high=np.nan)
    tested = tests.index[tests["verdict"] == NOISE]
    if len(tested):
        results = [stats.ttest_rel(both[name][:, 1], both[name][:, 0]) for name in tested]
        tests.loc[tested, "p"] = [result.pvalue for result in results]
        differs, corrected, *_ = multipletests(tests.loc[tested, "p"], alpha=alpha, method="holm")
        tests.loc[tested, "p_holm"] = corrected
        worse = (tests.loc[tested, "difference"] < 0) == (mode == "max")
        tests.loc[tested, "verdict"] = np.where(differs, np.where(worse, WORSE, BETTER), NOISE)
        levels = levels_of_holm(tests.loc[tested, "p"].to_numpy(), int(differs.sum()), alpha)
        tests.loc[tested, ["diff_low", "diff_high"]] = [
            tuple(result.confidence_interval(1 - level))
            for result, level in zip(results, levels, strict=True)
        ]
    return tests


def levels_of_holm(p: np.ndarray, rejected: int, alpha: float) -> np.ndarray:
    """Returns the level at which Holm's method tests each of several hypotheses.

    The smallest p of m is tested at alpha / m, the next at alpha / (m - 1), and so on; the method
    stops at the first that it cannot reject, and all that are left share that level.
    """
    steps = stats.rankdata(p, method="ordinal") - 1
    return np.asarray(alpha / (len(p) - np.minimum(steps, rejected)))


def pairs(rows: pd.DataFrame, unit: Sequence[str]) -> pd.DataFrame:
    """Returns the values as a table: a row per pair, a column per group."""
    valued = rows[rows["value"].notna()]
    means = valued.groupby(["group", *unit], dropna=False, sort=False)["value"].mean()
    return means.unstack("group") if unit else means.to_frame().T


def _both(paired: pd.DataFrame, best: int, group: int) -> np.ndarray:
    """Returns the values (n, 2) of the best group and another where both have one."""
    if group == best or group not in paired or best not in paired:
        return np.empty((0, 2))
    return paired[[best, group]].dropna().to_numpy()


def _found(is_best: bool, both: np.ndarray) -> dict[str, Any]:
    """Returns the mean difference and the verdict that needs no test; NOISE where one is needed."""
    differences = both[:, -1] - both[:, 0]
    mean = float(np.mean(differences)) if len(both) else np.nan
    if is_best:
        return {"verdict": BEST, "difference": mean}
    if len(both) < 2:
        return {"verdict": UNTESTED, "difference": mean}
    if np.ptp(differences) <= 1e-12 * np.abs(both).max():  # no spread: t would be infinite or 0/0
        same = np.allclose(both[:, 0], both[:, 1], rtol=1e-12, atol=0)
        return {"verdict": SAME if same else CONSTANT, "difference": mean}
    return {"verdict": NOISE, "difference": mean}
