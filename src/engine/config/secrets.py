"""Keeps secrets out of whatever a run writes.

A secret stays `${oc.env:NAME}` in the config, and so in every file and message. `objects.build`
reads the environment when it hands the value to a class. A secret is a word under a key that has
key, token, secret or password as a whole word, or a URL with a password in it.

All other `${…}` is resolved. Where the value itself has `${`, it is a word: in a resolved config it
stands as `\\${`, as one writes it on a command line, so that nothing resolves it once more.
"""

import functools
import os
import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from engine import messages
from engine.config.nested import at, copied, words_in
from engine.errors import UserError
from engine.messages import PASSWORD

WORDS = {"key", "token", "secret", "password"}
ENVIRONMENT = re.compile(r"(?<!\\)\$\{oc\.env:\s*(\w+)\s*(?:,\s*null\s*)?\}")
# Whatever stands in its place if it is not set.
VARIABLE = re.compile(r"(?<!\\)\$\{oc\.env:\s*(\w+)")
# What may stand under a secret's key: the environment's value, or that of another key.
REFERENCE = re.compile(r"\$\{(?:oc\.env:\s*\w+\s*(?:,\s*null\s*)?|[\w.]+)\}")
# {api_key: abc}
INNER = re.compile(rf"""([\w.-]+)['"]?\s*:\s*((?:{REFERENCE.pattern}|[^\s,{{}}\[\]])+)""")
PLAIN = re.compile(r"(null|true|false|[-+.\d][-+.\de]*)?,*", re.IGNORECASE)
# https://me:${oc.env:NAME}@host, of which it finds the password
HOLE = re.compile(r"://(?:\$\{[^}]*\}|\$(?!\{)|[^/?#\s@:$])*:([^/?#\s@]*\$\{[^\s@]*)@")
SUSPECT = re.compile("|".join((*WORDS, "://[^@]*@")), re.IGNORECASE)  # or a URL with a user
DOLLAR = re.compile(r"(\\*)\$\{(oc\.env:)?")
FOLDERS = ("resume", "run")  # their values are paths, which may have any name


@functools.cache
def is_secret(key: str) -> bool:
    """Tells whether a dotted key, such as `logger.wandb.apiKey`, holds a secret."""
    name = key.rpartition(".")[2]
    words = re.split(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])", name)
    return not WORDS.isdisjoint(word.lower() for word in words)


def check_words(words: Sequence[str]) -> None:
    """Refuses a command line with a secret in it, before anybody shows a word of it.

    Raises:
        UserError: names the key; not the value.
    """
    for word, after in zip(words, [*words, ""][1:], strict=True):
        key, equals, value = word.lstrip("+~-").partition("=")
        if word.startswith("-") and not equals:  # --api_key abc
            value = after
        if key in FOLDERS:
            continue
        pairs = [(key, value), *INNER.findall(value)]
        typed = [
            name
            for name, text in pairs
            if is_secret(name) and not PLAIN.fullmatch(REFERENCE.sub("", text.strip("'\"")))
        ]
        if typed or PASSWORD.search(ENVIRONMENT.sub("", word)):
            raise _refusal(typed[0] if typed else key)


def resolve(composed: DictConfig, raw: Any) -> dict[str, Any]:
    """Resolves a config into plain values; secrets stay `${oc.env:NAME}`, and `${` is `\\${`.

    The values of the variables named there are left out of all messages from now on.

    Args:
        composed: the config.
        raw: its values, nested and not resolved.

    Raises:
        UserError: if a secret does not come from the environment.
    """
    plain: Any = OmegaConf.to_container(composed, resolve=True, enum_to_str=True)
    values: dict[str, Any] = copied(plain, escaped)
    if not may_hold(plain):  # most have none, and to look at each word takes longer
        return values
    words = list(words_in(plain))
    urls = {path for path, word in words_in(raw) if "://" in word and HOLE.search(word)}
    found = [(path, word) for path, word in words if path in urls or _holds_secret(path, word)]
    written = OmegaConf.create(copied(raw, _as_it_stands)) if found else None
    known: set[str] = set()
    for path, _ in found:
        reference = str(at(written, path))
        without = ENVIRONMENT.sub("", reference)
        if without == reference or (without and _holds_secret(path, without)):
            raise _refusal(".".join(map(str, path)))
        holes = "" if _holds_secret(path, "") else " ".join(HOLE.findall(reference))
        known.update(ENVIRONMENT.findall(holes or reference))
        at(values, path[:-1])[path[-1]] = reference
        messages.hide(ENVIRONMENT.findall(reference))
    texts = [os.environ.get(name, "") for name in known]
    for path, word in words:
        if any(text in word for text in texts):  # it may have got elsewhere by ${...}
            reference = str(at(written, path))
            if not known.isdisjoint(VARIABLE.findall(reference)):
                at(values, path[:-1])[path[-1]] = reference
    return values


def may_hold(values: Any) -> bool:
    """Tells whether a key or a value looks as if there may be a secret; values may be nested."""
    return SUSPECT.search(repr(values)) is not None


def escaped(value: Any) -> Any:
    """Writes the `${` of a word so that OmegaConf gives the word as it is; other values stay."""
    if not isinstance(value, str) or "${" not in value:
        return value
    return DOLLAR.sub(lambda found: rf"{found[1] * 2}\{found[0].removeprefix(found[1])}", value)


def told(node: dict[str, Any], key: str) -> dict[str, Any]:
    """Returns a node of a resolved config as its class is to get it, secrets included.

    Args:
        node: the node; may hold objects.
        key: the node's, for messages.
    """
    if not any("${" in word for _, word in words_in(node)):
        return node
    kept = OmegaConf.create({key: node}, flags={"allow_objects": True})
    resolved: Any = OmegaConf.to_container(kept, resolve=True)
    return dict(resolved[key])


def check_written(values: Any) -> None:
    """Refuses a secret that stands in a config as it is.

    Args:
        values: of the config, nested and not resolved.

    Raises:
        UserError: names the key; not the value.
    """
    for path, word in words_in(values):
        typed = REFERENCE.sub("", word)
        if typed and _holds_secret(path, typed):
            raise _refusal(".".join(map(str, path)))


def kept(written: str, value: str) -> str:
    """Returns a URL as it was typed, if its password comes from the environment; or else its value.

    The whole URL may come from there.

    Args:
        written: the URL, not resolved.
        value: the same, resolved.
    """
    names = ENVIRONMENT.findall(written)
    if not HOLE.search(written) and not (names and PASSWORD.search(value)):
        return value
    messages.hide(names)
    return written


def _refusal(key: str) -> UserError:
    variable = re.sub(r"\W", "_", key.rpartition(".")[2]).upper()
    return UserError(
        f"{key}: holds a secret, which the run would write into its files.\n"
        f"Put it into an environment variable, and write {key}='${{oc.env:{variable}}}'"
    )


def _holds_secret(path: Sequence[Any], value: str) -> bool:
    name = next((name for name in reversed(path) if isinstance(name, str)), "")
    return is_secret(name) or ("://" in value and PASSWORD.search(value) is not None)


def _as_it_stands(value: Any) -> Any:
    """Makes words of `${oc.env:NAME}` and `\\${`: references lead to them as they stand."""

    def once_more(found: re.Match[str]) -> str:
        is_word = bool(found[2]) or len(found[1]) % 2 == 1
        return str(escaped(found[0])) if is_word else found[0]

    return DOLLAR.sub(once_more, value) if isinstance(value, str) and "${" in value else value
