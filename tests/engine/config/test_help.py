"""The help text names what there is."""

from engine.config.place import CONF, register_resolvers

from engine.config import help


def test_lists_every_file_of_every_group() -> None:
    register_resolvers()
    lines = help.text([]).splitlines()
    for folder in (path for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"):
        assert f"{folder.name}: {', '.join(sorted(path.stem for path in folder.iterdir()))}" in lines


def test_shows_the_values_that_the_overrides_give() -> None:
    register_resolvers()
    assert "  slope: 2.5" in help.text(["experiment=linear", "datamodule.slope=2.5", "--help"]).splitlines()


def test_asked_for() -> None:
    assert help.asked_for(["experiment=lenet", "-h"])
    assert help.asked_for(["--help"])
    assert not help.asked_for(["--hydra-help", "experiment=help"])
