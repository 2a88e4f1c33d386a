"""Mistakes in the YAML files of conf/: named by file and place, and never without effect."""

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import Run, UserError
from engine.config.overrides import check_command_line
from project.train import train

GLOBAL = "# @package _global_\n"
CURVE = "defaults:\n  - override /module: {}\n  - override /datamodule: parabola\n"
ODD = "_target_: project.modules.curve_mlp.CurveMLP\nhidden: 10\n"  # refers to no optimiser
NOTE = "\nOne that is a note for the reader has its place in conf/config.yaml, too."
NOTHING = (
    "no part of this run refers to {0}, so this would change nothing.\nA class that takes it gets "
    "it by its config, such as conf/module/NAME.yaml: {0}: ${{{0}}}"
)
MISTAKES = {
    "no package": (
        "name: mine\ntrainer: {max_epochs: 1}\n",
        "experiment=mine: the first line of conf/experiment/mine.yaml must be `# @package "
        "_global_`.\nWithout it, the file would change nothing.",
    ),
    "a mark before the package, as some editors write it": (
        f"\ufeff{GLOBAL}name: mine\n",
        "experiment=mine: the first line of conf/experiment/mine.yaml must be `# @package "
        "_global_`.\nWithout it, the file would change nothing.",
    ),
    "a key of a node": (
        f"{GLOBAL}lr: 0.5\n",
        "lr: no part of this run refers to this key. Did you mean optimizer.lr?" + NOTE,
    ),
    "a key": (
        f"{GLOBAL}sede: 5\n",
        "sede: no part of this run refers to this key. Did you mean seed?" + NOTE,
    ),
    "no defaults": (
        f"{GLOBAL}default:\n  - override /module: curve_mlp\n",
        "default: no part of this run refers to this key. Did you mean defaults?" + NOTE,
    ),
    "a key that has the name of a folder in paths": (
        f"{GLOBAL}data_dir: here\n",
        "data_dir: no part of this run refers to this key. Did you mean paths.data_dir?" + NOTE,
    ),
    "a key of paths": (
        f"{GLOBAL}paths: {{data_dri: here}}\n",
        "paths.data_dri: no such key. Did you mean paths.data_dir?",
    ),
    "a key of sweep": (
        f"{GLOBAL}sweep: {{retrry: failed}}\n",
        "sweep.retrry: no such key. Did you mean sweep.retry?",
    ),
    "no override": (
        f"{GLOBAL}defaults:\n  - /module: linear\n",
        "conf/experiment/mine.yaml: module is chosen already: write `override /module: linear`",
    ),
    "an override of no group": (
        f"{GLOBAL}defaults:\n  - override /model: linear\n",
        "conf/experiment/mine.yaml: override /model finds nothing: config.yaml chooses no model.",
    ),
    "an override without a slash": (
        f"{GLOBAL}defaults:\n  - override datamodule: line\n",
        "conf/experiment/mine.yaml: override datamodule finds nothing: write override /datamodule.",
    ),
    "an override in a file without a package": (
        "defaults:\n  - override /datamodule: line\n",
        "conf/experiment/mine.yaml: override datamodule finds nothing: begin the file with the "
        "line `# @package _global_`, and write /datamodule.",
    ),
    "a value that nobody reads": (
        f"{GLOBAL}{CURVE.format('odd')}optimizer: {{lr: 0.5}}\n",
        f"experiment=mine sets optimizer: {NOTHING.format('optimizer')}",
    ),
    "a choice that nobody reads": (
        f"{GLOBAL}{CURVE.format('odd')}  - override /init: zero\n",
        f"experiment=mine sets init: {NOTHING.format('init')}",
    ),
    "a choice": (
        f"{GLOBAL}{CURVE.format('curvemlp')}",
        "module=curvemlp: no such choice. Did you mean curve_mlp? module is one of: curve_mlp, ",
    ),
    "syntax": (
        f"{GLOBAL}trainer: {{max_epochs: 5 max_steps: 1}}\n",
        "{file}, line 2, column 34: expected ',' or '}}', but got ':'.",
    ),
    "a tab": (
        f"{GLOBAL}trainer:\n\tmax_epochs: 5\n",
        "{file}, line 3, column 1: found character '\\t' that cannot start any token.",
    ),
    "a key twice": (
        f"{GLOBAL}optimizer: {{lr: 0.1, lr: 0.2}}\n",
        "{file}, line 2, column 22: found duplicate key lr.",
    ),
}


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(train.conf, tmp_path / "conf"))
    (folder / "module" / "odd.yaml").write_text(ODD)
    return folder


@pytest.fixture
def command(conf: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["train", *words])
        dataclasses.replace(train, conf=conf)()

    return run


def test_a_command_without_a_config_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: a traceback, as the file of the command was imported."""

    def train(run: Run) -> float:
        raise AssertionError

    door = engine.command(conf="config")(train)
    for words in (["seed=1"], ["--help"]):
        monkeypatch.setattr(sys, "argv", ["train", *words])
        with pytest.raises(SystemExit) as stop:
            door()
        assert stop.value.code == 2
        said = '@command(conf="config"): no folder above it has config/config.yaml.'
        assert capsys.readouterr().err == f"error: {__file__}: {said}\n"


def test_a_choice_that_no_word_names_is_said_to_be_a_files(
    conf: Path, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: without the data that an experiment chooses, the words were blamed."""
    (conf / "datamodule" / "cifar10.yaml").unlink()
    with pytest.raises(SystemExit):
        command("experiment=lenet")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: datamodule=cifar10: no such choice. datamodule is one of: ")
    assert second == "A file below conf/ chooses it, by `datamodule: cifar10`."


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("sweeps", [[], ["-m", "seed=1,2"]], ids=["run", "sweep"])
def test_refused(
    sweeps: list[str],
    mistake: str,
    conf: Path,
    command: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text, says = MISTAKES[mistake]
    file = conf / "experiment" / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        command(*sweeps, "experiment=mine", f"paths.log_dir={tmp_path / 'logs'}")
    assert stop.value.code == 2
    said = capsys.readouterr().err
    wanted = says.format(file=file) if "{file}" in says else says
    assert said.startswith(f"error: {wanted}")
    assert said.count("\n") <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_a_key_of_ones_own_that_config_yaml_has_is_known(
    conf: Path, command: Callable[..., None], tmp_path: Path
) -> None:
    file = conf / "config.yaml"
    file.write_text(file.read_text().replace("threads: 1", "tags: [first]\nthreads: 1"))
    (conf / "experiment" / "mine.yaml").write_text(f"{GLOBAL}tags: [second]\n")
    command("experiment=mine", "trainer.max_steps=1", f"paths.log_dir={tmp_path / 'logs'}")
    (run_dir,) = (tmp_path / "logs" / "runs" / "lenet").iterdir()
    assert "tags:\n- second\n" in (run_dir / ".hydra" / "config.yaml").read_text()


def test_a_key_of_ones_own_that_a_key_of_the_engine_refers_to_is_known(
    conf: Path, command: Callable[..., None], tmp_path: Path
) -> None:
    text = f"{GLOBAL}mine: {{word: first}}\nname: 'r_${{mine.word}}'\n"
    (conf / "experiment" / "mine.yaml").write_text(text)
    command("experiment=mine", "trainer.max_steps=1", f"paths.log_dir={tmp_path / 'logs'}")
    assert list(tmp_path.glob("logs/runs/r_first/*/summary.json"))


def test_an_experiment_may_say_more_than_another_module_takes(
    conf: Path, command: Callable[..., None], tmp_path: Path
) -> None:
    own = ["module=odd", "callbacks=default", "trainer.max_steps=1"]
    command("experiment=curve_fit", *own, f"paths.log_dir={tmp_path / 'logs'}")
    assert list(tmp_path.glob("logs/runs/curve_fit/*/summary.json"))


def test_a_key_of_ones_own_that_is_referred_to_is_part_of_the_run(
    conf: Path, command: Callable[..., None], tmp_path: Path
) -> None:
    text = f"{GLOBAL}{CURVE.format('curve_mlp')}width: 7\nmodule: {{hidden: '${{width}}'}}\n"
    (conf / "experiment" / "mine.yaml").write_text(f"{text}trainer: {{max_steps: 2}}\n")
    own: Any = ["experiment=mine", "callbacks=default", f"paths.log_dir={tmp_path / 'logs'}"]
    command(*own)
    command(*own, "width=8", "name=wider")
    (first,) = (tmp_path / "logs" / "runs" / "lenet").iterdir()
    (second,) = (tmp_path / "logs" / "runs" / "wider").iterdir()
    assert "out_features=7" in (first / "train.log").read_text()
    assert "out_features=8" in (second / "train.log").read_text()


def test_a_key_of_the_launcher_that_an_experiment_chooses(conf: Path) -> None:
    text = f"{GLOBAL}defaults:\n  - override /hydra/launcher: joblib\n"
    (conf / "experiment" / "mine.yaml").write_text(text)
    check_command_line(["-m", "experiment=mine", "hydra.launcher.n_jobs=2"], conf)
    with pytest.raises(UserError, match=r"no such key of hydra/launcher=basic\. Choose one"):
        check_command_line(["-m", "experiment=mine,linear", "hydra.launcher.n_jobs=2"], conf)


def test_a_plus_beside_a_list_of_an_experiment_s(conf: Path) -> None:
    """As it happened: the advice had the default choice beside the new one, and not the list."""
    text = f"{GLOBAL}defaults:\n  - override /callbacks: [classification, grad_norm]\n"
    (conf / "experiment" / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as refused:
        check_command_line(["experiment=mine", "+callbacks=histograms"], conf)
    assert str(refused.value) == (
        "+callbacks=histograms: callbacks has a choice; write callbacks=histograms."
    )


def test_a_choice_may_lie_in_a_folder(
    conf: Path, command: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: Hydra composes it, and it was refused as no such choice."""
    folder = conf / "experiment" / "deep"
    folder.mkdir()
    (folder / "mine.yaml").write_text(f"{GLOBAL}name: within\ntrainer: {{max_steps: 1}}\n")
    log_dir = f"paths.log_dir={tmp_path / 'logs'}"
    command("experiment=deep/mine", log_dir)
    assert list(tmp_path.glob("logs/runs/within/*/summary.json"))
    with pytest.raises(SystemExit):
        command("experiment=deep/mime", log_dir)
    assert "experiment=deep/mime: no such choice." in capsys.readouterr().err


def test_keys_for_anchors_and_for_hydra_itself_are_known(
    conf: Path, command: Callable[..., None], tmp_path: Path
) -> None:
    text = "x-rates: &rate 0.125\ntag: first\nhydra: {sweep: {dir: 'logs/${tag}'}}\n"
    text += "trainer: {max_steps: 1}\noptimizer: {lr: *rate}\n"
    (conf / "experiment" / "mine.yaml").write_text(f"{GLOBAL}{text}")
    command("experiment=mine", f"paths.log_dir={tmp_path / 'logs'}")
    (config,) = tmp_path.glob("logs/runs/lenet/*/.hydra/config.yaml")
    assert "lr: 0.125" in config.read_text()
