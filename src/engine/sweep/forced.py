"""Notes which jobs sweep.force=true is still to run again, so that the same command goes on.

Each of these jobs has a mark beside its lock, from the sweep's start to the job's end.
"""

from pathlib import Path

from engine import files

ANEW, BEGUN = "is to begin anew", "has begun anew"


def write(mark: Path, text: str) -> None:
    """Writes whether a job is to begin anew, or has begun."""
    files.make_folder(mark.parent)
    with files.writing(mark):
        mark.write_text(text)


def read(mark: Path) -> str:
    """Returns what a job's mark says; "" for a job that has none."""
    try:
        return mark.read_text()
    except FileNotFoundError:
        return ""
