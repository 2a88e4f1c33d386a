"""Leaves the tests of this folder out where the user's `train(run)` was edited."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _door_is_the_shipped_one() -> None:
    """Skips: jobs of an edited function train one by one. The shipped one is in `make template`."""
    from engine.vectorized.eligible import is_edited
    from project.train import train

    if is_edited(train.train):
        pytest.skip("train(run) was edited, so jobs train one by one")
