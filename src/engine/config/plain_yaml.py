"""Writes plain YAML, and reads what anybody may have written: no bombs, no tags, no endless file.

What a run writes has neither anchors nor tags, and is small. Whatever has them is refused before a
parser builds anything of it.
"""

from pathlib import Path
from typing import Any

import yaml

from engine.fence.omegaconf import Loader, represent_word

MOST_BYTES = 1_000_000
MOST_LEVELS = 50  # of mappings and lists in each other
MOST_KEPT = 1000  # parts of configs, as text


class _Dumper(yaml.CSafeDumper):  # type: ignore[misc]
    """Writes YAML with libyaml: ten times as fast as OmegaConf, with the quotes of OmegaConf."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(str, represent_word)
_texts: dict[str, str] = {}


def dump(plain: Any) -> str:
    """Returns dicts, lists, numbers and words as `OmegaConf.to_yaml` writes them."""
    if not plain or not isinstance(plain, dict):
        return _dumped(plain)
    return "".join(_dumped({name: node}) for name, node in plain.items())


def _dumped(plain: Any) -> str:
    """Returns YAML, which is kept: most parts of a config are in all jobs of a sweep."""
    values = repr(plain)  # has the kinds of numbers, too
    if values not in _texts:
        if len(_texts) == MOST_KEPT:
            _texts.clear()
        options = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False}
        _texts[values] = str(yaml.dump(plain, Dumper=_Dumper, **options))
    return _texts[values]


def text_of(path: Path) -> str:
    """Returns the text of a file, whatever it is.

    Raises:
        ValueError: if it is too long, or no text.
    """
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"has more than {MOST_BYTES:,} bytes")
    return data.decode("utf-8")


def load(text: str) -> Any:
    """Returns the plain values of a text, as OmegaConf reads them.

    Raises:
        ValueError: if it is no YAML, or not plain; says why.
    """
    try:
        _check(text)
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        found = [getattr(error, name, None) for name in ("context", "problem")]
        said = ", ".join(filter(None, found)) or str(error).partition("\n")[0]
        raise ValueError(f"is no YAML: {said}") from None


def _check(text: str) -> None:
    level = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("has an alias, which no run writes")
        if getattr(event, "tag", None):
            raise ValueError("has a tag, which no run writes")
        level += isinstance(event, yaml.CollectionStartEvent)
        level -= isinstance(event, yaml.CollectionEndEvent)
        if level > MOST_LEVELS:
            raise ValueError(f"has more than {MOST_LEVELS} levels")
