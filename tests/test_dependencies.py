"""The pinned packages: locked with hashes, with a list of licences, asked for vulnerabilities."""

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


VERSIONS = {"a": "1", "B_b": "2", "c": "3"}
SOUND = [{"name": n, "version": v, "vulns": []} for n, v in VERSIONS.items()]
BAD = {"name": "b-b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (SOUND, 0, ["3 of 3 versions were looked up"]),
        (
            [SOUND[0], BAD, SOUND[2]],
            1,
            ["b-b 2: PYSEC-1, mended in 3", "3 of 3 versions were looked up"],
        ),
        (
            [*SOUND[:2], {"name": "c", "skip_reason": "not found"}],
            3,
            ["2 of 3 versions were looked up", "not known to the service: c"],
        ),
        (
            SOUND[:1],
            3,
            ["1 of 3 versions were looked up", "not known to the service: B_b, c"],
        ),
        (
            [*SOUND[:2], {"name": "c", "version": "2", "vulns": []}],
            3,
            ["2 of 3 versions were looked up", "not known to the service: c"],
        ),
        ([], 3, ["0 of 3 versions were looked up", "not known to the service: a, B_b, c"]),
    ],
    ids=["sound", "vulnerable", "skipped", "partial", "another version", "empty"],
)
def test_an_audit_never_says_that_all_is_well_of_what_it_has_not_seen(
    answer: list[dict[str, Any]], code: int, says: list[str]
) -> None:
    assert audit.judged({"dependencies": answer}, VERSIONS) == (code, says)


@pytest.mark.parametrize(
    ("service", "says"),
    [
        (
            "print('{\"dependencies\": []}')",
            f"0 of {len(pins.pinned())} versions were looked up\nnot known to the service: ",
        ),
        (
            'sys.exit("Traceback\\nrequests.exceptions.ConnectionError: no host")',
            "no version was looked up: ConnectionError\n",
        ),
    ],
    ids=["empty", "no network"],
)
def test_an_audit_without_an_answer_fails(service: str, says: str, tmp_path: Path) -> None:
    """With a program in the place of pip-audit."""
    lines = ["import sys", 'assert sys.argv[sys.argv.index("-s") + 1] == "osv"', service]
    (tmp_path / "pip_audit.py").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, audit.__file__, "osv"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert done.stdout.startswith(says)
    error = "error: osv did not answer for all; make audit SERVICE=… asks another\n"
    assert done.stdout.endswith(error)


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
