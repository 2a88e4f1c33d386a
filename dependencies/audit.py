"""Looks up the known vulnerabilities of every version in constraints.txt: `make audit`.

    python dependencies/audit.py [pypi | osv | esms]

pip-audit does the work; the word says whom it asks. Exit codes: 0, all versions were looked up and
none has a known vulnerability; 1, some has; 3, some could not be looked up, so nobody knows.
pip-audit itself ends with 0 then.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from pins import CONSTRAINTS, normal, pinned

FOUND, UNKNOWN = 1, 3
MOST = 5  # names in a message


def asked(service: str) -> dict[str, Any] | str:
    """Asks a service of pip-audit's; returns its answer, or why there is none."""
    words = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "-r", CONSTRAINTS, "-s", service, *words],
        capture_output=True,
        text=True,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        error = (done.stderr.strip() or "no answer").splitlines()[-1]
        return error.partition(":")[0].rpartition(".")[2]
    return answer


def judged(answer: dict[str, Any] | str, versions: Mapping[str, str]) -> tuple[int, list[str]]:
    """Returns the exit code for an answer, and what to say of it.

    Args:
        answer: as `asked` returns it.
        versions: those that were asked for, by package; one without an answer is unknown.
    """
    if isinstance(answer, str):
        return UNKNOWN, [f"no version was looked up: {answer}"]
    packages = [one for one in answer["dependencies"] if "skip_reason" not in one]
    known = {(normal(one["name"]), one["version"]) for one in packages}
    unknown = [name for name, version in versions.items() if (normal(name), version) not in known]
    said = [
        f"{one['name']} {one['version']}: {found['id']}, "
        f"mended in {', '.join(found['fix_versions']) or 'no version yet'}"
        for one in packages
        for found in one["vulns"]
    ]
    code = FOUND if said else 0
    said.append(f"{len(versions) - len(unknown)} of {len(versions)} versions were looked up")
    if unknown:
        more = ", …" if len(unknown) > MOST else ""
        said.append(f"not known to the service: {', '.join(unknown[:MOST])}{more}")
    return code or (UNKNOWN if unknown else 0), said


if __name__ == "__main__":
    service = (sys.argv[1:] or ["pypi"])[0]
    code, said = judged(asked(service), pinned())
    print("\n".join(said))
    if code == UNKNOWN:
        print(f"error: {service} did not answer for all; make audit SERVICE=… asks another")
    sys.exit(code)
