"""Odd values of the command lines that fuzz.py tries; hypothesis makes more of them."""

import hypothesis
from hypothesis import strategies as st

NUMBERS = ["0", "1", "-1", "2", "0.5", "1e-9", "-0.0", "1e400", "nan", "inf", "-inf", "1_000"]
HUGE = [str(10**12), str(2**63), "9" * 30, "10**12", "1e12"]
WORDS = ["null", "true", "False", "text", "auto", "", "''", '"a b"', "a b", "x=y", "a/b=c"]
PATHS = ["photos (1)", "my photos/a=b", "~", "~/x", "'it''s'", "a\\b", "(", "]", "{", "'", "a#b"]
PATHS += ["a:b", "../x", ".", "a/../..", "file://a", "x" * 300, "/".join("abcdefghij" * 50)]
ODD = ["\udcff", "é", "日本", "\u202e", "e\u0301", "🙂", "line\nline", "a\tb", "\x1b[31m", "\x7f"]
ODD += ["%s", "x" * 5000, "$HOME", "`ls`", "@", "!", "*", "a@b", "a b=c d", "\\", "\\'", "{}{}"]
LISTS = ["[]", "[1,2]", "[null]", "[a,[b]]", "[0.9,", "[nan]", "[1, 2]", "[${seed}]", "[[],[]]"]
LISTS += ["[" * 40 + "]" * 40, "[" * 400 + "]" * 400, f"[{','.join(['1'] * 500)}]"]
MAPPINGS = ["{}", "{a:1}", "{a:{b:null}}", "{1:2}", "{a: 1", "{lr:${seed}}", "{a:1,a:2}", "{_:_}"]
MAPPINGS += ["{" + "a:{" * 40 + "}" * 41, "{null:null}", "{true:false}", "{a.b:1}", "{'':1}"]
MAPPINGS += ["{1:2,a:3}", "[{1:2,a:3}]", "{1.5:[{null:1,true:2}]}"]
OBJECTS = [
    "{_target_:torch.nn.ReLU}",
    "{_target_:torch.nn.Linear}",
    "{_target_:nowhere.at.all}",
    "{_target_:torch.pi}",
    "{_target_:builtins.dict,a:1}",
    "{_target_:builtins.len,_partial_:true}",
    "{_target_:3}",
    "{_target_:''}",
    "{_target_:.}",
    "{_target_:torch.optim.SGD,_partial_:true,lr:0.1}",
    "{_target_:torch.nn.ReLU,_args_:3}",
    "{_target_:torch.nn.ReLU,_args_:[{_target_:torch.nn.ReLU}]}",
    "{_target_:torch.nn.ReLU,_convert_:most}",
    "{_target_:${module._target_}}",
    "{_recursive_:false,_target_:torch.nn.Sequential,_args_:[1]}",
]
REFERENCES = ["${seed}", "${trainer}", "${optimizer}", "${nosuch}", "${seed", "${}", "${.}"]
REFERENCES += ["${..}", "${oc.env:NO_SUCH_NAME}", "${nosuch:1}", "${oc.decode:'['}", "${paths}"]
REFERENCES += ["${hydra:}", "${oc.env:NO_SUCH_NAME,3}", "${oc.env:${seed}}", "${oc.select:seed}"]
REFERENCES += ["${seed}${seed}", "${oc.select:nosuch,5}", "${oc.create:{a:1}}"]
REFERENCES += ["${oc.dict.keys:trainer}", "${root:}", "${oc.dict.values:seed}"]
REFERENCES += ["${oc.deprecated:seed}", "${oc.decode:${seed}}", "${now:%Y}", "${hydra:runtime.cwd}"]
REFERENCES += ["${hydra.job.num}", "${hydra:nosuch}", "\\${seed}", "${${seed}}"]
REFERENCES += ["${trainer.max_epochs}", "${trainer[max_epochs]}", "${.lr}", "${..seed}", "$${seed}"]
SWEEPS = ["1,2", "null,1", "range(1,3)", "range(0,1000000000000)", "choice(a,b)", "interval(0,1)"]
SWEEPS += ["glob(*)", "sgd,adam", "1,", ",", "range(3)", "shuffle(1,2)", "int(2.5)", "a,'b"]
SWEEPS += ["range(0,1,0)", "range(0,1,0.3)", "range(1,0)", "range(0,inf)", "range(nan,1)"]
SWEEPS += ["range(0,1,-1)", "choice()", "choice([1,2],[3])", "choice(1,choice(2,3))"]
SWEEPS += ["glob([a*,b*],exclude=*)", "sort(2,1)", "sort(a,1)", "shuffle(range(0,5))"]
SWEEPS += ["tag(log,interval(1e-3,1))", "tag(interval(1,2))", "interval(1,0)", "interval(0,inf)"]
SWEEPS += ["interval(nan,1)", "interval(-1,1)", "tag(log,1,2)", "float(1,2)", "str(1,2)"]
SWEEPS += ["bool(1,2)", "json_str({a:1})", "json_str([1],[2])", "nosuch(1)", "int(inf)"]
SWEEPS += ["int(text)", "bool(3)", "choice(1", "1,2,1", "[1],[2]", "{a:1},{a:2}", "1,null,[]"]
VALUES = [*NUMBERS, *HUGE, *WORDS, *PATHS, *ODD, *LISTS, *MAPPINGS, *OBJECTS, *REFERENCES, *SWEEPS]
MARKS = "[]{}(),:=$'\"\\+~@/.#&- \t\n%|<>?*;!"  # what means something to Hydra, YAML or a shell
FUNCTIONS = ["choice", "range", "interval", "glob", "tag", "sort", "shuffle", "int", "float", "str"]
RESOLVERS = ["", "oc.env:", "oc.select:", "oc.decode:", "oc.create:", "oc.dict.keys:", "hydra:"]
RESOLVERS += ["."]


def made(seed: int, count: int = 300) -> list[str]:
    """Returns different values that hypothesis makes; a seed gives the same ones each time."""
    found: dict[str, None] = {}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(_values())
    def note(value: str) -> None:
        found[value] = None

    note()
    return [value for value in found if stays_inside(value)]


def _values() -> st.SearchStrategy[str]:
    """Makes numbers, texts, lists, mappings, calls and interpolations, as Hydra writes them."""
    number = st.integers().map(str) | st.floats().map(repr)
    text = st.text(max_size=8) | st.text(MARKS, max_size=8) | st.text(MARKS + "ab01", max_size=20)
    leaf = st.sampled_from(VALUES).filter(lambda value: len(value) < 30) | number | text
    return st.recursive(leaf, _around, max_leaves=5)


def _around(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Makes values of other values."""
    some = st.lists(inner, max_size=3).map(",".join)
    pairs = st.lists(
        st.tuples(st.sampled_from(["a", "lr", "_target_", "1", ""]), inner), max_size=2
    )
    return (
        some
        | some.map("[{}]".format)
        | pairs.map(lambda found: f"{{{','.join(map(':'.join, found))}}}")
        | st.builds("{}({})".format, st.sampled_from(FUNCTIONS), some)
        | st.builds("${{{}{}}}".format, st.sampled_from(RESOLVERS), inner)
        | st.builds("{0}{1}{0}".format, st.sampled_from(["'", '"']), inner)
    )


def stays_inside(text: str) -> bool:
    """Tells whether a value names no place outside of the folder in which lines are tried."""
    return (
        "\0" not in text
        and not any(
            part.startswith("/") or part.count("..") > 2 for part in text.replace("=", " ").split()
        )
        and not text.lstrip("'\"[({ ").startswith("/")
    )
