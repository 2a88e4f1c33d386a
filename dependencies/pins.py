"""Reads the versions that constraints.txt pins, and the hashes of requirements.lock."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
LOCK = ROOT / "requirements.lock"


def normal(name: str) -> str:
    """Returns a name as package indexes compare it: `Mako`, `ast_serialize` → `ast-serialize`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    """Returns the version of each package that constraints.txt pins, by name."""
    lines = CONSTRAINTS.read_text().splitlines()
    return {name: version for name, _, version in (line.partition("==") for line in lines)}


def locked() -> dict[str, tuple[str, list[str]]]:
    """Returns the version and the hashes of each package in requirements.lock, by normal name."""
    found: dict[str, tuple[str, list[str]]] = {}
    for entry in re.split(r"\n(?=\S)", LOCK.read_text()):
        if match := re.match(r"([\w.-]+)==([^\s;]+)", entry):
            hashes = re.findall(r"--hash=(sha256:[0-9a-f]{64})(?!\S)", entry)
            found[normal(match[1])] = (match[2], hashes)
    return found
