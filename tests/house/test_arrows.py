"""The house: two packages, rooms in an order, arrows that point down only."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import ROOT

SRC = ROOT / "src"
ENGINE = sorted((SRC / "engine").rglob("*.py"))
MOST_FILES = 14  # .py files of a folder: more than that, nobody reads


def module_of(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Returns our modules that a file imports, in any place, and the lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = (SRC / full.replace(".", "/")).with_suffix(".py").exists()
                is_module = is_module or (SRC / full.replace(".", "/") / "__init__.py").exists()
                yield full if is_module else str(node.module), node.lineno


def rooms_in_order() -> list[str]:
    """Returns the rooms that docs/architecture.md lists, from the top to the ground."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    return re.findall(r"^\d+\. `(engine/[\w./]+)`", text, re.MULTILINE)


def room_of(module: str, rooms: list[str]) -> str:
    """Returns the room of a module of the engine: the longest path that fits."""
    path = module.replace(".", "/")
    fitting = [r for r in rooms if f"{path}/".startswith(f"{r.removesuffix('.py')}/")]
    assert fitting, f"docs/architecture.md has no room for {module}"
    return max(fitting, key=len)


def test_the_engine_never_imports_the_users_package() -> None:
    found = [(path.name, name) for path in ENGINE for name, _ in imported(path)]
    assert [pair for pair in found if pair[1].partition(".")[0] == "project"] == []


def test_the_engine_never_spells_the_users_package() -> None:
    """Checks strings, comments and configs, too: a fork may give its package any name."""
    kinds = (".py", ".pyi", ".yaml", ".jinja")
    files = [path for path in (SRC / "engine").rglob("*") if path.suffix in kinds]
    files.append(SRC / "hydra_plugins" / "engine_plugins.py")
    spelled = re.compile(r"\bproject\.|src/project|\bfrom project\b|\bimport project\b")
    assert [str(path) for path in files if spelled.search(path.read_text(encoding="utf-8"))] == []


def test_every_arrow_points_down() -> None:
    rooms = rooms_in_order()
    assert len(rooms) == len(set(rooms)) > 15
    wrong = []
    for path in ENGINE:
        if path.parent == SRC / "engine" and path.name == "__init__.py":
            continue
        own = room_of(module_of(path), rooms)
        for name, line in imported(path):
            if name.partition(".")[0] == "engine" and name != "engine":
                other = room_of(name, rooms)
                if rooms.index(other) < rooms.index(own):
                    wrong.append(
                        f"{path.relative_to(SRC)}:{line}: {own} imports {other}, which is above"
                    )
    assert wrong == []


def test_every_room_is_listed_and_every_listed_room_is_there() -> None:
    rooms = rooms_in_order()
    for room in rooms:
        assert (SRC / room).exists(), room
    for path in (SRC / "engine").iterdir():
        name = f"engine/{path.name}"
        is_file = path.suffix == ".py" and path.stem != "__init__"
        if is_file or (path / "__init__.py").exists():
            assert name in rooms, name


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Checks imports inside functions, too."""
    graph = {
        module_of(path): {name for name, _ in imported(path) if name.startswith("engine")}
        for path in ENGINE
        if path != SRC / "engine" / "__init__.py"
    }
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module in done or module not in graph:
            return
        for other in graph[module] - {"engine"}:
            visit(other, (*way, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_every_room_says_what_it_promises() -> None:
    for path in [*ENGINE, SRC / "hydra_plugins" / "engine_plugins.py"]:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert text, f"{path}: no docstring"
        if path.name == "__init__.py" and path.parent.parent in (SRC, SRC / "engine"):
            assert len(text.split()) >= 10, f"{path}: says too little"


@pytest.mark.parametrize("folder", sorted({path.parent for path in ENGINE}), ids=lambda p: p.name)
def test_a_folder_has_few_files(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MOST_FILES


def test_no_rule_binds_the_files_that_a_user_adds() -> None:
    """Checks that `make test` reads all of src/project or conf/ only for the choices in messages.

    As it happened: eight statements of a user's broke the bound of the template's own.
    """
    reads_all = re.compile(r'(?:\bCONF\b|project"\)).*glob\(|^PROJECT\b', re.MULTILINE)
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    tests = [path for path in files if ROOT / "tests/project" not in path.parents]
    found = [path.name for path in tests if reads_all.search(path.read_text(encoding="utf-8"))]
    assert found == ["test_overrides.py", "test_evaluation.py"]
