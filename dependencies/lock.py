"""Makes requirements.lock of constraints.txt: `make lock`.

    python dependencies/lock.py

uv writes each version with the SHA-256 of every file that the package index has of it, so that the
lock holds on all platforms and Pythons. No name of a host stands in it.
"""

import subprocess
import sys

from pins import CONSTRAINTS, LOCK, ROOT

HEAD = """\
# Versions of constraints.txt with hashes, made by `make lock`: see CONTRIBUTING.md.
"""
OPTIONS = [
    *("--universal", "--python-version", "3.11", "--all-extras", "--generate-hashes"),
    *("--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate", "--quiet"),
]


def main() -> None:
    words = ["pip", "compile", *OPTIONS, "--constraints", CONSTRAINTS, ROOT / "pyproject.toml"]
    done = subprocess.run(
        [sys.executable, "-m", "uv", *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    if done.returncode:
        sys.exit(f"error: {LOCK.name} stays as it is: uv ended with {done.returncode}")
    LOCK.write_text(HEAD + done.stdout)
    print(f"written: {LOCK.name}")


if __name__ == "__main__":
    main()
