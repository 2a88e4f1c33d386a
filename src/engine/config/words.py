"""The words of a command line: Hydra's options, and overrides, as Hydra's grammar has them.

What is written otherwise is refused, and the right way is shown.
"""

import itertools
import re
import shlex
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, Sweep
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from engine.config.limits import MOST_SHOWN
from engine.errors import LEXER, UserError, nearest
from engine.fence.hydra import options_of

COMMANDS = ("run", "multirun", "cfg", "info", "shell_completion")  # of which Hydra does one
# Options that change which config is checked, or that mean nothing to `python -m`.
REFUSED = {
    "experimental_rerun": "write resume=RUN_DIR.",
    "config_path": "the command has its own conf/; choose from it, such as experiment=lenet.",
    "config_dir": "files of your own have their place in conf/, such as conf/experiment/NAME.yaml.",
    "config_name": "must be config; choose from it, such as experiment=lenet.",
    "shell_completion": "there is none for `python -m`.",
}
OVERRIDE = re.compile(r"~[^=@]|\+{0,2}[^=+~@].*=", re.DOTALL)  # key=value, +key=value, ~key

ONE_VALUE = re.compile(r"[^=]+=[^=]+")
JOINS = ("=", ",")  # what has no blank beside it


def is_multirun(words: Sequence[str]) -> bool:
    """Tells whether a command line is a sweep, by -m or by hydra.mode; Hydra is initialized."""
    options = options_of(words)[0]
    hydra: Any = GlobalHydra.instance().hydra
    mode = None if options.multirun else hydra.get_mode("config", options.overrides)
    return bool(options.multirun) or mode == RunMode.MULTIRUN


def overrides_of(words: Sequence[str], known: Callable[[], Iterable[str]] = list) -> list[str]:
    """Returns the overrides of a command line; other words are options of Hydra's.

    Args:
        words: of the command line.
        known: returns the keys that there are, to find the one that is meant.

    Raises:
        UserError: if a word is neither.
    """
    try:
        options, unknown = options_of(words)
    except ValueError as error:
        raise UserError(f"{error}.") from None
    for word in sorted(unknown, key=lambda word: not word.startswith("-")):
        if word.startswith("-"):
            _refuse_option(word, words[words.index(word) + 1 :], list(known()))
        raise UserError(f"{shlex.quote(word)}: write options, such as -m, before all overrides.")
    _check_options(options)
    overrides: list[str] = options.overrides
    for number, word in enumerate(overrides):
        if not OVERRIDE.match(word):
            _refuse_word(word, overrides[max(0, number - 1) :])
    return overrides


def _refuse_option(word: str, after: Sequence[str], known: Sequence[str]) -> NoReturn:
    """Refuses an option that Hydra does not have, such as `--lr 0.1`, and shows the override.

    Args:
        word: the option.
        after: the words after it.
        known: the keys that there are.
    """
    option, _, value = word.partition("=")
    name = option.lstrip("-").replace("-", "_")
    values = [text for text in (value, *after[:1]) if text and (text == value or "=" not in text)]
    hint = "" if name in known else nearest(name, known)
    raise UserError(f"{word}: write {name}={[*values, 'VALUE'][0]}, without dashes.{hint}")


def _check_options(options: Namespace) -> None:
    """Refuses options of Hydra's that it answers with a traceback."""
    asked = [f"--{name.replace('_', '-')}" for name in COMMANDS if getattr(options, name)]
    if asked[1:]:
        raise UserError(f"{' and '.join(asked)}: give one of them.")
    for name, advice in REFUSED.items():
        given = getattr(options, name)
        if given and (name, given) != ("config_name", "config"):
            raise UserError(f"--{name.replace('_', '-')}: {advice}")
    if options.hydra_help and options.overrides:
        raise UserError("--hydra-help: write it alone; --help is about this command.")
    if options.resolve and not (options.cfg or options.help):
        raise UserError("--resolve: needs --cfg job, whose output it resolves.")


def _refuse_word(word: str, around: Sequence[str]) -> NoReturn:
    """Refuses what is no override; it may be a part of one, such as of [1, 2] without quotes.

    Args:
        word: the word.
        around: the words from the one before on.
    """
    joined = [" ".join(around[:end]) for end in range(2, len(around) + 1)]
    if whole := [text for text in joined if not _is_open(text)] if _is_open(around[0]) else []:
        raise UserError(f"{whole[0]}: has blanks, so it needs quotes: {shlex.quote(whole[0])}")
    for parts in (around[:2], around[:3], around[1:3], around[1:4]):
        pairs = itertools.pairwise(parts)
        one = "".join(parts)
        is_split = all(own[-1:] in JOINS or after[:1] in JOINS for own, after in pairs)
        is_value = ONE_VALUE.fullmatch(one) and not (_is_open(one) or one.endswith(JOINS))
        if word in parts and parts[1:] and is_split and is_value:
            raise UserError(f"{' '.join(parts)}: write {one}, without blanks.")
    raise UserError(
        f"{shlex.quote(word)}: not an override; write key=value, such as experiment=lenet."
    )


def _is_open(text: str) -> bool:
    """Tells whether a text has more opening brackets than closing ones."""
    return sum(map(text.count, "[{(")) > sum(map(text.count, "]})"))


def parsed_words(words: Sequence[str], known: Callable[[], Iterable[str]] = list) -> list[Override]:
    """Parses the overrides of a command line; Hydra is initialized.

    Args:
        words: of the command line.
        known: as `overrides_of` takes it.

    Raises:
        UserError: if a word is none, or Hydra's grammar does not have it; says how to quote it.
    """
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    parsed = []
    for word in overrides_of(words, known):
        try:
            parsed += parser.parse_overrides([word])
            is_swept = parsed[-1].is_sweep_override()
            if _has_inner_sweep(parsed[-1].value()):
                raise UserError(
                    f"{word}: values to sweep over stand alone, as in seed=1,2; "
                    "not in a list, a mapping, or among other values."
                )
            # Reads ${…}, also of the word as it is, which Hydra notes.
            OmegaConf.create([word] if is_swept else [word, parsed[-1].value()])
        except HydraException as error:
            _refuse_text(word, str(error), parser)
        except OmegaConfBaseException as error:
            raise UserError(f"{word}: {str(error).splitlines()[0]}.") from None
        except RecursionError:
            raise UserError(f"{word[:MOST_SHOWN]}…: is nested too deeply.") from None
    return parsed


def _has_inner_sweep(value: Any) -> bool:
    """Tells whether there are values to sweep over among the items of a value."""
    items = value.list if isinstance(value, ChoiceSweep) else value
    items = items.values() if isinstance(items, dict) else items
    items = items if isinstance(items, Iterable) and not isinstance(items, str) else ()
    return any(isinstance(item, Sweep | Glob) or _has_inner_sweep(item) for item in items)


def _refuse_text(word: str, reason: str, parser: OverridesParser) -> NoReturn:
    """Refuses a word that Hydra's grammar does not have, and says how to write it."""
    key, equals, value = word.partition("=")
    as_shown = word if word.isprintable() else repr(word)
    if _value(parser, f"{key}=1" if equals else word) is None:
        raise UserError(
            f"{shlex.quote(as_shown) if word.isprintable() else as_shown}: "
            f"Hydra cannot read {key.lstrip('+~') or word!r} as a key.\n"
            "Write key=value, +key=value or ~key, such as seed=1 or ~debug."
        ) from None
    lines = [line for line in reason.splitlines() if word not in line and "hydra.cc" not in line]
    said = lines[0].strip(" ^") if lines and LEXER not in lines[0] else ""
    # Before a quote and at the end, a backslash stands for the next letter.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', re.sub(r"(\\+)$", r"\1\1", value))
    quoted = f'{key}="{escaped}"'
    can_be_quoted = word.isprintable() and _value(parser, quoted) == value
    advice = f"\nIf it is a word, quote it: {shlex.quote(quoted)}" if can_be_quoted else ""
    raise UserError(
        f"{as_shown}: Hydra cannot read this value{said and f' ({said})'}.{advice}"
    ) from None


def _value(parser: OverridesParser, word: str) -> Any:
    """Returns the value that a word says; None where Hydra or OmegaConf cannot read it."""
    try:
        (override,) = parser.parse_overrides([word])
        OmegaConf.create([override.value()])
    except (HydraException, OmegaConfBaseException):
        return None
    return override.value()
