"""Makes options of searches for tests."""

from typing import Any

from engine.search.study import Options


def options(**given: Any) -> Options:
    """Returns the options of a search: the config file's with fewer random trials, or as given."""
    defaults = {
        "n_trials": 30,
        "n_jobs": 1,
        "direction": None,
        "sampler": "tpe",
        "seed": 0,
        "random_trials": 3,
        "pruner": "none",
        "pruner_trials": 5,
        "pruner_steps": 0,
        "pruner_keeps": 4,
        "storage": None,
        "study_name": None,
    }
    return Options(**{**defaults, **given})
