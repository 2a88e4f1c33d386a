"""Which groups differ from the best by more than noise: paired t-tests over common seeds, Holm-corrected."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

BEST, WORSE, BETTER, NOISE = "best", "worse", "better at common seeds", "within noise"
SAME, CONSTANT, UNTESTED, NOTHING = "same values", "constant difference", "not tested", "no value"


def compare(rows: pd.DataFrame, groups: pd.DataFrame, unit: Sequence[str], mode: str, alpha: float) -> pd.DataFrame:
    """Each group beside the first one, the best: verdict, common, difference, diff_low, diff_high, p, p_holm.

    Runs are paired that agree in `unit`: seed and fold, and the keys that differ within groups; several runs of a group
    that agree in all of them count once, with their mean. A difference is the group's value less the best's.
    `p` is two-sided; Holm's correction is over all the tests that could be made.
    """
    paired = pairs(rows, unit)
    tests = pd.DataFrame([_test(paired, groups.index[0], group, alpha) for group in groups.index], index=groups.index)
    tests["p_holm"] = np.nan
    if (made := tests["p"].notna()).any():
        rejected, corrected, _, _ = multipletests(tests.loc[made, "p"], alpha=alpha, method="holm")
        tests.loc[made, "p_holm"] = corrected
        worse = (tests.loc[made, "difference"] < 0) == (mode == "max")
        tests.loc[made, "verdict"] = np.where(rejected, np.where(worse, WORSE, BETTER), NOISE)
    return tests


def pairs(rows: pd.DataFrame, unit: Sequence[str]) -> pd.DataFrame:
    """Values by what makes a pair (rows) and group (columns)."""
    valued = rows[rows["value"].notna()]
    means = valued.groupby(["group", *unit], dropna=False, sort=False)["value"].mean()
    return means.unstack("group") if unit else means.to_frame().T


def _test(paired: pd.DataFrame, best: int, group: int, alpha: float) -> dict[str, object]:
    """One group beside the best; without `p` where there is nothing to test."""
    if group not in paired or best not in paired:
        return {"verdict": NOTHING, "common": 0, "p": np.nan}
    both = paired[[best, group]].dropna().to_numpy() if group != best else np.empty((0, 2))
    a, b = both[:, 0], both[:, -1]
    found = {"common": len(both), "difference": float(np.mean(b - a)) if len(both) else np.nan, "p": np.nan}
    if group == best:
        return {"verdict": BEST, **found}
    if len(both) < 2:
        return {"verdict": UNTESTED, **found}
    if np.ptp(b - a) <= 1e-12 * np.abs(both).max():  # no spread at all: t would be 0/0 or infinite
        return {"verdict": SAME if np.allclose(a, b, rtol=1e-12, atol=0) else CONSTANT, **found}
    result = stats.ttest_rel(b, a)
    low, high = result.confidence_interval(1 - alpha)
    return {**found, "verdict": NOISE, "p": result.pvalue, "diff_low": low, "diff_high": high}
