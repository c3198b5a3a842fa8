import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stereo.tiles import RAMP, column_pieces, in_pieces, row_pieces


@given(st.integers(1, 700), st.integers(64, 300), st.sampled_from([row_pieces, column_pieces]))
def test_pieces_cover_the_axis_and_the_last_to_speak_has_the_whole_say(length, size, cut):
    said = np.zeros(length)  # weight that any piece has, as they are laid over each other
    for piece in cut(length, size):
        assert 0 <= piece.start < piece.stop <= length
        assert piece.stop - piece.start == min(size, length)
        under = said[piece.start : piece.stop]
        under += piece.share * (1 - under)
    np.testing.assert_allclose(said, 1, rtol=1e-6)


def test_an_axis_no_longer_than_a_piece_is_one_piece():
    (piece,) = row_pieces(64, 64)
    assert (piece.start, piece.stop) == (0, 64)
    assert (piece.share == 1).all()


def test_maps_that_do_not_depend_on_the_piece_come_back():
    whole = np.random.default_rng(0).random((3, 150, 333)).astype(np.float32)
    got = in_pieces(lambda rows, columns: whole[:, rows, columns], (150, 333), (64, 100))
    np.testing.assert_allclose(got, whole, atol=1e-6)


@pytest.mark.parametrize("width", [200, 201, 265, 400])
def test_the_left_half_of_a_later_piece_less_the_ramp_has_no_say(width):
    columns = 100

    def answer(rows, across):
        found = np.zeros((1, 64, columns), np.float32)
        if across.start:
            found[..., : columns // 2 - RAMP] = 1e6
        return found

    assert not in_pieces(answer, (64, width), (64, columns)).any()


def test_both_sides_of_a_cut_through_rows_may_be_wrong():
    def answer(rows, _):
        found = np.zeros((1, 100, 64), np.float32)
        if rows.start:
            found[:, :16] = 1e6
        if rows.stop < 300:
            found[:, -16:] = 1e6
        return found

    assert not in_pieces(answer, (300, 64), (100, 64)).any()
