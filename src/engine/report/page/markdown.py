"""The report as a Markdown document."""

from collections.abc import Sequence

from engine.report.page import method, tables
from engine.report.statistics import findings
from engine.report.statistics.content import Content


def document(content: Content) -> str:
    """The report as GitHub-flavoured Markdown."""
    header, rows = tables.ranking(content)
    lines = [f"# {content.folder.name}", "", f"{tables.opening(content)}. {content.when:%Y-%m-%d %H:%M}.", ""]
    lines += markdown_table(header, rows)
    tested = [line for one in findings.statements(content) for line in (one.text, *(f"  {item}" for item in one.items))]
    for title, said in (
        ("What differs by more than noise", tested),
        ("Notes", findings.notes(content)),
        ("Failures", [_failure(**run) for run in findings.failures(content)]),
        ("How it was computed", method.sentences(content)),
    ):
        lines += ["", f"## {title}", "", *map(_item, said)] if said else []
    return "\n".join(lines) + "\n"


def _failure(folder: str, status: str, error: str) -> str:
    return f"{folder}: {status}{': ' * bool(error)}{error} (see {folder}/train.log)"


def _item(text: str) -> str:
    """A line of a list, indented as its text is."""
    return f"{'  ' if text.startswith('  ') else ''}- {escaped(text.strip())}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    dashes = ["--:" if name in tables.NUMERIC else "---" for name in header]
    return [f"| {' | '.join(map(escaped, row))} |" for row in [header, *rows]][:1] + [
        f"| {' | '.join(row)} |" for row in [dashes, *([escaped(cell) for cell in row] for row in rows)]
    ]


def escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\|`*_<>[]#~" else c for c in text)
