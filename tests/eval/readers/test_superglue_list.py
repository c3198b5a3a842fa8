import numpy as np
import pytest

from eval.readers.superglue_list import read_superglue_list

NUMBERS = " ".join(map(str, range(34)))


def test_fields_are_read_in_the_order_of_the_format(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(f"s/a.jpg s/b.jpg 0 0 {NUMBERS}\n\n")
    (pair,) = read_superglue_list(path, tmp_path / "images")
    assert pair.path1 == tmp_path / "images/s/b.jpg"
    np.testing.assert_array_equal(pair.truth.K0, np.arange(9).reshape(3, 3))
    np.testing.assert_array_equal(pair.truth.K1, np.arange(9, 18).reshape(3, 3))
    np.testing.assert_array_equal(pair.truth.T_0to1, np.arange(18, 34).reshape(4, 4))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg b.jpg 0 0 1 2 3", "line 1: wanted 38 fields, got 7"),
        (f"a.jpg b.jpg 1 0 {NUMBERS}", "line 1: wanted rotations 0 0, got 1 0"),
    ],
)
def test_a_line_of_another_form_is_refused_with_its_number(tmp_path, line, message):
    path = tmp_path / "list.txt"
    path.write_text(line)
    with pytest.raises(ValueError, match=message):
        read_superglue_list(path, tmp_path)
