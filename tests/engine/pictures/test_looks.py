"""The colours can be seen and told apart, by the formulas of those who studied it."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from engine import figures
from engine.pictures import classified, looks

# Severity 1.0 of each deficiency, on linear RGB (Machado, Oliveira and Fernandes, 2009).
SEEN_BY = {
    "all": np.eye(3),
    "no red": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no green": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "no blue": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
PAGES = [(looks.LIGHT, "#ffffff"), (looks.DARK, "#14181c")]  # as page.css has them


def linear(colour: str) -> np.ndarray:
    """Returns linear RGB in [0, 1] of an sRGB colour."""
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Returns the contrast of WCAG 2, from 1 to 21."""
    light = [float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (one, other)]
    return max(light) / min(light)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Returns a linear colour in Oklab (Ottosson, 2020), where distances are as people see them."""
    return TO_LAB @ np.cbrt(TO_CONES @ rgb.clip(0, 1))


def test_the_formulas_give_what_is_known() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    np.testing.assert_allclose(oklab(linear("#ffffff")), [1, 0, 0], atol=1e-3)


@pytest.mark.parametrize(("colours", "page"), PAGES, ids=["light", "dark"])
def test_lines_can_be_seen(colours: tuple[str, ...], page: str) -> None:
    assert min(contrast(colour, page) for colour in colours) >= 3


@pytest.mark.parametrize("eyes", SEEN_BY)
@pytest.mark.parametrize(("colours", "page"), PAGES, ids=["light", "dark"])
def test_any_two_lines_can_be_told_apart(colours: tuple[str, ...], page: str, eyes: str) -> None:
    seen = [oklab(SEEN_BY[eyes] @ linear(colour)) for colour in colours]
    for i, one in enumerate(seen):
        for other in seen[:i]:
            assert math.dist(one, other) > 0.1  # 0.02 is the least that people notice


def test_lines_differ_in_more_than_their_colour() -> None:
    assert len(looks.LIGHT) == len(looks.DARK) == len(looks.MARKERS) == looks.MOST <= 7
    drawn = [looks.line(number) for number in range(looks.MOST)]
    assert len({line["marker"] for line in drawn}) == looks.MOST
    assert drawn[1]["color"] == looks.LIGHT[1]


def test_panels_have_their_margins_and_gaps_in_inches() -> None:
    made, panels = looks.panels(
        (4, 5), (0.7, 0.3, 0.5, 0.9), "a $title$", "below", grid=(2, 2), gap=0.4
    )
    assert isinstance(made, Figure)
    left, low, width, height = panels[2].get_position().bounds  # the lower left one
    assert (4 * left, 5 * low) == pytest.approx((0.7, 0.5))
    assert (4 * width, 5 * height) == pytest.approx(((4 - 1.0 - 0.4) / 2, (5 - 1.4 - 0.4) / 2))
    right, low, width, height = panels[1].get_position().bounds  # the upper right one
    assert (4 * (right + width), 5 * (low + height)) == pytest.approx((3.7, 4.1))
    assert [text.get_text() for text in made.texts] == ["a $title$", "below"]


def test_a_long_name_keeps_its_begin_and_its_end() -> None:
    assert looks.cut("automobile", 10) == "automobile"
    assert looks.cut("lenet/optimizer=adam,init=he-2571c357", 20) == "lenet/optimize…1c357"
    assert all(len(looks.cut("x" * 99, longest)) == longest for longest in (9, 12, 42))


def test_letters_that_the_font_lacks_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    """As it happened: the classes 犬 and 猫 were the same box, and matplotlib warned of each."""
    caplog.set_level("INFO")
    names = ["犬", "猫", "chat é", "a\nb", "🐕"]
    looks._say_lacking.cache_clear()
    codes = [r"\u72ac", r"\u732b", "chat é", "a\nb", r"\U0001f415"]
    assert looks.drawable(names) == looks.drawable(names) == codes
    (record,) = caplog.records
    assert record.args == (r"\u72ac", "犬猫🐕")
    drawn = classified.confusion(torch.eye(2).long() * 9, names[:2], "test", "犬")
    labels = [text.get_text() for text in drawn.axes[0].get_xticklabels()]
    assert [*labels, drawn.texts[1].get_text()] == [*codes[:2], codes[0]]
    assert figures._pixels(drawn).shape[2] == 3  # a warning is an error


def test_names_that_differ_do_not_look_alike_when_they_are_cut() -> None:
    """As it happened: a legend had the same words twice."""
    begin, end = "Acer platanoides subsp. ", " and so on and on"
    assert looks.cut_all(["cat", begin, "cat"], 12) == ["cat", "Acer pla…p. ", "cat"]
    found = looks.cut_all([f"{begin}{word}{end}" for word in ("one", "two", "one")], 12)
    assert found == ["Acer…one …on", "Acer…two …on", "Acer…one …on"]
    middles = [f"{'a' * 30}{number % 3}{'b' * 30}{number}{'c' * 30}" for number in range(60)]
    for longest in (9, 12, 40):
        shown = looks.cut_all(middles, longest)
        assert len(set(shown)) == 60
        assert max(map(len, shown)) <= longest
    assert looks.cut_all([], 9) == []
