"""Makes docs/licences.md: the licence of every package that constraints.txt pins.

    python dependencies/licences.py

A licence is what the package's own metadata say. The row of a package that is not installed here,
as on another platform, stays as it is; a new one has to be installed first.
"""

import re
import sys
from importlib import metadata

from pins import ROOT, normal, pinned

PAGE = ROOT / "docs/licences.md"
HEAD = """\
# Licences of dependencies

The packages that a full installation has, with every extra, on Linux with CUDA. Versions are those
of [constraints.txt](../constraints.txt). Licences are what the packages' own metadata say. Made by
`make licences`; [a test](../tests/test_dependencies.py) compares it with what is installed.

| package | version | licence |
|---|---|---|
"""
UNSAID = "not said in its metadata"
LONGEST = 80  # characters of a licence's name; what is longer is its text


def licence(package: metadata.PackageMetadata) -> str:
    """Returns the name of a package's licence: its expression, its classifiers, or its field."""
    names = package.get_all("Classifier") or []
    known = [name.rpartition(" :: ")[2] for name in names if name.startswith("License :: ")]
    # The field may have the whole text.
    field = (package.get("License") or "").strip()
    short = field if "\n" not in field and len(field) <= LONGEST else ""
    return package.get("License-Expression") or " and ".join(known) or short or UNSAID


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Returns version and licence by package, of a page."""
    cells = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", text, re.MULTILINE)
    return {name: (version, named) for name, version, named in cells if name != "package"}


def page(before: str) -> str:
    """Returns the page.

    Args:
        before: the page as it is.

    Raises:
        LookupError: if a version is neither installed nor on the page.
    """
    known = rows(before)
    made = []
    for name, version in sorted(pinned().items(), key=lambda pin: normal(pin[0])):
        named = known[name][1] if name in known and known[name][0] == version else None
        try:
            found = metadata.metadata(name)
            named = licence(found) if found["Version"] == version else named
        except metadata.PackageNotFoundError:
            pass
        if named is None:
            raise LookupError(f"{name}: pip install {name}=={version} first")
        made.append(f"| {name} | {version} | {named} |\n")
    return HEAD + "".join(made)


if __name__ == "__main__":
    try:
        PAGE.write_text(page(PAGE.read_text() if PAGE.exists() else ""))
    except LookupError as error:
        sys.exit(f"error: {error}")
    print(f"written: {PAGE.relative_to(ROOT)}")
