"""Points on a line."""

import pytest

from project.datamodules.line import LineDataModule


@pytest.mark.parametrize(
    ("options", "x", "y"),
    [({}, [1, 2, 3], [2, 4, 6]), ({"samples": 2, "slope": -0.5}, [1, 2], [-0.5, -1])],
    ids=["y = 2x", "y = -x/2"],
)
def test_points_lie_on_the_line(options: dict[str, float], x: list[float], y: list[float]) -> None:
    splits = LineDataModule(seed=0, batch_size=3, **options).splits
    assert list(splits) == ["train"]
    assert splits["train"].inputs.tolist() == [[value] for value in x]
    assert splits["train"].targets.tolist() == [[value] for value in y]
