"""Executes documents: blocks of Python with what they print, tables of NumPy beside PyTorch.

In a lesson, every block and every row of a table is executed. Any other document may also show
diagrams, YAML and tables of other things, which nobody executes.
"""

import contextlib
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from markdown_it import MarkdownIt
from markdown_it.token import Token

MARKDOWN = MarkdownIt("commonmark").enable("table")
# The lines of blocks and of tables, found without the parser.
LINES = {"fence": r"^\s*(?:```|~~~|<pre)", "table": r"^\s*(?:\||<table)"}
HEADER = ["what", "NumPy", "PyTorch"]  # of a table whose rows are executed
SHOWN = ("mermaid", "yaml")  # blocks that a document may show, unless it is a lesson


def same(expected: Any, actual: Any) -> bool:
    """Tells whether a NumPy and a PyTorch value agree: arrays in shape, dtype and value.

    Of a tuple or a list, every pair of elements must agree.
    """
    if isinstance(actual, tuple | list):
        kind = tuple if isinstance(actual, tuple) else list  # torch.Size is a tuple
        return (
            isinstance(expected, kind)
            and len(expected) == len(actual)
            and all(map(same, expected, actual))
        )
    if isinstance(actual, torch.dtype | torch.device):
        return str(actual).removeprefix("torch.") == str(expected)
    if isinstance(actual, torch.Tensor | np.ndarray):
        a, b = np.asarray(expected), np.asarray(actual)
        return a.shape == b.shape and a.dtype == b.dtype and np.allclose(a, b, rtol=1e-5, atol=0)
    return type(expected) is type(actual) and bool(expected == actual)


def execute(
    text: str, name: str = "document", commands: Collection[str] = (), lesson: bool = True
) -> Counter[str]:
    """Executes a document, top to bottom in one namespace; counts lines of fences and of tables.

    Args:
        name: for messages.
        commands: what may stand in a block of bash.
        lesson: whether every block and every row has to be executed.

    Raises:
        AssertionError: if a block prints something else, a row says something else, or there is no
            way to execute a block.
    """
    namespace: dict[str, Any] = {"__name__": name}
    done: Counter[str] = Counter()
    tokens = MARKDOWN.parse(text)
    is_shown = False  # the table that the row belongs to
    for i, token in enumerate(tokens):
        where = f"{name}:{token.map[0] + 1}" if token.map else name
        assert token.type != "code_block", f"{where}: an indented block; use a fence"
        if token.type == "fence":
            if lesson or token.info not in SHOWN:
                # None: before the first, after the last
                _fence([*tokens, None], i, where, namespace, commands)
            done["fence"] += 2
        elif token.type == "tr_open":
            is_header = tokens[i - 1].type == "thead_open"
            if is_header:
                is_shown = not lesson and not set(HEADER[1:]) & set(_cells(tokens, i))
            if not is_shown:
                _row(tokens, i, where, namespace)
            done["table"] += 2 if is_header else 1  # a header has a line of dashes
    return done


def to_execute(text: str) -> Counter[str]:
    """Counts the lines of fences and of tables in a document, by regular expressions."""
    return Counter(
        {
            kind: n
            for kind, line in LINES.items()
            if (n := len(re.findall(line, text, re.MULTILINE)))
        }
    )


def dead_links(text: str, folder: Path) -> list[str]:
    """Returns the relative links and images of a document that lead to no file."""
    return [
        link
        for link in _links(text)
        if "://" not in link and not (folder / link.partition("#")[0]).exists()
    ]


def _fence(
    tokens: Sequence[Token | None],
    i: int,
    where: str,
    namespace: dict[str, Any],
    commands: Collection[str],
) -> None:
    """Runs a python block, and compares its output with the text block after it.

    The lines of a bash block are looked up in `commands`.
    """
    token = tokens[i]
    assert token
    if token.info == "python":
        written = after.content if _is_fence(after := tokens[i + 1], "text") else ""
        printed = _run(token, where, namespace)
        assert printed == written, (
            f"{where}: prints\n{printed}\nbut the text block after it says\n{written}"
        )
    elif token.info == "text":
        assert _is_fence(tokens[i - 1], "python"), f"{where}: text, but no python right before it"
        assert token.content, f"{where}: an empty text block"
    else:
        assert token.info == "bash", (
            f"{where}: a block of {token.info or 'no language'}; use python, text or bash"
        )
        for line in token.content.splitlines():
            assert line.partition("#")[0].strip() in commands, f"{where}: tested nowhere: {line}"


def _is_fence(token: Token | None, language: str) -> TypeGuard[Token]:
    return token is not None and (token.type, token.info) == ("fence", language)


def _run(token: Token, where: str, namespace: dict[str, Any]) -> str:
    """Executes a python block, and returns the printed text."""
    first = int(where.rpartition(":")[2])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(
            compile("\n" * first + token.content, where, "exec"), namespace
        )  # tracebacks with the document's lines
    return printed.getvalue()


def _cells(tokens: Sequence[Token], i: int) -> list[str]:
    return [cell.content for cell in _row_of(tokens, i)]


def _row_of(tokens: Sequence[Token], i: int) -> list[Token]:
    end = next(j for j in range(i, len(tokens)) if tokens[j].type == "tr_close")
    return [token for token in tokens[i:end] if token.type == "inline"]


def _row(tokens: Sequence[Token], i: int, where: str, namespace: dict[str, Any]) -> None:
    """Evaluates the two cells of code of a row and compares them, or checks a header."""
    cells = _row_of(tokens, i)
    if tokens[i - 1].type == "thead_open":
        header = _cells(tokens, i)
        assert header == HEADER, f"{where}: a table of {header}, not of what, NumPy, PyTorch"
        return
    _, numpy, pytorch = (cell.content for cell in cells)
    codes = [
        [child.content for child in cell.children or [] if child.type == "code_inline"]
        for cell in cells[1:]
    ]
    assert [f"`{' '.join(code)}`" for code in codes] == [numpy, pytorch], (
        f"{where}: not code: {numpy}, {pytorch}"
    )
    expected, actual = (eval(code[0], namespace) for code in codes)
    assert same(expected, actual), (
        f"{where}: {numpy} is\n{expected!r}\nbut {pytorch} is\n{actual!r}"
    )


def _links(text: str) -> Iterator[str]:
    for token in MARKDOWN.parse(text):
        for one in (token, *(token.children or [])):
            if target := one.attrs.get("href") or one.attrs.get("src"):
                yield str(target)
            if one.type in ("html_block", "html_inline"):  # <img src="…">, <source srcset="…">
                yield from re.findall(r'\bsrc(?:set)?="([^"]+)"', one.content)
