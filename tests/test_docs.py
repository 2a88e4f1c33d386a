"""What docs/ says is executed and true; every link leads to a file."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from commands import ROOT
from documents import dead_links, execute, same, to_execute
from test_readme import COMMANDS

DOCS = sorted((ROOT / "docs").rglob("*.md"))
TABLE = "| what | NumPy | PyTorch |\n|---|---|---|\n"
WRONG = {  # (document, what is said of it)
    "wrong output": (
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        r"document:1: prints\n1\n\nbut .* says\n2\n",
    ),
    "no output": ("```python\nprint(1)\n```\n", "document:1: prints\n1\n"),
    "output not right after": (
        "```python\nprint(1)\n```\n\nis\n\n```text\n1\n```\n",
        "document:1: prints",
    ),
    "prints nothing": ("```python\n1\n```\n\n```text\n1\n```\n", "document:1: prints"),
    "text without python": (
        "one\n\n```text\n1\n```\n",
        "document:3: text, but no python right before",
    ),
    "text twice": (
        "```python\nprint(1)\n```\n```text\n1\n```\n```text\n1\n```\n",
        "document:7: text, but no",
    ),
    "empty text": ("```python\n1\n```\n```text\n```\n", "document:4: an empty text"),
    "no language": ("```\n1\n```\n", "document:1: a block of no language"),
    "other language": ("```yaml\na: 1\n```\n", "document:1: a block of yaml"),
    "indented": ("One.\n\n    print(1)\n", "document:3: an indented block"),
    "untested command": ("```bash\ntest -y\n```\n", "document:1: tested nowhere: test -y"),
    "wrong row": (
        f"{TABLE}| x | `1` | `1` |\n| y | `1` | `2` |\n",
        "document:4: `1` is\n1\nbut `2` is\n2",
    ),
    "row without code": (f"{TABLE}| x | `1` | 1 |\n", "document:3: not code: `1`, 1"),
    "row with more than code": (f"{TABLE}| x | `1` | `1` or 2 |\n", "document:3: not code"),
    "short row": (f"{TABLE}| x | `1` |\n", "document:3: not code"),
    "other table": ("| a | b |\n|---|---|\n| 1 | 2 |\n", "document:1: a table of"),
    "table without bars": ("a | b\n---|---\n", "document:1: a table of"),
}
UNSEEN = {  # by the parser
    "no end": "```python\n1\n",
    "quotation": "> ```python\n> 1\n> ```\n",
    "HTML": "<pre>\n1\n</pre>\n",
    "no dashes": "| a | b |\n",
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_all_of_a_document_is_executed_and_true(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = path.read_text()
    is_lesson = path.parent == ROOT / "docs/lessons"
    assert execute(text, name(path), COMMANDS, is_lesson) == to_execute(text)
    assert not list(tmp_path.iterdir()), "a lesson leaves files"


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS], ids=name)
def test_links_lead_to_files(path: Path) -> None:
    assert dead_links(path.read_text(), path.parent) == []


def test_every_guarantee_names_tests_that_there_are() -> None:
    path = ROOT / "docs/guarantees.md"
    rows = [line for line in path.read_text().splitlines() if line.startswith("| ")]
    assert rows[0] == "| promise | limits | test |"
    for row in rows[1:]:
        tests = re.findall(r"\[(\w+)\]\((\S+\.py)\)", row)
        assert tests, row
        for name, file in tests:
            assert f"def {name}(" in (path.parent / file).read_text(), f"{file}: no {name}"


def test_every_decision_is_listed_by_its_title() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text()
    for path in folder.glob("0*.md"):
        number, title = path.read_text().splitlines()[0].removeprefix("# ").split(". ", 1)
        assert f"- {number} [{title}]({path.name})" in listed, path


def test_the_diagram_of_the_rooms_shows_all_imports_and_no_other() -> None:
    """Checks that arrows are imports, and that imports follow from one or several arrows."""
    from house.test_arrows import ENGINE, imported, module_of, room_of, rooms_in_order

    rooms = rooms_in_order()
    ground = rooms[rooms.index("engine/errors.py") :]

    def box_of(module: str) -> str:
        room = room_of(module, rooms)
        return "ground" if room in ground else room

    imports = {
        (box_of(module_of(path)), box_of(name))
        for path in ENGINE
        if module_of(path) != "engine"
        for name, _ in imported(path)
        if name.startswith("engine.")
    }
    imports = {(room, other) for room, other in imports if room != other}
    text = (ROOT / "docs/architecture.md").read_text()
    (drawn,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    boxes = dict(re.findall(r"(\w+)\[\"(.*?)<br>", drawn)) | {"ground": "ground"}
    assert set(boxes.values()) >= set(rooms) - set(ground)
    lines = re.findall(r"^ +(\w+) --> (.*)$", drawn, re.MULTILINE)
    arrows = {(boxes[one], boxes[other]) for one, ends in lines for other in ends.split(" & ")}
    follow = {(one, other) for one, other in arrows if one in rooms}
    assert follow <= imports
    while more := {(a, d) for a, b in follow for c, d in follow if b == c} - follow:
        follow |= more
    assert imports <= follow


def test_blocks_and_rows_share_a_namespace_in_the_order_of_the_document() -> None:
    text = (
        f"```python\na = 1\n```\n{TABLE}| x | `a` | `1` |\n\n"
        "```python\na += 1\nprint(a)\n```\n\n```text\n2\n```\n"
    )
    assert execute(text) == to_execute(text) == {"fence": 6, "table": 3}
    text = "```bash\ntest -x  # a comment\n```\n"
    assert execute(text, commands=["test -x"]) == to_execute(text) == {"fence": 2}


def test_what_is_no_lesson_may_show_what_nobody_executes() -> None:
    shown = (
        "```mermaid\nflowchart TD\n```\n\n```yaml\na: 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    )
    text = f"{shown}{TABLE}| x | `1` | `1` |\n"
    assert execute(text, lesson=False) == to_execute(text) == {"fence": 4, "table": 6}
    with pytest.raises(AssertionError, match="document:1: a block of mermaid"):
        execute(text)
    for what, (wrong, message) in WRONG.items():
        if not what.startswith(("other", "table")):
            with pytest.raises(AssertionError, match=message):
                execute(wrong, lesson=False)


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_in_a_document_is_found(case: str) -> None:
    text, message = WRONG[case]
    with pytest.raises(AssertionError, match=message):
        execute(text)


@pytest.mark.parametrize("case", UNSEEN)
def test_what_the_parser_takes_for_something_else_is_found(case: str) -> None:
    assert execute(UNSEEN[case]) != to_execute(UNSEEN[case])


@pytest.mark.parametrize(
    ("expected", "actual", "is_same"),
    [
        (np.ones((2, 3), np.float32), torch.ones(2, 3), True),
        (np.ones((2, 3)), torch.ones(2, 3), False),
        (np.ones((1, 3), np.float32), torch.ones(2, 3), False),
        (np.ones(3, np.float32), torch.tensor([1.0, 1.0, 1.01]), False),
        (np.float32(2), torch.tensor(2.0), True),
        (np.bool_(True), torch.tensor(False), False),
        (np.dtype(np.int64), torch.int64, True),
        (np.dtype(np.int32), torch.int64, False),
        ("cpu", torch.device("cpu"), True),
        ((2, 3), torch.Size([2, 3]), True),
        ((2, 3), torch.Size([2, 3, 1]), False),
        ((np.array([2]), np.array([1])), torch.tensor([[0, 2]]).max(dim=1), True),
        ([1, 2], (1, 2), False),
        (3, 3, True),
        (3, 3.0, False),
    ],
)
def test_same(expected: Any, actual: Any, is_same: bool) -> None:
    assert same(expected, actual) == is_same


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").touch()
    text = "[a](there.md#part) [b](gone.md) ![c](gone.png) [d](https://example.org/gone) [e](#part)"
    assert dead_links(text, tmp_path) == ["gone.md", "gone.png"]
    html = '<picture>\n<source srcset="gone.png">\n<img src="there.md" alt="f">\n</picture>'
    assert dead_links(html, tmp_path) == dead_links(f"In text: {html}", tmp_path) == ["gone.png"]
