"""The public interface: what `engine` exports, lazily, typed and documented."""

import ast
import re
import subprocess
import sys
from typing import Any

import pytest

import engine
from commands import ROOT

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


def test_nothing_large_is_imported_for_a_name_that_is_small() -> None:
    code = (
        "import sys; import engine\n"
        "from engine import Count, UserError, command, nearest, write_whole\n"
        "print(sorted({'torch', 'lightning', 'numpy', 'pydantic', 'optuna'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
