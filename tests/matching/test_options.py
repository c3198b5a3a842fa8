import numpy as np
import pytest

from matching.options import MatchOptions


@pytest.mark.parametrize(
    ("rotations", "symmetric", "turns"),
    [
        ((180, 0), False, (180, 0)),  # in the order given: the first of equally good ones wins
        ((0, 90), True, (0, 90, 270)),  # seen from the other image a turn by 90 is one by 270
        ((0, 180), True, (0, 180)),
    ],
)
def test_turns_are_closed_under_reversal_where_order_must_not_matter(rotations, symmetric, turns):
    assert MatchOptions(rotations=rotations, symmetric=symmetric).turns == turns


def test_an_unknown_option_is_an_error():
    with pytest.raises(TypeError, match="max_match"):
        MatchOptions(max_match=3)


@pytest.mark.parametrize("wrong", [-1, 2.5, "5"])
@pytest.mark.parametrize("name", ["max_matches", "second_look"])
def test_counts_are_whole_and_not_negative(name, wrong):
    with pytest.raises(ValueError, match=f"{name} must be 0 or more"):
        MatchOptions(**{name: wrong})
    assert getattr(MatchOptions(**{name: np.int64(3)}), name) == 3
