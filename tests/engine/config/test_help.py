"""The help text names what there is."""

import copy
import re
import shutil
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from commands import CONF
from engine.config.help import asks_for_help, comments_of, help_text
from project.train import train


def help_of(*words: str, command: str = "project.train") -> str:
    """The help as a pipe gets it."""
    train.open()
    return re.sub(r"\x1b\[\d*m", "", help_text(words, CONF, command))


def test_lists_every_file_of_every_group() -> None:
    listed = re.findall(r"^  (\w+) +(\S.*(?:\n {14}.*)*)", help_of(), re.MULTILINE)
    choices = {group: re.split(r",\s+", names) for group, names in listed}
    for folder in (path for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"):
        assert choices[folder.name] == sorted(path.stem for path in folder.iterdir())


def test_shows_the_values_that_the_overrides_give_with_the_comments_of_their_files() -> None:
    text = help_of("experiment=linear", "datamodule.slope=2.5", "--help")
    assert re.search(r"^datamodule=line$", text, re.MULTILINE)
    assert re.search(r"^  datamodule\.slope=2\.5 ", text, re.MULTILINE)
    assert re.search(r"^  optimizer\.lr=0\.01 +learning rate, per step", text, re.MULTILINE)
    assert "_target_" not in text


def test_examples_are_of_what_a_fork_has_kept(tmp_path: Path) -> None:
    """As it happened: without curve_fit, two of three examples were no commands."""
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    for name in ("experiment/curve_fit", "datamodule/digits", "init/xavier"):
        (conf / f"{name}.yaml").unlink()
    train.open()
    text = help_text(["experiment=lenet"], conf, "mine.train")
    first = sorted(path.stem for path in (conf / "experiment").iterdir())[0]
    assert re.findall(r"^  (python -m mine.train (?:-m )?experiment=.*)", text, re.MULTILINE) == [
        "python -m mine.train experiment=lenet",
        f"python -m mine.train experiment={first} optimizer=adam optimizer.lr=0.01",
        f"python -m mine.train -m experiment={first} init=he seed=1,2,3",
    ]


def test_fits_into_80_columns() -> None:
    values = [line for line in help_of().splitlines() if not re.match(r"  \S+=\S+$", line)]
    assert max(map(len, values)) <= 80


def test_comments_are_found_behind_their_keys_and_above_them(tmp_path: Path) -> None:
    path = tmp_path / "optimizer" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("# The file.\nlr: 0.1  # the rate\na:\n  # Two\n  # lines.\n  b: 1\nc: 2\n")
    assert comments_of(path, "") == {"lr": "the rate", "a.b": "Two lines."}
    in_a_node = {"optimizer.x.lr": "the rate", "optimizer.x.a.b": "Two lines."}
    assert comments_of(path, "optimizer.x") == in_a_node
    assert comments_of(tmp_path / "elsewhere.yaml", "optimizer") == {}


def test_choices_of_other_folders_of_python_s_and_of_search_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra knows where each is, and into which node it goes: a path from / into one of its own."""
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    texts = {
        "conf/callbacks/mine": "defaults: [default, /callbacks/histograms, extra/pics]\n",
        "conf/callbacks/extra/pics": "pics:\n  every: 3  # of the pictures\n",
        "conf/datamodule/own/toy": "_target_: project.datamodules.X\nsize: 7  # of the toy\n",
        "elsewhere/optimizer/far": "rate: 5  # far away\n",
    }
    for name, text in texts.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", copy.deepcopy(store.repo))
    store.store(group="scheduler", name="of_tests", node={"gamma": 0.5})
    train.open()
    shown = ""
    for words in (
        ["callbacks=mine", "datamodule=own/toy", "scheduler=of_tests"],
        ["optimizer=far", f"hydra.searchpath=[file://{tmp_path}/elsewhere]"],
    ):
        shown += help_text(words, conf, "project.train")
    plain = " ".join(shown.split())
    for line in (
        "callbacks.checkpoints.every_n_steps=1000 optimiser steps between two last.ckpt;",
        "callbacks.callbacks.histograms.every_n_steps=100 optimiser steps between two histograms",
        "callbacks.extra.pics.every=3 of the pictures",
        "datamodule.size=7 of the toy",
        "scheduler.gamma=0.5",
        "optimizer.rate=5",
    ):
        assert f" {line}" in plain, line
    assert "far away" not in plain


def test_asked_for() -> None:
    assert asks_for_help(["experiment=lenet", "-h"])
    assert asks_for_help(["--help"])
    assert not asks_for_help(["--hydra-help", "experiment=help"])


@pytest.mark.parametrize("command", ["m.train", "project.train", "a_longer_name.training.start"])
def test_columns_are_aligned_whatever_the_package_is_called(command: str) -> None:
    package = command.rpartition(".")[0]
    lines = help_of(command=command).splitlines()
    (first,) = (number for number, line in enumerate(lines) if line == "Further commands")
    starts = {line.index(re.split("  +", line)[-1]) for line in lines[first + 1 : first + 5]}
    assert len(starts) == 1
    assert sum(f" {package}." in line for line in lines) == 6
