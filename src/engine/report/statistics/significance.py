"""Tests which groups differ from the best one: paired t-tests over common seeds, Holm-corrected."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

# Verdicts on a group, beside the best one.
BEST, WORSE, BETTER, NOISE = "best", "worse", "better at common seeds", "within noise"
SAME, CONSTANT, UNTESTED = "same values", "constant difference", "not tested"
NOTHING = "no value"


def compare(
    rows: pd.DataFrame, groups: pd.DataFrame, unit: Sequence[str], mode: str, alpha: float
) -> pd.DataFrame:
    """Compares each group with the first one, the best.

    Returns one row per group: verdict, common (the number of pairs), difference (the group less the
    best), diff_low and diff_high (its interval of level 1 - alpha), p (two-sided) and p_holm
    (corrected over all the tests that could be made, Holm 1979).

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
    tests = pd.DataFrame([_test(paired, names[0], name, alpha) for name in names], index=names)
    tests["p_holm"] = np.nan
    if (tested := tests["p"].notna()).any():
        differs, corrected, *_ = multipletests(tests.loc[tested, "p"], alpha=alpha, method="holm")
        worse = (tests.loc[tested, "difference"] < 0) == (mode == "max")
        tests.loc[tested, "p_holm"] = corrected
        tests.loc[tested, "verdict"] = np.where(differs, np.where(worse, WORSE, BETTER), NOISE)
    return tests


def pairs(rows: pd.DataFrame, unit: Sequence[str]) -> pd.DataFrame:
    """Returns the values as a table: a row per pair, a column per group."""
    valued = rows[rows["value"].notna()]
    means = valued.groupby(["group", *unit], dropna=False, sort=False)["value"].mean()
    return means.unstack("group") if unit else means.to_frame().T


def _test(paired: pd.DataFrame, best: int, group: int, alpha: float) -> dict[str, object]:
    """Tests one group beside the best; `p` is NaN where there is nothing to test."""
    if group not in paired or best not in paired:
        return {"verdict": NOTHING, "common": 0, "p": np.nan}
    both = paired[[best, group]].dropna().to_numpy() if group != best else np.empty((0, 2))
    differences = both[:, -1] - both[:, 0]
    mean = float(np.mean(differences)) if len(both) else np.nan
    found = {"common": len(both), "difference": mean, "p": np.nan}
    if group == best:
        return {"verdict": BEST, **found}
    if len(both) < 2:
        return {"verdict": UNTESTED, **found}
    if np.ptp(differences) <= 1e-12 * np.abs(both).max():  # no spread: t would be infinite or 0/0
        same = np.allclose(both[:, 0], both[:, 1], rtol=1e-12, atol=0)
        return {"verdict": SAME if same else CONSTANT, **found}
    result = stats.ttest_rel(both[:, 1], both[:, 0])
    low, high = result.confidence_interval(1 - alpha)
    return {**found, "verdict": NOISE, "p": result.pvalue, "diff_low": low, "diff_high": high}
