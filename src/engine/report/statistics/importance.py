"""Tells which keys of a search matter: the share of the spread that each explains (fANOVA)."""

import importlib.util
from typing import Any

import pandas as pd

from engine.report.statistics.content import Content

FEWEST = 10  # trials that count; of fewer, an importance says nothing
WIDE = 20.0  # from so many times the lowest on, a number was searched by its logarithm


def is_scale(values: pd.Series) -> bool:
    """Tells whether all values of a key are numbers, and not all the same."""
    plain = [isinstance(value, int | float) for value in values]
    return all(plain) and values.nunique() > 1


def is_log(values: pd.Series) -> bool:
    """Tells whether numbers are so far apart that their axis is logarithmic."""
    low = values.min()
    high = values.max()
    return bool(low > 0 and high > WIDE * low)


def importances(content: Content) -> dict[str, float]:
    """Returns the importance of each key, the greatest first; they add up to 1.

    It is Optuna's functional ANOVA over a random forest (Hutter et al. 2014). Nothing is returned
    without Optuna, or for too few trials.
    """
    valued = content.valued
    keys = [key for key in content.keys if valued[key].nunique() > 1]
    if len(valued) < FEWEST or len(keys) < 2 or importlib.util.find_spec("optuna") is None:
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    space = {key: _distribution(valued[key]) for key in keys}
    params = {
        key: valued[key].map(str if hasattr(own, "choices") else float)
        for key, own in space.items()
    }
    means = valued["mean"].clip(-1e30, 1e30)
    for own, value in zip(pd.DataFrame(params).to_dict("records"), means, strict=True):
        study.add_trial(
            optuna.trial.create_trial(params=own, distributions=space, value=float(value))
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _distribution(values: pd.Series) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not is_scale(values):
        return CategoricalDistribution(sorted({str(value) for value in values}))
    return FloatDistribution(float(values.min()), float(values.max()), log=is_log(values))
