"""The help text names what there is."""

import re

import pytest

from commands import CONF
from engine.config.help import asks_for_help, help_text
from project.train import train


def test_lists_every_file_of_every_group() -> None:
    train.open()
    lines = help_text([], CONF, "project.train").splitlines()
    for folder in (path for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"):
        assert (
            f"{folder.name}: {', '.join(sorted(path.stem for path in folder.iterdir()))}" in lines
        )


def test_shows_the_values_that_the_overrides_give() -> None:
    train.open()
    assert (
        "  slope: 2.5"
        in help_text(
            ["experiment=linear", "datamodule.slope=2.5", "--help"], CONF, "project.train"
        ).splitlines()
    )


def test_asked_for() -> None:
    assert asks_for_help(["experiment=lenet", "-h"])
    assert asks_for_help(["--help"])
    assert not asks_for_help(["--hydra-help", "experiment=help"])


@pytest.mark.parametrize("command", ["m.train", "project.train", "a_longer_name.training.start"])
def test_columns_are_aligned_whatever_the_package_is_called(command: str) -> None:
    train.open()
    lines = [line for line in help_text([], CONF, command).splitlines() if command in line]
    starts = {line.index(re.split("  +", line)[-1]) for line in lines}
    assert len(lines) == 4
    assert len(starts) == 1
