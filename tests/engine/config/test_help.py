"""The help text names what there is."""

from commands import CONF
from engine.config import help
from project.train import train


def test_lists_every_file_of_every_group() -> None:
    train.open()
    lines = help.text([], CONF, "project.train").splitlines()
    for folder in (path for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"):
        assert (
            f"{folder.name}: {', '.join(sorted(path.stem for path in folder.iterdir()))}" in lines
        )


def test_shows_the_values_that_the_overrides_give() -> None:
    train.open()
    assert (
        "  slope: 2.5"
        in help.text(
            ["experiment=linear", "datamodule.slope=2.5", "--help"], CONF, "project.train"
        ).splitlines()
    )


def test_asked_for() -> None:
    assert help.is_asked_for(["experiment=lenet", "-h"])
    assert help.is_asked_for(["--help"])
    assert not help.is_asked_for(["--hydra-help", "experiment=help"])
