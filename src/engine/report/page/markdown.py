"""Writes the report as a Markdown document."""

from collections.abc import Sequence

from engine import messages
from engine.report.page import method, tables
from engine.report.page.trained import Trained
from engine.report.statistics import findings
from engine.report.statistics.content import Content


def document(contents: Sequence[Content], trained: Sequence[Trained]) -> str:
    """Writes the report as GitHub-flavoured Markdown, one part after the other."""
    first = contents[0]
    place = messages.short(first.folder)
    lines = [f"# {first.folder.name}", "", f"{first.when:%Y-%m-%d %H:%M}. {place}"]
    for content, what in zip(contents, trained, strict=True):
        lines += ["", *_part(content, what)]
    return "\n".join(lines) + "\n"


def _part(content: Content, trained: Trained) -> list[str]:
    sections = {
        "What differs by more than noise": [
            line
            for statement in findings.statements(content)
            for line in (statement.text, *(f"  {item}" for item in statement.items))
        ],
        "Notes": findings.notes(content),
        "Failed, diverged or mixed": [_failure(**run) for run in findings.failures(content)],
        "How it was computed": method.sentences(content),
    }
    same = ", ".join(f"{name} {text}" for name, text in trained.same.items())
    lines = [f"## {content.title}", ""] if content.title else []
    lines += [f"{tables.opening(content)}.", ""]
    lines += [f"The same in all runs: {escaped(same)}.", ""] if same else []
    for title, command in trained.commands:
        lines += [f"{title}:", "", "```bash", command, "```", ""]
    lines += markdown_table(tables.ranking(content))
    for title, items in sections.items():
        lines += ["", f"## {title}", "", *map(_item, items)] if items else []
    return lines


def _failure(folder: str, status: str, error: str) -> str:
    return f"{folder}: {status}{': ' * bool(error)}{error} (see {folder}/train.log)"


def _item(text: str) -> str:
    """Returns a line of a list, indented as its text is."""
    return f"{'  ' if text.startswith('  ') else ''}- {escaped(text.strip())}"


def markdown_table(columns: Sequence[tables.Column]) -> list[str]:
    """Returns the lines of a table."""
    header, rows = tables.as_rows(columns)
    rule = ["--:" if column.is_numeric else "---" for column in columns]
    cells = [list(map(escaped, header)), rule, *(list(map(escaped, row)) for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def escaped(text: str) -> str:
    """Returns a text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\|`*_<>[]#~" else c for c in text)
