"""What the template's own files keep to: `make template`.

A user's files in src/project and conf are the user's, and so are the template's, once edited. So
`make test`, which collects files named test_*.py, leaves this one out.
"""

import ast
import math
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from commands import CONF, EXPERIMENTS, ROOT, SCHEMES, environment
from engine.config.limits import LIMITS, check
from engine.vectorized.eligible import is_edited
from house.test_arrows import MOST_FILES, SRC
from house.test_interface import exported
from project.train import train
from warm import python
from whole_runs import composed

PROJECT = sorted((ROOT / "src/project").rglob("*.py"))
STATED = {  # words of an experiment's head: the keys whose product they state
    r"batches of (\d+)": ["datamodule.batch_size"],
    r"(two) epochs": ["trainer.max_epochs"],
    r"(?:[:,]|for) (\d+)(?: full-batch)? steps": [
        "trainer.max_epochs",
        "datamodule.steps_per_epoch",
    ],
    r"picture every (\d+) steps": ["callbacks.curve.every_n_steps"],
    r"a (tenth) of the training": ["datamodule.val_fraction"],
    r"([\d,]+) inputs": ["datamodule.samples"],
    r"(\d+) features": ["module.in_features"],
    r"(\d+) layers of \d+": ["module.depth"],
    r"layers of (\d+)": ["module.width"],
    r"MLP 1-(\d+)-1": ["module.hidden"],
    r"x² \+ ([\d.]+) u": ["datamodule.noise"],
    r"y = (\d+)x": ["datamodule.slope"],
    r"(\d+) × \d+ -> \d+ -> \d+": ["datamodule.samples"],
    r"× (\d+) -> \d+ -> \d+": ["module.in_features"],
    r"× \d+ -> (\d+) -> \d+": ["module.hidden"],
    r"× \d+ -> \d+ -> (\d+)": ["module.out_features"],
}
OF_OPTIMIZER = r"\b(SGD|AdamW|Adam) with lr ([\d.]+\d)(?: and momentum ([\d.]+\d))?"
NUMBERS = {"two": 2.0, "tenth": 0.1}


def test_the_users_package_imports_what_the_engine_exports_and_nothing_else() -> None:
    for path in PROJECT:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "engine":
                assert node.module == "engine", f"{path}:{node.lineno}: {node.module}"
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("engine") for alias in node.names), path


def test_every_file_says_what_it_is_about() -> None:
    for path in PROJECT:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert text, f"{path}: no docstring"
        if path == ROOT / "src/project/__init__.py":
            assert len(text.split()) >= 10, f"{path}: says too little"


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in PROJECT}), ids=lambda path: path.name
)
def test_a_folder_has_few_files(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MOST_FILES


def statements(folder: Path) -> int:
    """Counts the statements of the sources; a count of lines would tempt to crowd them."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")]
    return sum(isinstance(node, ast.stmt) for tree in trees for node in ast.walk(tree))


def test_the_users_part_can_be_read_in_half_an_hour() -> None:
    assert statements(SRC / "project") <= 1100


def test_the_shipped_door_is_not_edited() -> None:
    assert not is_edited(train.train)


def test_what_the_users_package_uses_is_exported_and_the_rest_is_what_configs_name() -> None:
    used: set[str] = set()
    for path in (ROOT / "src/project").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "engine":
                used |= {alias.name for alias in node.names}
    named = {target.split(".")[1] for target in targets() if target.startswith("engine.")}
    assert used | named | {"Pruning"} == set(exported())


def targets() -> list[str]:
    """Returns every `_target_` in conf/."""

    def inner(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["_target_"]] if "_target_" in node else []
            return own + [target for value in node.values() for target in inner(value)]
        return (
            [target for value in node for target in inner(value)] if isinstance(node, list) else []
        )

    return [
        t
        for path in CONF.rglob("*.yaml")
        for t in inner(OmegaConf.to_container(OmegaConf.load(path)))
    ]


def test_configs_name_the_engine_by_its_public_names_only() -> None:
    """Checks that a saved config never names a private path."""
    ours = [target for target in targets() if target.partition(".")[0] == "engine"]
    assert ours
    assert [target for target in ours if target.split(".")[1] not in exported()] == []


def test_each_name_is_there_whatever_was_imported_before(tmp_path: Path) -> None:
    """As it happened: nobody had imported engine.data.augment, and augment=flip_crop failed.

    In the process of a test, other tests have imported nearly all there is.
    """
    own = {path.rpartition(".")[0]: path for path in targets() if path.startswith("project.")}
    paths = [*(f"engine.{name}" for name in exported()), *own.values()]
    command = [python(), "-m", "alone", "engine.augment.FlipCrop", *paths]
    # A process with sources of its own has imported nothing of ours.
    sources = shutil.copytree(ROOT / "src", tmp_path / "src")
    paths_to_search = os.pathsep.join([str(sources), environment()["PYTHONPATH"]])
    variables = {**environment(), "PYTHONPATH": paths_to_search}
    ended = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert (ended.stdout, ended.returncode) == ("", 0), ended.stderr


def test_conf_keeps_to_the_limits() -> None:
    given = list(given_in_conf())
    for _, key, value in given:
        if key in LIMITS and not str(value).startswith("${"):  # which is given elsewhere
            check(key, value, LIMITS[key])
    # A limit of a key that does not exist would limit nothing.
    assert LIMITS.keys() - {key for _, key, _ in given} == set()


def given_in_conf() -> Iterator[tuple[str, str, object]]:
    """Returns every (file, dotted key, value) in conf/."""
    for path in CONF.rglob("*.yaml"):
        package = re.match(r"# @package (\w+)", path.read_text())
        prefix = (
            package[1].replace("_global_", "")
            if package
            else path.parent.name * (path.parent != CONF)
        )
        for key, value in flat(prefix, OmegaConf.to_container(OmegaConf.load(path))):
            yield path.name, key, value


def flat(prefix: str, values: object) -> Iterator[tuple[str, object]]:
    if not isinstance(values, dict):
        yield prefix, values
        return
    for key, value in values.items():
        yield from flat(f"{prefix}.{key}" if prefix else key, value)


def test_the_tests_know_every_experiment_and_scheme() -> None:
    assert sorted(path.stem for path in CONF.glob("experiment/*.yaml")) == list(EXPERIMENTS)
    assert sorted(path.stem for path in CONF.glob("init/*.yaml")) == list(SCHEMES)


def test_an_experiment_has_the_numbers_that_its_head_states() -> None:
    """As it happened: the default rate of SGD changed, and a study had a tenth of its own."""
    stated = Counter[str]()
    for experiment in EXPERIMENTS:
        text = (CONF / f"experiment/{experiment}.yaml").read_text()
        head = re.split(r"#   (?:run|sweep)  ", text)[0].replace("\n#", "")
        chosen = composed(f"experiment={experiment}")
        for pattern, keys in STATED.items():
            for number in re.findall(pattern, head):
                value = math.prod(OmegaConf.select(chosen, key) for key in keys)
                says = NUMBERS.get(number) or float(number.replace(",", ""))
                assert says == value, f"{experiment}: {number}, {keys}"
                stated[pattern] += 1
        swept = re.findall(r"^      optimizer: (\S+)", text, re.MULTILINE)
        choices = swept[0].split(",") if swept else []
        nodes = [composed(f"experiment={experiment}", f"optimizer={own}") for own in choices]
        kinds = {own.optimizer._target_.split(".")[-1]: own for own in nodes or [chosen]}
        assert set(re.findall(r"\b(?:SGD|AdamW|Adam)\b", head)) <= set(kinds), experiment
        for kind, *numbers in re.findall(OF_OPTIMIZER, head):
            for key, number in zip(("lr", "momentum"), filter(None, numbers), strict=False):
                assert float(number) == kinds[kind].optimizer[key], f"{experiment}: {kind}, {key}"
                stated[key] += 1
    assert set(stated) == {*STATED, "lr", "momentum"}
