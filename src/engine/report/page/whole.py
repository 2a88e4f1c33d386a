"""Puts a report together: its parts, with the curves read once, and all files that show them."""

import dataclasses
from collections.abc import Sequence

from engine.report.page import curves, drawing, latex, page, tables, trained
from engine.report.statistics.content import Content
from engine.report.statistics.ties import with_ties


class Report:
    """A report of one part or several.

    Args:
        contents: of the parts.
        door: the import path of the training command, of runs that do not say theirs.
    """

    def __init__(self, contents: Sequence[Content], door: str) -> None:
        lines = [curves.collect(content, page.MOST_CURVES) for content in contents]
        self.contents = [
            dataclasses.replace(
                with_ties(content, own.frames), problems=[*content.problems, *own.problems]
            )
            for content, own in zip(contents, lines, strict=True)
        ]
        self.trained = [trained.of(content, door) for content in self.contents]
        self.pictures = [
            page.figures(content, own) for content, own in zip(self.contents, lines, strict=True)
        ]

    def files(self) -> dict[str, str | bytes]:
        """Returns the files that every report has, by name."""
        parts = list(zip(self.contents, self.trained, self.pictures, strict=True))
        return {
            "report.html": page.html(parts),
            "report.md": page.markdown(self.contents, self.trained),
            "runs.csv": tables.csv(self.contents),
        }

    def papers(self) -> dict[str, str | bytes]:
        """Returns the files for a paper: the ranking for LaTeX, each figure as SVG and as PDF."""
        files: dict[str, str | bytes] = {"report.tex": latex.document(self.contents)}
        for number, pictures in enumerate(self.pictures, start=1):
            part = f"part{number}-" if len(self.pictures) > 1 else ""
            for picture in pictures:
                for i, panel in enumerate(picture.panels, start=1):
                    several = f"-{i}" if len(picture.panels) > 1 else ""
                    name = f"figures/{part}{picture.name}{several}"
                    files[f"{name}.svg"] = drawing.svg(panel, picture.name, colours={})
                    files[f"{name}.pdf"] = drawing.pdf(panel)
        return files

    def terminal(self) -> str:
        """Returns the tables as lines of text."""
        return "\n\n\n".join(map(tables.terminal, self.contents))
