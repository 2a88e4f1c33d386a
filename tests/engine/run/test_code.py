"""Which code of the user's a run imports, and when its digest changes."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from engine.config.resolved import Config
from engine.run import code
from engine.run.code import forget


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """Forgets the files and modules that a test made."""
    before = set(sys.modules)
    forget()
    yield
    forget()
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def followed(*targets: str) -> set[str]:
    config = Config({"callbacks": [{"_target_": target} for target in targets]})
    return set(code.digests(config, "own_package.door"))


def test_comments_and_empty_lines_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for text in (
        "SIZE = 1\n",
        "# how many\n\nSIZE = 1   # one\n",
        "SIZE = 2\n",
        'SIZE = """\n# 1\n"""\n',
        'SIZE = """\n"""\n',
    ):
        write(tmp_path, {"sizes.py": text})
        forget()
        digests.append(code.source("sizes"))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_imports_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = "def late():\n    from . import sizes\n    from .deep.er import VALUE\n    import os\n"
    texts = {
        "__init__.py": "",
        "model.py": late,
        "sizes.py": "",
        "deep/__init__.py": "from .. import other\n",
        "deep/er.py": "VALUE = 1\n",
        "other.py": "",
        "unused.py": "",
    }
    write(tmp_path / "own_package", texts)
    monkeypatch.syspath_prepend(tmp_path)
    inner = ["model", "sizes", "deep", "deep.er", "other"]
    expected = {"own_package", *(f"own_package.{name}" for name in inner)}
    assert followed("own_package.model.Mine") == expected
    # As it happened: a class method, and a class within a class, stood for no file.
    assert followed("own_package.model.Mine.make") == expected
    assert followed("own_package.model.Mine.Inner.make") == expected


def test_code_counts_wherever_it_lies_unless_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: a module on PYTHONPATH was edited, and the run went on with it."""
    imports = "import alone, bare.inner, packed, debians, engine, torch\n"
    write(tmp_path / "here/own_package", {"__init__.py": "", "model.py": imports})
    write(tmp_path / "elsewhere", {"alone.py": "", "bare/inner.py": ""})  # bare has no __init__.py
    write(tmp_path / "env/site-packages", {"packed/__init__.py": "import alone\n"})
    write(tmp_path / "usr/dist-packages", {"debians.py": ""})
    for folder in ("here", "elsewhere", "env/site-packages", "usr/dist-packages"):
        monkeypatch.syspath_prepend(tmp_path / folder)
    expected = {"own_package", "own_package.model", "alone", "bare.inner"}
    assert followed("own_package.model.Mine") == expected
    assert followed("packed.Thing") == {"own_package"}  # the command's


def test_nothing_is_imported_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that a received run has recorded may be of any module."""
    leaves = f"import os\nos.mkdir({str(tmp_path / 'marker')!r})\n"
    names = ("__init__.py", "__main__.py", "inner/__init__.py", "inner/model.py")
    write(tmp_path / "own_package", dict.fromkeys(names, leaves))
    monkeypatch.syspath_prepend(tmp_path)
    digest, _ = code.source("own_package.inner.model")
    assert digest == code.source("own_package")[0]
    for name in ("own_package.inner.model.Mine", "own_package.__main__.x", "no_such.x", "", "a..b"):
        assert code.source(name)[0] is None
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("first", ["env/site-packages", "elsewhere"])
def test_a_package_in_two_places_is_the_users_where_it_is_not_installed(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "here/own_package", {"__init__.py": "", "model.py": "import acme.net.deep\n"})
    write(tmp_path / "elsewhere/acme/net", {"__init__.py": "", "deep.py": "import acme.core\n"})
    write(tmp_path / "env/site-packages/acme", {"core.py": "import acme.net.unused\n"})
    write(tmp_path / "elsewhere/acme/net", {"unused.py": ""})
    (second,) = {"env/site-packages", "elsewhere"} - {first}
    for folder in ("here", second, first):  # each goes before the others
        monkeypatch.syspath_prepend(tmp_path / folder)
    assert followed("own_package.model.Mine") == {
        *("own_package", "own_package.model", "acme.net", "acme.net.deep"),
    }
