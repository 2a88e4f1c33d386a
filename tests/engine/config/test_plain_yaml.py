"""YAML as OmegaConf writes it, and what anybody may have written: bombs and tags are refused."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from engine.config import plain_yaml
from engine.errors import UserError
from engine.run import folders
from payloads import BOMBS, OWN, received


@pytest.mark.parametrize(("text", "says"), BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("file", [folders.CONFIG, folders.OVERRIDES], ids=str)
def test_a_bomb_is_refused_before_it_is_parsed(
    text: str, says: str, file: Path, marker: Path, tmp_path: Path
) -> None:
    run_dir = received(tmp_path / "run", "name: x\n")
    whole = text.replace("MARKER", str(marker)).encode("utf-8", "surrogatepass")
    (run_dir / file).write_bytes(whole)
    with pytest.raises(UserError, match=says):
        folders.load_config(run_dir, OWN)
    assert not marker.exists()


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ValueError, match="more than 1,000,000 bytes"):
        plain_yaml.text_of(Path("/dev/zero"))


@pytest.mark.parametrize("text", ["a: 1\n---\nb: 2\n", "? [a]\n: 1\n", "a: =\n", "<<: 3\n"])
def test_what_yaml_cannot_make_values_of_is_no_yaml(text: str) -> None:
    with pytest.raises(ValueError, match="is no YAML"):
        plain_yaml.load(text)


def test_what_is_written_is_omegaconfs() -> None:
    """Words that YAML would read as numbers, truth values or null are quoted, too."""
    values = [
        "1e-5",
        "1.5",
        "yes",
        "null",
        "",
        "0x1f",
        "12:30",
        "ü",
        "a: b",
        "two\nlines",
        1e-5,
        None,
        True,
        [1, {}],
        "2026-01-01",
    ]
    config = OmegaConf.create(
        {"a": {f"key{i}": value for i, value in enumerate(values)}, "b": "${a.key0}", 3: {}}
    )
    plain = OmegaConf.to_container(config, resolve=True)
    assert plain_yaml.dump(plain) == OmegaConf.to_yaml(config, resolve=True)


def test_numbers_that_are_equal_are_written_by_their_kinds() -> None:
    for value, text in [(1, "1"), (1.0, "1.0"), (True, "true"), ("1", "'1'"), (0.0, "0.0")]:
        assert (
            plain_yaml.dump({"a": {"b": value}, "c": [value]}) == f"a:\n  b: {text}\nc:\n- {text}\n"
        )
    assert plain_yaml.dump({}) == "{}\n"
    assert plain_yaml.dump([]) == "[]\n"


def test_parts_are_written_alike_however_many_there_were() -> None:
    for number in range(2 * plain_yaml.MOST_KEPT + 1):
        assert plain_yaml.dump({"a": [number]}) == f"a:\n- {number}\n"
        assert len(plain_yaml._texts) <= plain_yaml.MOST_KEPT
