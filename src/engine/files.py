"""Writes files whole: after a kill or a power cut there is the old file or the new one.

Where the system does not let a file be written, the error says which file, why and what to do.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from io import FileIO
from pathlib import Path
from typing import IO, Any

# Errors of the system about writing, and about names that no file can have.
OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG)
# What it says about a run's own folder when somebody else has changed that, or its rights.
OF_THE_FOLDER = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ESTALE, errno.EIO)
OF_SQLITE = ("SQLITE_FULL", "SQLITE_IOERR")  # what SQLite makes of a full disk
INSTALLED = {"site-packages", "dist-packages"}  # the folders of pip's and of Debian's packages
FREE = "Free some space there, and give the same command again."
ELSEWHERE = (
    "Choose a folder that can be written to: paths.log_dir=DIR of a new run, or a copy of this."
)
# Of what is written into the folder of runs that there are.
A_COPY = "Give the command with a copy of the folder that can be written to."
ADVICE = {
    errno.ENOSPC: FREE,
    errno.EDQUOT: FREE,
    errno.EFBIG: FREE,
    errno.ENAMETOOLONG: "Choose a shorter name or folder.",
}


class CannotWrite(OSError):
    """Says in two lines which file cannot be written, why, and what to do."""

    what = "written"
    else_ = ELSEWHERE

    def __str__(self) -> str:
        said = f"{self.filename}: cannot be {self.what}: {self.strerror}."
        return f"{said}\n{ADVICE.get(self.errno or 0, self.else_)}"


class CannotRead(CannotWrite):
    """Says so of a file that is only read; whatever needs the file ends in the same way."""

    what = "read"
    else_ = "Make it readable, and give the same command again."


def cannot_write(error: BaseException, folder: Path | None = None) -> CannotWrite | None:
    """Returns what an error says about a file that cannot be written; None for any other error.

    Args:
        error: the system's, or one that a library has made of it.
        folder: a run's; a refusal there is about writing, but a file that is missing in it is not.
    """
    for cause in _system_errors(error):
        if isinstance(cause, CannotWrite):
            return cause
        # The name may be a number: that of an open file.
        name = cause.filename if isinstance(cause.filename, str | bytes | os.PathLike) else None
        path = Path(os.fsdecode(name or folder or "a file"))
        is_below = bool(name and folder and path.is_relative_to(folder))
        is_gone = folder is not None and cause.errno == errno.ENOENT and not os.path.exists(folder)
        is_refused = is_below and (cause.errno in OF_THE_FOLDER or is_gone)
        if cause.errno in OF_WRITING or is_refused:
            return CannotWrite(cause.errno, cause.strerror, str(path))
    return None


def _system_errors(error: BaseException | None) -> Iterator[OSError]:
    """Yields the system's errors that an error is, or comes from."""
    while error is not None:
        if isinstance(error, CannotWrite) or (isinstance(error, OSError) and error.errno):
            yield error
        elif getattr(error, "sqlite_errorname", "").startswith(OF_SQLITE):
            yield OSError(errno.ENOSPC, str(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@contextmanager
def writing(path: Path, kind: type[CannotWrite] = CannotWrite) -> Iterator[None]:
    """Names a file or folder that is written inside, where the system does not let it be written.

    Args:
        path: of the file or folder.
        kind: CannotRead for one that is only read.

    Raises:
        CannotWrite: for any error of the system's.
    """
    try:
        yield
    except CannotWrite:
        raise
    except Exception as error:
        if cause := next(_system_errors(error), None):
            raise kind(cause.errno, cause.strerror, str(path)) from error
        raise


class Disk:
    """Gets files to the disk, each one at once."""

    def sync(self, file: IO[Any]) -> None:
        """Waits until everything that was written to a file is on the disk."""
        file.flush()
        os.fsync(file.fileno())

    def replace(self, temporary: Path, path: Path) -> None:
        """Renames a synced file to its place."""
        os.replace(temporary, path)


# Jobs that train together put another object in, which waits once for many files.
disk: ContextVar[Disk] = ContextVar("disk", default=Disk())  # noqa: B039  it has no state


def whole_lines(path: Path) -> str:
    """Reads a file up to the end of its last whole line: a kill may have cut the last line."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1]


@contextmanager
def no_part_left(temporary: Path) -> Iterator[None]:
    """Removes a file that could not be written to its end: it would take room for nothing."""
    try:
        yield
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, where they are missing.

    Raises:
        CannotWrite: if the system does not let it be made.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, text: str | bytes) -> None:
    """Writes a file by temporary file, fsync and rename; text as UTF-8.

    Whoever reads the file finds the old text or the new one, never a part.

    Raises:
        CannotWrite: if the system does not let it be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path), no_part_left(temporary):
        with open(temporary, "wb") as file:
            file.write(text.encode("utf-8") if isinstance(text, str) else text)
            disk.get().sync(file)
        os.replace(temporary, path)


class OwnFile:
    """Writes a file of which this process is the only writer; notices a size that is not its own.

    The file stays open from one `append` to the next, until `close`: to open it each time would
    take longer than all the rest of a row of metrics.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size: int | None = None  # bytes, as this process has left them; None: no file yet
        self._file: FileIO | None = None

    def append(self, content: bytes) -> bool:
        """Appends to the file at once; returns whether it did: not if somebody has changed it.

        A file that this process has not written before is made.

        Raises:
            CannotWrite: if the system does not let it be written; the file is as it was before.
        """
        with writing(self.path):
            found = _found(self.path)
            if self._is_other(found):
                return False
            self._append(self._opened(found), content)
        return True

    def _opened(self, found: os.stat_result | None) -> FileIO:
        """Returns the open file; another one if somebody has put another one in its place."""
        if self._file and not (found and os.path.samestat(found, os.fstat(self._file.fileno()))):
            self.close()
        if not self._file and found:
            self._file = open(self.path, "ab", buffering=0, opener=_that_is_there)  # noqa: SIM115
        elif not self._file:
            self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115
        return self._file

    def _append(self, file: FileIO, content: bytes) -> None:
        before = self._size
        size = before or 0
        try:
            while content:  # a disk that is nearly full takes a part
                written = file.write(content)
                content, size = content[written:], size + written
            self._size = size
        except BaseException:
            with suppress(OSError):
                file.truncate(before or 0)
            self._size = before
            self.close()
            if before is None:
                self.path.unlink(missing_ok=True)
            raise

    def replace(self, text: str) -> None:
        """Writes the file whole, as UTF-8, or leaves the one that is there.

        Raises:
            CannotWrite: if the system does not let it be written.
        """
        self.close()
        write_whole(self.path, text)
        self._size = os.stat(self.path).st_size

    def is_changed(self) -> bool:
        """Tells whether the file has another size than this process has left, or is gone."""
        with writing(self.path):
            return self._is_other(_found(self.path))

    def _is_other(self, found: os.stat_result | None) -> bool:
        return (found and found.st_size) != self._size

    def close(self) -> None:
        """Closes the file; `append` opens it again.

        Raises:
            CannotWrite: if only now the system says that it cannot be written.
        """
        file, self._file = self._file, None
        if file:
            with writing(self.path):
                file.close()

    def __del__(self) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_file": None}  # another process opens it for itself


def _that_is_there(path: str, flags: int) -> int:
    """Opens a file, and makes none: it would be an empty one for whoever reads it then."""
    return os.open(path, flags & ~os.O_CREAT)


def _found(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
