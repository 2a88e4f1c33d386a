"""The pinned packages: locked with hashes, with a list of licences, asked for vulnerabilities."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import audit
import licences
import pins
from commands import ROOT


def test_every_pinned_version_is_locked_with_hashes() -> None:
    locked = pins.locked()
    for name, version in pins.pinned().items():
        found, hashes = locked[pins.normal(name)]
        assert found == version, f"{name}: make lock"
        assert hashes, name
    # What is installed beside the pinned: for Windows, and to build.
    assert {*locked} - {*map(pins.normal, pins.pinned())} == {"colorama", "setuptools"}


def test_the_lock_holds_no_host() -> None:
    lines = pins.LOCK.read_text().splitlines()
    allowed = re.compile(
        r"#.*CONTRIBUTING\.md\.|[\w.\[\]-]+==[\w.+]+( ; [\w.' ()<>=!]+)? \\"
        r"|    --hash=sha256:[0-9a-f]{64}( \\)?"
    )
    assert [line for line in lines if not allowed.fullmatch(line)] == []
    assert "://" not in pins.LOCK.read_text() + licences.PAGE.read_text()


def test_the_list_of_licences_is_that_of_what_is_installed() -> None:
    shown = licences.PAGE.read_text()
    assert licences.page(shown) == shown, "make licences"
    assert {name: version for name, (version, _) in licences.rows(shown).items()} == pins.pinned()
    assert licences.rows(shown)["torchmetrics"][1] == "Apache Software License"


def test_a_version_that_nobody_knows_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licences, "pinned", lambda: {"torchmetrics": "0.0.1"})
    with pytest.raises(LookupError, match=r"torchmetrics: pip install torchmetrics==0\.0\.1 first"):
        licences.page("")
    row = "| torchmetrics | 0.0.1 | as it was |\n"
    assert licences.page(row) == licences.HEAD + row


SOUND = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "says"),
    [
        ([SOUND], 0, "1 of 1 versions were looked up\n"),
        ([SOUND, BAD], 1, "b 2: PYSEC-1, mended in 3\n2 of 2 versions were looked up\n"),
        (
            [SOUND, UNKNOWN],
            3,
            "1 of 2 versions were looked up\nnot known to the service: c\n"
            "error: osv did not answer for all; make audit SERVICE=… asks another\n",
        ),
        (
            None,
            3,
            "no version was looked up: ConnectionError\n"
            "error: osv did not answer for all; make audit SERVICE=… asks another\n",
        ),
    ],
    ids=["sound", "vulnerable", "unknown", "no network"],
)
def test_an_audit_never_says_that_all_is_well_of_what_it_has_not_seen(
    packages: list[dict[str, Any]] | None, code: int, says: str, tmp_path: Path
) -> None:
    """With a program in the place of pip-audit."""
    answer = json.dumps({"dependencies": packages})
    fails = 'sys.exit("Traceback\\nrequests.exceptions.ConnectionError: no host")'
    lines = ["import sys", 'assert sys.argv[sys.argv.index("-s") + 1] == "osv"']
    lines.append(f"print({answer!r})" if packages else fails)
    (tmp_path / "pip_audit.py").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, audit.__file__, "osv"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (code, says)


def test_make_does_the_same() -> None:
    made = subprocess.run(
        ["make", "--no-print-directory", "-n", "audit", "lock", "licences", "SERVICE=osv"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "-c constraints.txt -e '.[audit]'" in made
    assert re.findall(r"bin/python (dependencies/.*)", made) == [
        "dependencies/audit.py osv",
        "dependencies/lock.py",
        "dependencies/licences.py",
    ]
