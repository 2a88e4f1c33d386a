"""Downloads of one file, from a server on this machine."""

import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pooch.core
import pytest

from engine.data.download import download

CONTENT = bytes(range(256)) * 100
ARCHIVE = gzip.compress(CONTENT, mtime=0)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serves CONTENT, but the first answer lacks its end; or an archive, as encoded by gzip."""
    archive: bytes = getattr(request, "param", b"")
    content = archive or CONTENT
    answers = iter([content[:-1]])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            if archive:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(next(answers, content))

        def log_message(self, *_: object) -> None:
            pass

    # pooch waits between two attempts
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=lambda _: None))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_port}/file"
        server.shutdown()


def test_a_file_takes_its_place_and_leaves_others_alone(tmp_path: Path, url: str) -> None:
    (tmp_path / "other").write_text("mine")
    (tmp_path / "file").write_text("old")
    (tmp_path / ".file.abc").mkdir()  # of a process that was killed
    (tmp_path / ".file.abc" / "part").write_text("killed")
    download(url, tmp_path / "file", MD5, timeout=5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other"]


@pytest.mark.parametrize("url", [ARCHIVE], indirect=True)
def test_an_archive_comes_as_it_is_though_the_server_calls_it_encoded(
    tmp_path: Path, url: str
) -> None:
    """As it happened: it was unpacked on its way, and "MD5 hash does not match" was no help."""
    download(f"{url}/file.gz", tmp_path / "file.gz", hashlib.md5(ARCHIVE).hexdigest(), timeout=5)
    assert gzip.decompress((tmp_path / "file.gz").read_bytes()) == CONTENT


@pytest.mark.parametrize("url", [ARCHIVE], indirect=True)
def test_a_file_that_a_server_compresses_is_unpacked(tmp_path: Path, url: str) -> None:
    download(f"{url}/table.csv", tmp_path / "table.csv", MD5, timeout=5)
    assert (tmp_path / "table.csv").read_bytes() == CONTENT


def test_a_file_with_another_md5_is_not_taken(tmp_path: Path, url: str) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ValueError, match="does not match the known hash"):
        download(url, tmp_path / "file", "0" * 32, timeout=5)
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
