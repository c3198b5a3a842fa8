import math

import pytest
import torch

from attention_ops import sine_encoding


def test_sine_encoding_by_hand():
    # 8 channels: frequencies 1 and 10000 ** (-4 / 8) = 0.01; cell (x, y) = (2, 1) stands at (3, 2).
    at = sine_encoding(3, 4, 8)[:, 1, 2]
    turns = [3.0, 2.0, 0.03, 0.02]
    want = [f(turn) for turn in turns for f in (math.sin, math.cos)]
    torch.testing.assert_close(at, torch.tensor(want))


def test_uncorrected_encoding_uses_the_frequencies_of_the_first_weights():
    # 12 channels: exp(0), exp(-2), exp(-4) at x = 1.
    at = sine_encoding(1, 1, 12, corrected=False)[::4, 0, 0]
    want = torch.tensor([1.0, math.exp(-2), math.exp(-4)]).sin()
    torch.testing.assert_close(at, want)


def test_origin_moves_the_first_cell():
    moved = sine_encoding(2, 2, 4, origin=(2.0, 1.0))
    torch.testing.assert_close(moved, sine_encoding(2, 3, 4)[:, :, 1:])


def test_channels_that_do_not_divide_by_four_are_refused():
    with pytest.raises(ValueError, match="channels must be a multiple of 4, got 6"):
        sine_encoding(2, 2, 6)
