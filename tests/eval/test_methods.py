import pytest

from eval.baselines import SiftMatcher
from eval.methods import find_method


def test_a_baseline_is_found_by_name():
    method = find_method("sift")
    assert isinstance(method.load(), SiftMatcher)
    assert method.identity == find_method("sift").identity


def test_another_checkpoint_has_another_identity(tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"1")
    first = find_method(str(path))
    path.write_bytes(b"2")
    assert first.name == "mine"
    assert find_method(str(path)).identity != first.identity


def test_an_unknown_method_is_an_error_that_names_it():
    with pytest.raises(FileNotFoundError, match="no-such-method"):
        find_method("no-such-method")
