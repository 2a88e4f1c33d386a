"""Which keys of a search matter."""

from pathlib import Path

import numpy as np
import pytest

from engine.report.statistics.importance import importances
from synthetic_runs import content_of, write_run


def test_what_the_objective_depends_on_is_important(tmp_path: Path) -> None:
    """The value is 3 x + y, with z of no effect: shares of the variance are 0.9, 0.1 and 0."""
    rng = np.random.default_rng(0)
    for number, (x, y, z) in enumerate(rng.uniform(size=(60, 3)).tolist()):
        changes = {"a.x": x, "a.y": y, "a.z": z, "sweep.trial.number": number}
        write_run(tmp_path / str(number), metrics={"val/acc": 3 * x + y}, changes=changes)
    found = importances(content_of(tmp_path))
    assert list(found) == ["a.x", "a.y", "a.z"]
    assert found["a.x"] > 0.75  # a forest of 60 trials overstates the largest
    assert found["a.z"] < 0.1
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-6)


def test_few_trials_say_nothing(tmp_path: Path) -> None:
    for number in range(5):
        changes = {"a.x": number, "a.y": -number, "sweep.trial.number": number}
        write_run(tmp_path / str(number), metrics={"val/acc": 0.1 * number}, changes=changes)
    assert importances(content_of(tmp_path)) == {}
