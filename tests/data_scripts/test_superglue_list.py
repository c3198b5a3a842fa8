import numpy as np
import pytest

from data_scripts.superglue_list import read_list

MATRICES = [str(n) for n in range(9 + 9 + 16)]


def line(*words):
    return " ".join(words) + "\n"


def test_fields_stand_where_the_format_puts_them(tmp_path):
    text = line("a/0.jpg", "b/1.jpg", "0", "3", *MATRICES)
    (tmp_path / "list.txt").write_text(f"\n{text}\n")
    (pair,) = read_list(tmp_path / "list.txt")
    assert (pair.images, pair.turns) == (("a/0.jpg", "b/1.jpg"), (0, 3))
    np.testing.assert_array_equal(pair.K[0], np.arange(9).reshape(3, 3))
    np.testing.assert_array_equal(pair.K[1], np.arange(9, 18).reshape(3, 3))
    np.testing.assert_array_equal(pair.T_0to1, np.arange(18, 34).reshape(4, 4))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0.jpg", "1.jpg"], "line 2: wanted 38 fields, got 2"),
        (["0.jpg", "1.jpg", "0", "4", *MATRICES], "line 2: wanted rotations"),
        (["0.jpg", "1.jpg", "0", "x", *MATRICES], "line 2: wanted rotations"),
        (["0.jpg", "1.jpg", "0", "0", *MATRICES[:-1], "x"], "line 2: wanted numbers"),
        (["0.jpg", "1.jpg", "0", "0", *MATRICES[:-1], "nan"], "line 2: wanted finite"),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, words, message):
    path = tmp_path / "list.txt"
    path.write_text(line("a", "b", "0", "0", *MATRICES) + line(*words))
    with pytest.raises(ValueError, match=message):
        read_list(path)


def test_what_is_no_text_file_is_told(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="text file"):
        read_list(tmp_path / "list.txt")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_list(tmp_path / "none.txt")
