"""Downloads a file whole or not at all, and gives up in time."""

import shutil
import tempfile
from concurrent.futures import Future, wait
from pathlib import Path, PurePosixPath
from threading import Thread
from urllib.parse import urlsplit

import pooch
from requests import Response

COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip")


def download(url: str, file: Path, md5: str, timeout: float) -> None:
    """Downloads a file in at most three attempts; only one process at a time may do so.

    An attempt ends when no byte comes for `timeout` seconds. Until the file is complete, its bytes
    are in a folder `.<name of the file>.…` beside its place. A killed process leaves this folder,
    and the next download removes it.

    Args:
        url: of the file.
        file: the place for it; a file that is there is replaced.
        md5: what the file's md5 must be.
        timeout: in seconds.

    Raises:
        OSError: if all attempts fail, or no answer comes in the first `timeout` seconds.
        ValueError: if the md5 is wrong.
    """
    pooch.get_logger().setLevel("WARNING")
    answers: list[Response] = []

    def take(answer: Response, **_: object) -> None:
        answers.append(answer)
        if PurePosixPath(urlsplit(url).path).suffix in COMPRESSED:
            # Some servers call an archive's own compression so, and requests would undo it.
            answer.raw.headers.pop("Content-Encoding", None)

    http = pooch.HTTPDownloader(
        progressbar=True,
        timeout=timeout,
        headers={"Accept-Encoding": "identity"},
        hooks={"response": take},
    )
    done: Future[None] = Future()

    def fetch() -> None:
        try:
            _fetch(url, file, md5, http)
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)
        finally:
            for answer in answers:
                answer.close()

    # In a thread, since the time-out of a socket counts neither the time of a name server that does
    # not answer, nor all attempts together.
    Thread(target=fetch, daemon=True).start()
    wait([done], timeout)
    if not (done.done() or answers):
        raise TimeoutError(f"no answer in {timeout:g} s")
    done.result()


def _fetch(url: str, file: Path, md5: str, http: pooch.HTTPDownloader) -> None:
    """Makes the file in a folder beside its place, and moves it there when it is complete."""
    for left in file.parent.glob(f".{file.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    # A folder of its own: a download that was given up may still be under way.
    folder = Path(tempfile.mkdtemp(prefix=f".{file.name}.", dir=file.parent))
    source = pooch.create(
        folder,
        "",
        registry={file.name: f"md5:{md5}"},
        urls={file.name: url},
        retry_if_failed=2,
    )
    try:
        Path(source.fetch(file.name, downloader=http)).replace(file)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
