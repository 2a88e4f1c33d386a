"""What is relied on of OmegaConf beyond its documentation: a new version breaks here, by name."""

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf, base
from omegaconf.errors import InterpolationKeyError

from engine.fence import omegaconf as fence


def test_resolved_in_gives_what_a_key_of_the_config_would_have() -> None:
    texts = ["/x/${a}/${b.c}", "${b.c}", "plain", "${oc.select:no,5}"]
    config = OmegaConf.create({"a": 1, "b": {"c": "${a}"}})
    for text in texts:
        assert fence.resolved_in(config, text) == OmegaConf.merge(config, {"x": text}).x
    with pytest.raises(InterpolationKeyError, match="nobody"):
        fence.resolved_in(config, "${nobody}")
    assert list(config) == ["a", "b"]


def test_node_of_does_not_resolve() -> None:
    config = OmegaConf.create({"a": "${nobody}", "b": {"c": 1}, "d": None})
    assert str(fence.node_of(config, "a")) == "${nobody}"
    assert isinstance(fence.node_of(config, "b"), DictConfig)
    assert fence.node_of(config, "nobody") is None


WORDS = ("plain", "1", "1e3", "1.5", "true", "null", "no", "a: b", "", "é")


@pytest.mark.parametrize("word", WORDS)
def test_represent_word_quotes_what_omegaconf_quotes(word: str) -> None:
    class Dumper(yaml.CSafeDumper):  # type: ignore[misc]
        pass

    Dumper.add_representer(str, fence.represent_word)
    ours = yaml.dump({"a": word}, Dumper=Dumper, default_flow_style=False, allow_unicode=True)
    assert ours == OmegaConf.to_yaml({"a": word})


TEXTS = ("1e-3", "1_000.5", "-.inf", "12:30", "2026-01-01", "0x1f", "yes", "~", "[1, {a: .5}]")


@pytest.mark.parametrize("text", TEXTS)
def test_the_loader_reads_what_omegaconf_reads_by_libyaml(text: str) -> None:
    ours = yaml.load(f"a: {text}", fence.Loader)
    theirs = OmegaConf.to_container(OmegaConf.create(f"a: {text}"))
    assert repr(ours) == repr(theirs)
    assert issubclass(fence.Loader, yaml.cyaml.CParser)


def test_the_loader_refuses_a_key_that_stands_twice_as_omegaconf_does() -> None:
    for read in (OmegaConf.create, lambda text: yaml.load(text, fence.Loader)):
        with pytest.raises(yaml.constructor.ConstructorError, match="duplicate key a"):
            read("a: 1\nb: 2\na: 3")


def test_parsing_once_parses_equal_words_once_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parse = base.parse
    parsed: list[str] = []

    def resolved(a: int) -> object:
        values = {"a": a, "b": "${a}", "c": "x${b}y", "d": {"e": "${a}", "f": "${.e}"}}
        return OmegaConf.to_container(OmegaConf.create(values), resolve=True)

    def noted(word: str) -> object:
        parsed.append(word)
        return parse(word)

    monkeypatch.setattr(base, "parse", noted)
    expected = [resolved(1), resolved(2)]
    assert len(parsed) > len(set(parsed))
    parsed.clear()
    with fence.parsing_once():
        assert [resolved(1), resolved(2)] == expected
    assert len(parsed) == len(set(parsed))
    assert base.parse is noted
