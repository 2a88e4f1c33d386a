"""Nested values by the names that lead to them."""

import copy

from engine.config.nested import at, copied, dotted, words_in

NESTED = {"a": {"b": [1, {"c": "x"}], "d": {}}, "e": None, "f": "", "g.h": "y"}


def test_dotted_keys_have_lists_and_empty_mappings_as_values() -> None:
    flat = {"a.b": [1, {"c": "x"}], "a.d": {}, "e": None, "f": "", "g.h": "y"}
    assert dotted(NESTED) == flat


def test_words_are_found_at_any_depth_with_the_names_that_lead_to_them() -> None:
    found = dict(words_in(NESTED))
    assert found == {("a", "b", 1, "c"): "x", ("g.h",): "y"}
    assert {path: at(NESTED, path) for path in found} == found
    assert at(NESTED, ()) is NESTED


def test_a_copy_shares_no_mapping_and_no_list() -> None:
    before = copy.deepcopy(NESTED)
    made = copied(NESTED)
    assert made == NESTED
    made["a"]["b"][1]["c"] = "z"
    made["a"]["b"].append(2)
    made["a"]["d"]["new"] = 1
    made["e"] = 1
    assert before == NESTED
