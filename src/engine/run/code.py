"""Digests of the user's code that a run imports, read from the sources.

The user's are the modules that lie neither in the standard library nor among installed packages,
wherever else they lie: beside the command, on PYTHONPATH, or installed as editable.
"""

import ast
import functools
import hashlib
import importlib.util
import json
import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from engine.config.keys import TARGET
from engine.config.resolved import Config
from engine.files import INSTALLED

MACHINE = ("engine", "hydra_plugins")  # the packages that a user does not change


def digests(config: Config, door: str) -> dict[str, str]:
    """Returns a digest of each of the user's modules that a run imports, by import path.

    Begins with the command and the classes of the config, and follows their imports.

    Args:
        config: the run's.
        door: the import path of the command.
    """
    paths = re.findall(f'"{TARGET}": "([^"]+)"', json.dumps(config.values_by_node))
    named = {path.rpartition(".")[0] for path in paths}
    return dict(_followed(frozenset([door, *named]), door))


@functools.cache
def of_the_engine() -> str:
    """Returns a digest of the engine's sources: whoever changes them has no version for it."""
    folder = Path(__file__).parents[1]
    sources = sorted(folder.rglob("*.py"))
    whole = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    return whole.hexdigest()[:16]


@functools.cache
def _followed(names: frozenset[str], door: str) -> dict[str, str]:
    waiting = sorted(names)
    seen: set[str] = set()
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        is_the_doors = name.partition(".")[0] == door.partition(".")[0]
        if name in seen or not (is_the_doors or _is_users(name)):
            continue
        seen.add(name)
        parent = name.rpartition(".")[0]
        if parent and not _is_package(parent):  # the name of a class, or of what it has
            waiting.append(parent)
            continue
        digest, imported = source(name)
        if digest:
            found[name] = digest
        waiting += sorted({*imported, parent} - {""})
    return found


@functools.cache
def _is_users(name: str) -> bool:
    """Tells whether a module is neither the machine's, nor Python's, nor installed."""
    package = name.partition(".")[0]
    if package in MACHINE or package in sys.stdlib_module_names:
        return False
    file = _file_of(package)
    if file and file.is_dir():  # a package without __init__.py may lie in several places
        file = _file_of(name)
    return file is not None and INSTALLED.isdisjoint(file.parts)


@functools.cache
def source(name: str) -> tuple[str | None, tuple[str, ...]]:
    """Returns a digest of a module's source, and the names that it imports.

    Comments and empty lines do not count. The digest is None if there is no source.
    """
    file = _file_of(name)
    if file is None or file.suffix != ".py" or not file.exists():
        return None, ()
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # a file that the run does not import, or cannot
        return None, ()
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else ()), *filter(None, [node.module])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16], tuple(found)


@functools.cache
def _file_of(name: str) -> Path | None:
    """Returns the file of a module, or the folder of a package without `__init__.py`.

    Nothing is imported for it, as a received folder may name any module.
    """
    first, *inner = name.split(".")
    try:
        found = importlib.util.find_spec(first)
    except ValueError:  # for `__main__`
        return None
    for part in inner:
        folders = found.submodule_search_locations if found else None
        first = f"{first}.{part}"
        found = None if folders is None else PathFinder.find_spec(first, folders)
    places = [found.origin, *(found.submodule_search_locations or [])] if found else []
    return next((Path(place) for place in places if place), None)


def _is_package(name: str) -> bool:
    file = _file_of(name)
    return file is None or file.is_dir() or file.name == "__init__.py"


def forget() -> None:
    """Forgets the sources, as they may be others by now."""
    for cached in (_followed, _is_users, source, _file_of):
        cached.cache_clear()


def file_name(name: str) -> str:
    """Returns the name of a module's file, for a message."""
    return f"{name.rpartition('.')[2]}.py"
