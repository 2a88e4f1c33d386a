"""A user's own runs are signed with a key that no run's folder can reach."""

import hashlib
import hmac
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import environment
from engine.config import signature

TEXT = "name: x\nseed: 0\n"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder without a key."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    signature._say.cache_clear()
    return tmp_path / "state"


def test_it_is_an_hmac_in_the_last_line() -> None:
    *lines, last = signature.signed(TEXT).splitlines()
    assert lines == TEXT.splitlines()
    key = signature.key_file().read_bytes()
    assert last == f"# signed: {hmac.digest(key, TEXT.encode(), 'sha256').hex()}"
    assert signature.is_ours(signature.signed(TEXT))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("seed: 0", "seed: 1"),
        lambda text: text.replace("x", "y"),
        lambda text: f"{text}more: 1\n",
        lambda text: f"more: 1\n{text}",
        lambda text: text[:-2] + "\n",
        lambda text: text.rpartition("# signed")[0],
        lambda text: f"{TEXT}# signed: \n",
        lambda text: f"{TEXT}# signed: {hmac.digest(b'', TEXT.encode(), 'sha256').hex()}\n",
        lambda text: f"{text}{text.splitlines()[-1]}\n",
        lambda text: "",
    ],
)
def test_whatever_is_changed_is_not_ours(change) -> None:  # type: ignore[no-untyped-def]
    assert not signature.is_ours(change(signature.signed(TEXT)))


def test_another_user_has_another_key(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = signature.signed(TEXT)
    monkeypatch.setenv("XDG_STATE_HOME", str(state / "other"))
    assert not signature.is_ours(theirs)
    assert signature.signed(TEXT) != theirs


def test_nobody_else_can_read_the_key(state: Path) -> None:
    before = os.umask(0)
    try:
        signature.signed(TEXT)
    finally:
        os.umask(before)
    key = signature.key_file()
    assert key == state / "research-engine/key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_bytes()) == 32
    assert [path.name for path in key.parent.iterdir()] == ["key"]


def test_a_home_comes_from_the_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert signature.key_file() == Path("/home/somebody/.local/state/research-engine/key")


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_what_is_no_key_is_not_used(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    ours = signature.signed(TEXT)
    signature.key_file().write_bytes(content)
    assert signature.signed(TEXT) == TEXT
    assert not signature.is_ours(ours)
    assert "is no key; remove it" in caplog.text


def test_a_key_that_others_can_read_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    ours = signature.signed(TEXT)
    signature.key_file().chmod(0o640)
    assert not signature.is_ours(ours)
    assert f"others can read it; chmod 600 {signature.key_file()}" in caplog.text


def test_without_a_writable_home_it_goes_on_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert signature.signed(TEXT) == signature.signed(TEXT) == TEXT
    assert not signature.is_ours(f"{TEXT}# signed: {'0' * 64}\n")
    assert caplog.text.count("runs cannot be signed as yours, and count as received ones:") == 1


def test_several_processes_make_one_key(state: Path) -> None:
    program = f"from engine.config.signature import signed; print(signed({TEXT!r}))"
    words = [sys.executable, "-c", program]
    started = [
        subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    printed = {process.communicate(timeout=60)[0] for process in started}
    assert printed == {f"{signature.signed(TEXT)}\n"}
    assert os.listdir(state / "research-engine") == ["key"]


def test_a_digest_is_sha256() -> None:
    assert signature.digest_of(TEXT) == hashlib.sha256(TEXT.encode()).hexdigest()
