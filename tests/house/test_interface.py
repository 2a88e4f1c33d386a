"""The public interface: what `engine` exports, lazily, typed and documented."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import engine
from commands import CONF, ROOT, environment
from warm import python

STUB = ROOT / "src/engine/__init__.pyi"


def exported() -> dict[str, str]:
    """Returns each name of the stub, and its module."""
    tree = ast.parse(STUB.read_text())
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert len(nodes) == len(tree.body)
    for node in nodes:
        for alias in node.names:
            assert alias.asname == alias.name, "`as` makes a stub's import an export"
    return {alias.name: str(node.module) for node in nodes for alias in node.names}


def test_what_the_stub_says_is_what_there_is() -> None:
    assert sorted(engine.__all__) == sorted(exported())
    assert set(exported()) <= set(dir(engine))


@pytest.mark.parametrize("name", exported())
def test_every_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    made: Any = getattr(engine, name)
    if name not in ("Count", "CountOrZero", "Positive", "NotNegative", "Fraction", "Seed"):
        assert made.__doc__


@pytest.mark.parametrize("name", exported())
def test_every_name_is_documented(name: str) -> None:
    assert re.search(rf"`{name}\b", (ROOT / "docs/interface.md").read_text())


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


def test_nothing_large_is_imported_for_a_name_that_is_small() -> None:
    code = (
        "import sys; import engine\n"
        "from engine import Count, UserError, command, nearest, write_whole\n"
        "print(sorted({'torch', 'lightning', 'numpy', 'pydantic', 'optuna'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
