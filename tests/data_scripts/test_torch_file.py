import pytest
import torch

from data_scripts.torch_file import read_torch_weights


class Payload:
    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"epoch": 1, "state_dict": w}])
def test_weights_are_read_bare_or_from_a_checkpoint(tmp_path, wrap):
    torch.save(wrap({"x": torch.ones(2)}), tmp_path / "some.pth.tar")
    weights = read_torch_weights(tmp_path / "some.pth.tar")
    assert list(weights) == ["x"]
    assert torch.equal(weights["x"], torch.ones(2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Payload(), "torch file of tensors"),
        ({"state_dict": {"x": Payload()}}, "torch file of tensors"),
        ([torch.zeros(1)], "must map names to tensors"),
        ({"state_dict": {"x": 1}}, "must map names to tensors"),
        ({"state_dict": {1: torch.zeros(1)}}, "must map names to tensors"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_and_not_run(tmp_path, content, words, capsys):
    torch.save(content, tmp_path / "some.pth")
    with pytest.raises(ValueError, match=words) as error:
        read_torch_weights(tmp_path / "some.pth")
    assert "\n" not in str(error.value)
    assert "unpickled" not in capsys.readouterr().out


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is there"):
        read_torch_weights(tmp_path / "none.pth")
